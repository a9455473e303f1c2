"""Layers of every kind as plans of one convolution, with random maps and weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.export.lowering.weights import pack_bias, pack_convolution
from hidenerf.runtime.launch_plan import (
    BIAS,
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    LaunchPlan,
    MapRead,
    Modulation,
    Planes,
    PlanMap,
    Step,
    TanhPlanes,
)


@dataclass(frozen=True)
class Case:
    """A layer. channels: of the inputs. enlarged: of the inputs. modulated: None, "map", "enlarged" or "constant"."""

    height: int
    width: int
    channels: tuple[int, ...]
    outputs: int
    kernel: int = 3
    stride: int = 1
    second_kernel: int = 0
    enlarged: tuple[bool, ...] = (False, False)
    sums: tuple[bool, ...] = ()
    leak: float = 1.0
    modulated: str | None = None


CASES = {
    "whole tiles": Case(16, 16, (16,), 32),
    "odd sizes": Case(9, 13, (12,), 20),
    "one by one": Case(7, 9, (24,), 8, kernel=1),
    "five by five, stride 2": Case(11, 14, (3,), 16, kernel=5, stride=2),
    "stride 2": Case(10, 17, (20,), 40, stride=2, leak=0.1),
    "many channels": Case(6, 10, (72,), 48, leak=0.1),
    "enlarged": Case(10, 12, (16,), 16, enlarged=(True, False)),
    "concatenation": Case(8, 11, (24, 16), 24, second_kernel=3),
    "skip of an enlarged map": Case(12, 10, (24, 40), 16, second_kernel=1, enlarged=(False, True)),
    "long skip": Case(5, 6, (16, 136), 16, second_kernel=1),
    "sums": Case(8, 12, (8,), 24, sums=(False, True), leak=0.1),
    "SPADE": Case(9, 8, (24,), 24, leak=0.1, modulated="map"),
    "SPADE, enlarged": Case(6, 9, (16,), 21, sums=(False,), modulated="enlarged"),
    "SPADE of constants": Case(6, 8, (8,), 13, modulated="constant"),
    "a head": Case(18, 16, (32,), 5),
}


@dataclass(frozen=True)
class Prepared:
    """A plan of one convolution, its weights, and its inputs by name."""

    plan: LaunchPlan
    weights: dict[str, NDArray[Any]]
    inputs: dict[str, NDArray[Any]]


def prepare(case: Case, seed: int = 0) -> Prepared:
    """Random maps and weights of a case, γ about 1."""
    generator = np.random.default_rng(seed)
    maps: dict[str, PlanMap] = {}
    inputs: dict[str, NDArray[Any]] = {}
    steps: list[Step] = []

    def add(name: str, channels: int, height: int, width: int, about: float = 0.0) -> MapRead:
        values = about + generator.standard_normal((1, channels, height, width))
        inputs[name] = values.astype(np.float16)
        maps[name] = PlanMap(channels, height, width)
        steps.append(ChannelsLast((Planes(name, 0, channels),), name))
        return MapRead(name)

    def seen(name: str, channels: int, height: int, width: int, enlarged: bool) -> MapRead:
        add(name, channels, height >> enlarged, width >> enlarged)
        return MapRead(name, enlarged)

    height, width = (
        (side + 2 * (case.kernel // 2) - case.kernel) // case.stride + 1 for side in (case.height, case.width)
    )
    whole = case.height, case.width
    sizes = [whole, (height, width) if case.second_kernel == 1 else whole]
    reads = [
        seen(f"input {index}", channels, *sizes[index], case.enlarged[index])
        for index, channels in enumerate(case.channels)
    ]
    sums = [seen(f"sum {index}", case.outputs, height, width, large) for index, large in enumerate(case.sums)]
    kernels = (case.kernel, case.second_kernel)
    scale = 1 / np.sqrt(sum(c * k**2 for c, k in zip(case.channels, kernels, strict=False)))
    weights: dict[str, NDArray[Any]] = {
        "layer": pack_convolution(
            [
                (scale * generator.standard_normal((case.outputs, c, k, k))).astype(np.float16)
                for c, k in zip(case.channels, kernels, strict=False)
            ]
        ),
        "layer" + BIAS: pack_bias(generator.standard_normal(case.outputs).astype(np.float32)),
    }
    modulation = None
    if case.modulated is not None:
        constant, enlarged = case.modulated == "constant", case.modulated == "enlarged"
        for name, about in (("gamma", 1.0), ("beta", 0.0)):
            if constant:
                padded = np.zeros(PlanMap(case.outputs, 1, 1).padded, np.float16)
                padded[: case.outputs] = about + generator.standard_normal(case.outputs)
                weights[name] = padded
            else:
                add(name, case.outputs, height << enlarged, width << enlarged, about)
        maps["second"] = PlanMap(case.outputs, height << enlarged, width << enlarged)
        modulation = Modulation("gamma", "beta", constant, 0.1, enlarged, "second")
    maps["layer"] = PlanMap(case.outputs, height, width)
    steps.append(
        Convolution(
            "layer",
            tuple(reads),
            case.kernel,
            case.stride,
            case.second_kernel,
            "layer",
            case.outputs,
            height,
            width,
            tuple(sums),
            case.leak,
            "layer",
            modulation,
        )
    )
    return Prepared(LaunchPlan("test", maps, tuple(steps)), weights, inputs)


def prepare_concatenation(seed: int = 0) -> Prepared:
    """Three layers whose results lie in one map, a layer that reads one of them, and one that reads them all.

    Then the map is doubled, and the last layer's result is planes, [1, 21, 14, 18].
    """
    generator = np.random.default_rng(seed)
    height, width = 7, 9
    inputs: dict[str, NDArray[Any]] = {"input": generator.standard_normal((1, 5, height, width)).astype(np.float16)}
    maps, weights = {"input": PlanMap(5, height, width)}, dict[str, NDArray[Any]]()
    steps: list[Step] = [ChannelsLast((Planes("input", 0, 5),), "input")]

    def layer(name: str, read: str, outputs: int, kernel: int, to: PlanMap | None, **others: Any) -> None:
        channels, scale = maps[read].channels, 1 / np.sqrt(maps[read].channels * kernel**2)
        values = scale * generator.standard_normal((outputs, channels, kernel, kernel))
        weights[name] = pack_convolution([values.astype(np.float16)])
        weights[name + BIAS] = pack_bias(generator.standard_normal(outputs).astype(np.float32))
        sizes = outputs, maps[read].height, maps[read].width
        output = None if to is None else name
        steps.append(Convolution(name, (MapRead(read),), kernel, 1, 0, name, *sizes, output=output, **others))
        if to is not None:
            maps[name] = to

    layer("first", "input", 6, 3, PlanMap(6, height, width, "all", 0), leak=0.1)
    layer("alone", "first", 13, 1, PlanMap(13, height, width))
    layer("second", "alone", 13, 3, PlanMap(13, height, width, "all", 8), sums=(MapRead("alone"),))
    layer("third", "alone", 8, 1, PlanMap(8, height, width, "all", 24), leak=0.1)
    maps["all"] = PlanMap(32, height, width)
    layer("reader", "all", 20, 3, PlanMap(20, height, width), leak=0.1)
    maps["doubled"] = PlanMap(20, 2 * height, 2 * width)
    steps.append(BilinearDoubling("reader", "doubled"))
    layer("last", "doubled", 21, 3, None, planes=TanhPlanes("planes", 0.3))
    return Prepared(LaunchPlan("test", maps, tuple(steps)), weights, inputs)


def results(case: Case) -> list[str]:
    """Names of the maps that a case's layer makes."""
    return ["layer", *(["second"] if case.modulated else [])]
