"""`check_plan`: whether a launch plan stays within its maps, weights and tensors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.ray_sampler import MOST_NUMBERS, SampleSizes, numbers_of_pixel
from hidenerf.runtime.launch_plan import (
    BIAS,
    FRAME,
    MOST_INPUTS,
    MOST_PLANES,
    MOST_SUMS,
    VECTOR,
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    Planes,
    RaySamples,
    Step,
    TanhPlanes,
    reads_and_writes,
)
from hidenerf.runtime.manifest import EXPORT_AGAIN, TensorSpec


def check_plan(plan: LaunchPlan, weights: Mapping[str, NDArray[Any]], tensors: Mapping[str, TensorSpec]) -> None:
    """Check that no step reaches beyond its maps, weights or tensors. Errors: one does; it says which."""
    written: set[str] = set()
    name = "a concatenation"
    try:
        parts = _parts(plan)
        for step in plan.steps:
            name = getattr(step, "name", type(step).__name__)
            reads, writes = reads_and_writes(step)
            _require(set(reads) <= written, "reads what no step before it writes")
            _require(
                written.isdisjoint(writes) and all(one in plan.maps and one not in parts for one in writes),
                "writes a map twice",
            )
            _check_step(step, plan, weights, tensors)
            written.update(writes)
            written.update(whole for whole, some in parts.items() if some <= written)
    except (KeyError, ValueError) as error:
        raise HideNerfError(f"The launch plan of {plan.graph} does not fit: {name}: {error}; {EXPORT_AGAIN}.") from None


def _check_step(
    step: Step, plan: LaunchPlan, weights: Mapping[str, NDArray[Any]], tensors: Mapping[str, TensorSpec]
) -> None:
    if isinstance(step, ChannelsLast):
        _check_channels_last(step, plan, tensors)
    elif isinstance(step, Convolution):
        _check_convolution(step, plan, weights)
        if step.planes is not None:
            _check_planes_of(step, step.planes, tensors)
    elif isinstance(step, BilinearDoubling):
        _check_bilinear_doubling(step, plan)
    elif isinstance(step, RaySamples):
        _check_ray_samples(step, plan, tensors)
    else:
        _check_frame_pixels(step, plan, tensors)


def _parts(plan: LaunchPlan) -> dict[str, set[str]]:
    """Of every concatenation the maps that lie in it. Errors: they do not fill it side by side."""
    found: dict[str, set[str]] = {}
    for name, one in plan.maps.items():
        if one.within is not None:
            found.setdefault(one.within, set()).add(name)
    for whole, names in found.items():
        into, end = plan.maps[whole], 0
        for one in sorted((plan.maps[name] for name in names), key=lambda one: one.first):
            fits = (one.height, one.width, one.first) == (into.height, into.width, end)
            _require(fits and into.within is None, f"the maps in {whole} do not lie side by side")
            end += one.padded
        _require(end == into.padded, f"the maps in {whole} do not fill it")
    return found


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check_channels_last(step: ChannelsLast, plan: LaunchPlan, tensors: Mapping[str, TensorSpec]) -> None:
    to = plan.maps[step.output]
    _require(1 <= len(step.planes) <= MOST_PLANES, "too many inputs")
    _require(to.within is None, "a change of layout into a concatenation")
    _require(sum(one.count for one in step.planes) == to.channels, "another number of channels")
    for one in step.planes:
        _check_planes(one, tensors[one.input], to.height, to.width)


def _check_planes(one: Planes, spec: TensorSpec, height: int, width: int) -> None:
    _require(spec.dtype in (np.float16, np.float32), f"{one.input} is {spec.dtype}")
    fits = len(spec.shape) == 4 and spec.shape[0] == 1 and spec.shape[2:] == (height, width)
    _require(fits and one.first >= 0 and one.first + one.count <= spec.shape[1], f"{one.input} has another shape")


def _check_convolution(step: Convolution, plan: LaunchPlan, weights: Mapping[str, NDArray[Any]]) -> None:
    _require(1 <= len(step.inputs) <= MOST_INPUTS and len(step.sums) <= MOST_SUMS, "too many inputs")
    _require((step.second_kernel > 0) == (len(step.inputs) == 2), "another number of inputs")
    _require(step.second_kernel in (0, 1, step.kernel) and step.kernel % 2 == 1 and step.stride in (1, 2), "a kernel")
    kernels = (step.kernel, step.second_kernel)
    blocks = [-(-plan.maps[one.map].padded // 16) for one in step.inputs]
    steps = sum(count * kernel**2 for count, kernel in zip(blocks, kernels, strict=False))
    pairs = -(-step.channels // 16)
    array, bias = weights[step.weights], weights[step.weights + BIAS]
    _require((array.dtype, array.shape) == (np.uint32, (pairs, steps, 32, 4)), "weights of another shape")
    _require((bias.dtype, bias.shape) == (np.float32, (16 * pairs,)), "a bias of another shape")
    sides = [
        (plan.maps[one.map].height << one.enlarged, plan.maps[one.map].width << one.enlarged) for one in step.inputs
    ]
    padding = step.kernel // 2
    result = tuple((side + 2 * padding - step.kernel) // step.stride + 1 for side in sides[0])
    _require(result == (step.height, step.width), "a result of another size")
    if len(sides) == 2:
        _require(sides[1] == (result if step.second_kernel != step.kernel else sides[0]), "a second input's size")
    results = [(step.output, 0)] if step.output else []
    if (second := step.modulation) is not None:
        results.append((second.output, int(second.enlarged)))
        for name in (second.gamma, second.beta):
            if second.constant:
                padded = -(-step.channels // VECTOR) * VECTOR
                _require(
                    (weights[name].dtype, weights[name].shape) == (np.float16, (padded,)), f"{name} of another shape"
                )
            else:
                results.append((name, int(second.enlarged)))
    results += [(one.map, -int(one.enlarged)) for one in step.sums]
    for name, doublings in results:
        sizes = plan.maps[name]
        larger = (step.height << max(doublings, 0), step.width << max(doublings, 0))
        seen = (sizes.height << max(-doublings, 0), sizes.width << max(-doublings, 0))
        _require(seen == larger and sizes.channels == step.channels, f"{name} has another size")


def _check_planes_of(step: Convolution, planes: TanhPlanes, tensors: Mapping[str, TensorSpec]) -> None:
    spec, others = tensors[planes.output], (step.sums, step.output, step.modulation, step.leak)
    _require(others == ((), None, None, 1.0), "planes beside other results")
    expected = (1, step.channels, step.height, step.width)
    _require(spec.dtype == np.float32 and spec.shape == expected, f"{planes.output} has another type or shape")


def _check_bilinear_doubling(step: BilinearDoubling, plan: LaunchPlan) -> None:
    of, to = plan.maps[step.input], plan.maps[step.output]
    expected = of.channels, 2 * of.height, 2 * of.width
    _require((to.channels, to.height, to.width) == expected, f"{step.output} has another size")


def _check_ray_samples(step: RaySamples, plan: LaunchPlan, tensors: Mapping[str, TensorSpec]) -> None:
    camera, features = tensors[step.camera], plan.maps[step.features]
    _require(camera.dtype == np.float32 and camera.shape == (1, 25), f"{step.camera} is no camera")
    _require(min(step.samples, step.stride) > 0 and step.samples % step.stride == 0, "another number of samples")
    sizes = SampleSizes.of_step(step, plan)
    _require(features.height == features.width, f"{step.features} has another size")
    _require(numbers_of_pixel(sizes) <= MOST_NUMBERS, "too many samples")
    for name, rows in zip((step.points, step.looked_up), sizes.rows, strict=True):
        one = plan.maps[name]
        _require((one.channels, one.height, one.width) == (rows, features.height, features.width), f"{name}'s size")


def _check_frame_pixels(step: FramePixels, plan: LaunchPlan, tensors: Mapping[str, TensorSpec]) -> None:
    side = tensors[FRAME].shape[0]
    pictures: list[tuple[str, int | None]] = [(step.rendered, None), (step.alpha, None)]
    _require((step.own is None) == (step.shown is None), "one of own and shown")
    if step.own is not None and step.shown is not None:
        pictures += [(step.own, side), (step.shown, side)]
    for name, expected in pictures:
        spec = tensors[name]
        _require(spec.dtype == np.float32 and spec.shape[-1] == spec.shape[-2], f"{name} has another type")
        ratio = side // spec.shape[-1]
        doubled = spec.shape[-1] * ratio == side and ratio & (ratio - 1) == 0
        _require(doubled and expected in (None, spec.shape[-1]), f"{name} has another size")
    head = plan.maps[step.head]
    _require(head.width == head.height and head.channels >= (4 if step.own is None else 5), "a head of another size")
    _require(side // head.width in (1, 2) and side % head.width == 0, "a head of another size")
    _require((side == 2 * head.width) == (step.change is not None), "a head of another size")
    if step.change is not None:
        change = plan.maps[step.change]
        _require(
            (change.channels, change.height, change.width) == (20, side // 2, side // 2), "changes of another size"
        )
