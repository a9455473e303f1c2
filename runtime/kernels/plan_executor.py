"""`PlanExecutor`: a launch plan on the GPU."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.convolution_tiles import ConvolutionTile, LayerShape, choose_tile
from hidenerf.runtime.kernels.launch import Kernels
from hidenerf.runtime.kernels.plan_memory import Lifetime, place_maps
from hidenerf.runtime.kernels.ray_sampler import (
    MOST_NUMBERS,
    PIXELS_A_BLOCK,
    THREADS_OF_MAPS,
    SampleSizes,
    numbers_of_pixel,
)
from hidenerf.runtime.launch_plan import (
    MOST_INPUTS,
    MOST_PLANES,
    MOST_SUMS,
    VECTOR,
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    Planes,
    RaySamples,
    Step,
    TanhPlanes,
)
from hidenerf.runtime.manifest import EXPORT_AGAIN, TensorSpec

THREADS = 256
BIAS = ".bias"
# Where a plan's frame goes: outputs of its graph.
FRAME, ALPHA = "frame", "alpha"

Argument = int | np.generic
# A tile for a layer, other than `choose_tile`'s.
TileChoice = Callable[[LayerShape], ConvolutionTile]


class Memory(Protocol):
    """What of `Device` an executor uses."""

    @property
    def sm(self) -> int:
        """SM that kernels are compiled for."""
        ...

    @property
    def multiprocessors(self) -> int:
        """How many the GPU has."""
        ...

    def allocate(self, size: int) -> int:
        """See `Device.allocate`."""
        ...

    def allocate_copy(self, array: NDArray[Any]) -> int:
        """See `Device.allocate_copy`."""
        ...


@dataclass(frozen=True)
class Launch:
    """One launch of a step.

    step: which. kernels: of its source file. name: the kernel's. grid, block: blocks, and threads of one. shared: bytes
    of shared memory of a block. arguments: as `Kernels.launch` takes them. of_source: whether it depends on the source
    alone.
    """

    step: Step
    kernels: Kernels
    name: str
    grid: tuple[int, int, int]
    block: int
    shared: int
    arguments: tuple[Argument, ...]
    of_source: bool = False

    def enqueue(self, stream: int) -> None:
        """Enqueue it on a stream, given by its handle."""
        self.kernels.launch(self.name, self.grid, self.block, stream, self.arguments, self.shared)


class PlanExecutor:
    """Runs one plan; everything is asynchronous.

    launches: in the order in which they run. maps: addresses of the plan's maps.
    """

    def __init__(
        self,
        memory: Memory,
        plan: LaunchPlan,
        weights: Mapping[str, NDArray[Any]],
        tensors: Mapping[str, TensorSpec],
        addresses: Mapping[str, int],
        *,
        of_source: Collection[str] = (),
        written: Collection[str] = (),
        tile: TileChoice | None = None,
    ) -> None:
        """Upload the weights, allocate the maps, compile the kernels.

        memory: of the GPU, owns what is allocated. weights: the plan's arrays. tensors, addresses: the graph's inputs
        and outputs, by name. of_source: inputs that change with the source only: what is made of them alone is made by
        `enqueue_source`. written: inputs that their maker writes as the plan's maps, to `maps`, in place of
        `addresses`. tile: chooses tiles.
        Errors: a plan that does not fit its weights or the graph, and those of `Kernels`.
        """
        self._plan, self._tensors, self._addresses = plan, tensors, addresses
        self._of_source, self._written = frozenset(of_source), frozenset(written)
        self._memory, self._tile = memory, tile or self._chosen_tile
        check_plan(plan, weights, tensors)
        self._weights = {name: memory.allocate_copy(array) for name, array in weights.items()}
        self._arrays = weights
        self.maps = self._allocate_maps()
        self._kernels: dict[object, Kernels] = {}
        self.launches = tuple(self._prepared())

    def enqueue_source(self, stream: int) -> None:
        """Enqueue what depends on the source alone. stream: handle of the stream."""
        for launch in self.launches:
            if launch.of_source:
                launch.enqueue(stream)

    def enqueue(self, stream: int) -> None:
        """Enqueue all the rest. stream: handle of the stream."""
        for launch in self.launches:
            if not launch.of_source:
                launch.enqueue(stream)

    def _chosen_tile(self, shape: LayerShape) -> ConvolutionTile:
        return choose_tile(shape, self._memory.sm, self._memory.multiprocessors)

    def _allocate_maps(self) -> dict[str, int]:
        """Addresses of all maps; those that live during a frame alone share memory."""
        kept = {step.output for step in self._plan.steps if isinstance(step, ChannelsLast) and self._lasts(step)}
        found = {name: self._memory.allocate(self._plan.maps[name].bytes) for name in sorted(kept)}
        lifetimes = {
            name: Lifetime(self._plan.maps[name].bytes, first, last)
            for name, (first, last) in lifetimes_of(self._plan).items()
            if name not in kept
        }
        offsets, size = place_maps(lifetimes)
        block = self._memory.allocate(size)
        found |= {name: block + offset for name, offset in offsets.items()}
        within = {name: one for name, one in self._plan.maps.items() if one.within is not None}
        return found | {name: found[self._plan.whole(name)] + 2 * one.first for name, one in within.items()}

    def _lasts(self, step: ChannelsLast) -> bool:
        return self._is_of_source(step) or self._is_written(step)

    def _is_of_source(self, step: ChannelsLast) -> bool:
        return all(one.input in self._of_source for one in step.planes)

    def _is_written(self, step: ChannelsLast) -> bool:
        return any(one.input in self._written for one in step.planes)

    def _prepared(self) -> Iterator[Launch]:
        for step in self._plan.steps:
            if isinstance(step, ChannelsLast):
                if not self._is_written(step):
                    yield self._channels_last(step)
            elif isinstance(step, FramePixels):
                if self._head_of(step) is None:
                    yield self._frame_pixels(step)
            elif isinstance(step, BilinearDoubling):
                yield self._bilinear_doubling(step)
            elif isinstance(step, RaySamples):
                yield self._ray_samples(step)
            else:
                last = self._plan.steps[-1]
                frame = last if isinstance(last, FramePixels) and self._head_of(last) is step else None
                yield self._convolution(step, frame)

    def _head_of(self, frame: FramePixels) -> Convolution | None:
        """The convolution whose result becomes the frame's pixels in the same launch; None if there is none."""
        makers = [step for step in self._plan.steps if isinstance(step, Convolution) and step.output == frame.head]
        readers = [step for step in self._plan.steps if frame.head in reads_and_writes(step)[0]]
        if frame.change is not None or len(makers) != 1 or readers != [frame] or makers[0].modulation is not None:
            return None
        return makers[0] if makers[0].channels <= VECTOR else None

    def _compiled(self, source: str, definitions: tuple[tuple[str, int], ...] = ()) -> Kernels:
        key = source, definitions
        if key not in self._kernels:
            self._kernels[key] = Kernels(source, definitions)
        return self._kernels[key]

    def _channels_last(self, step: ChannelsLast) -> Launch:
        to = self._plan.maps[step.output]
        arguments: list[Argument] = []
        for one in step.planes:
            spec = self._tensors[one.input]
            pixels = to.height * to.width
            address = self._addresses[one.input] + one.first * pixels * spec.dtype.itemsize
            arguments += [address, np.int32(spec.dtype == np.float16), np.int32(one.count)]
            arguments += [np.float32(one.scale), np.float32(one.offset)]
        nothing: list[Argument] = [0, np.int32(0), np.int32(0), np.float32(0), np.float32(0)]
        arguments += nothing * (MOST_PLANES - len(step.planes))
        vectors = to.padded // VECTOR
        pixels = to.height * to.width
        arguments += [self.maps[step.output], np.int32(pixels), np.int32(vectors)]
        kernels, grid = self._compiled("channels_last.cu"), (-(-pixels * vectors // THREADS), 1, 1)
        return Launch(step, kernels, "channels_last", grid, THREADS, 0, tuple(arguments), self._is_of_source(step))

    def _convolution(self, step: Convolution, frame: FramePixels | None = None) -> Launch:
        plan, none = self._plan, MapRead("")
        tile = self._tile(LayerShape.of(step, plan))
        first, second = (*step.inputs, none)[:2]
        pairs, steps = self._arrays[step.weights].shape[:2]
        arguments: list[Argument] = [*self._input(first), *self._input(second)]
        size = plan.maps[first.map]
        arguments += [np.int32(size.height << first.enlarged), np.int32(size.width << first.enlarged)]
        arguments += [self._weights[step.weights], self._weights[step.weights + BIAS], np.int32(pairs), np.int32(steps)]
        for one in (*step.sums, none, none)[:MOST_SUMS]:
            arguments += [*self._map(one.map), np.int32(one.enlarged)]
        arguments.append(np.float32(step.leak))
        padded = -(-step.channels // VECTOR) * VECTOR
        arguments += self._map(step.output or "")
        if (second_result := step.modulation) is not None:
            pool = self._weights if second_result.constant else self.maps
            arguments += [*self._map(second_result.output), np.int32(second_result.enlarged)]
            arguments += [pool[second_result.gamma], pool[second_result.beta]]
            arguments += [np.int32(0 if second_result.constant else padded), np.float32(second_result.leak)]
        else:
            arguments += [0, np.int32(0), np.int32(0), 0, 0, np.int32(0), np.float32(1)]
        arguments += [np.int32(step.height), np.int32(step.width), np.int32(padded // VECTOR)]
        kernels = self._compiled("convolution.cu", tile.definitions())
        grid, name = tile.grid(step.height, step.width, step.channels), "convolution"
        if frame is not None:
            name = "convolution_to_frame"
            rendered, own, shown = self._pictures(frame)
            arguments += [*rendered, own, shown, self._addresses[FRAME], self._addresses[ALPHA]]
        elif step.planes is not None:
            name, of = "convolution_to_planes", step.planes
            arguments += [self._addresses[of.output], np.int32(step.channels), np.float32(of.scale)]
        return Launch(step, kernels, name, grid, tile.threads, tile.shared_bytes, tuple(arguments))

    def _map(self, name: str) -> list[Argument]:
        """Arguments of a map, or of none: its address, and how many numbers apart its pixels are."""
        if not name:
            return [0, np.int32(0)]
        return [self.maps[name], np.int32(self._plan.maps[self._plan.whole(name)].padded)]

    def _input(self, one: MapRead) -> list[Argument]:
        vectors = self._plan.maps[one.map].padded // VECTOR if one.map else 0
        return [*self._map(one.map), np.int32(vectors), np.int32(one.enlarged)]

    def _bilinear_doubling(self, step: BilinearDoubling) -> Launch:
        of = self._plan.maps[step.input]
        vectors = of.padded // VECTOR
        sizes = [np.int32(one) for one in (of.height, of.width, vectors)]
        arguments = (*self._map(step.input), *self._map(step.output), *sizes)
        grid = (-(-4 * of.height * of.width * vectors // THREADS), 1, 1)
        return Launch(step, self._compiled("bilinear_doubling.cu"), "bilinear_doubling", grid, THREADS, 0, arguments)

    def _ray_samples(self, step: RaySamples) -> Launch:
        sizes = sample_sizes(step, self._plan)
        arguments: list[Argument] = [self._addresses[step.camera]]
        for name in (step.features, step.points, step.looked_up):
            arguments += self._map(name)
        kernels = self._compiled("ray_samples.cu", sizes.definitions())
        grid = (-(-(sizes.render_size**2) // PIXELS_A_BLOCK), 1, 1)
        return Launch(step, kernels, "ray_samples_last", grid, THREADS_OF_MAPS, 0, tuple(arguments))

    def _pictures(self, step: FramePixels) -> tuple[list[Argument], int, int]:
        """Arguments of the rendered picture, and the addresses of the source's own pixels or 0."""
        at, side = self._addresses, self._tensors[FRAME].shape[0]
        rendered = self._tensors[step.rendered].shape[-1]
        doublings = (side // rendered).bit_length() - 1
        own, shown = (at[name] if name else 0 for name in (step.own, step.shown))
        return [at[step.rendered], at[step.alpha], np.int32(rendered), np.int32(doublings)], own, shown

    def _frame_pixels(self, step: FramePixels) -> Launch:
        side, head, change = self._tensors[FRAME].shape[0], self._plan.maps[step.head], step.change
        arguments, own, shown = self._pictures(step)
        doublings = (side // head.width).bit_length() - 1
        arguments += [self.maps[step.head], np.int32(head.padded), np.int32(doublings)]
        arguments += [self.maps[change] if change else 0, np.int32(self._plan.maps[change].padded if change else 0)]
        arguments += [own, shown, self._addresses[FRAME], self._addresses[ALPHA], np.int32(side)]
        grid = (-(-(side**2) // THREADS), 1, 1)
        return Launch(step, self._compiled("frame_pixels.cu"), "frame_pixels", grid, THREADS, 0, tuple(arguments))


def reads_and_writes(step: Step) -> tuple[list[str], list[str]]:
    """Names of the maps that a step reads, and of those that it writes."""
    if isinstance(step, ChannelsLast):
        return [], [step.output]
    if isinstance(step, FramePixels):
        return [step.head, *([step.change] if step.change else [])], []
    if isinstance(step, BilinearDoubling):
        return [step.input], [step.output]
    if isinstance(step, RaySamples):
        return [step.features], [step.points, step.looked_up]
    reads = [one.map for one in (*step.inputs, *step.sums)]
    writes = [step.output] if step.output else []
    if step.modulation is not None:
        writes.append(step.modulation.output)
        if not step.modulation.constant:
            reads += [step.modulation.gamma, step.modulation.beta]
    return reads, writes


def sample_sizes(step: RaySamples, plan: LaunchPlan) -> SampleSizes:
    """The sizes that a step's kernel is compiled for."""
    features = plan.maps[step.features]
    return SampleSizes(features.width, step.samples, step.stride, features.channels)


def lifetimes_of(plan: LaunchPlan) -> dict[str, tuple[int, int]]:
    """Of every map with memory of its own, the first step that writes it and the last that reads it."""
    found: dict[str, tuple[int, int]] = {}
    for index, step in enumerate(plan.steps):
        for names in reads_and_writes(step):
            for name in map(plan.whole, names):
                found[name] = (found.get(name, (index, index))[0], index)
    return found


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
    sizes = sample_sizes(step, plan)
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
