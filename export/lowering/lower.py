"""`lower_refiner`, `lower_led`: the graphs `refiner` and `led` as launch plans with their weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hidenerf.export.lowering.deformation_tail import DEFORMATION, find_deformation_tail
from hidenerf.export.lowering.frame_tail import find_frame_tail
from hidenerf.export.lowering.layers import (
    FinishedMap,
    InputPlanes,
    JoinedMaps,
    Layer,
    Made,
    Modulated,
    ModulationMap,
    Result,
    Value,
)
from hidenerf.export.lowering.onnx_view import LoweringError, OnnxView
from hidenerf.export.lowering.rules import RULES
from hidenerf.export.lowering.weights import pack_bias, pack_convolution
from hidenerf.runtime.launch_plan import (
    BIAS,
    VECTOR,
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    Modulation,
    Planes,
    PlanMap,
    Step,
    TanhPlanes,
)

# Behind the name of a layer, for the map of its second result.
MODULATED = ".modulated"
GAMMA, BETA = ".gamma", ".beta"


@dataclass(frozen=True)
class Lowered:
    """A plan and its weights by name."""

    plan: LaunchPlan
    weights: dict[str, NDArray[Any]]


class Lowering:
    """A graph while it is lowered.

    view: the graph. made: launches in the order in which they will run.
    """

    def __init__(self, view: OnnxView) -> None:
        self.view = view
        self.made: list[Made] = []
        self._values: dict[str, Value] = {}
        self._maps: dict[str, PlanMap] = {}
        self._layouts: dict[str, ChannelsLast] = {}

    def take(self, node: onnx.NodeProto) -> None:
        """Lower a node by the first rule that takes it. Errors: `LoweringError`, none does."""
        reasons = []
        for rule in RULES.get(node.op_type, ()):
            try:
                found = rule(self, node)
            except LoweringError as reason:
                reasons.append(f"{rule.__name__}: {reason}")
            else:
                values = found if isinstance(found, tuple) else (found,)
                self._values.update(zip(node.output, values, strict=True))
                return
        why = "; ".join(reasons) or "no rule is for nodes of this kind"
        raise LoweringError(f"{node.op_type} {node.output[0]} is taken by no rule ({why})")

    def find(self, name: str) -> Value | None:
        """What an ONNX value is; None for a constant."""
        if name in self._values:
            return self._values[name]
        if name not in self.view.inputs:
            return None
        shape = self.view.shape(name)
        if len(shape) != 4 or shape[0] != 1:
            raise LoweringError(f"the input {name} has the shape {list(shape)}")
        return InputPlanes((Planes(name, 0, shape[1]),), *shape[2:])

    def value(self, name: str) -> Value:
        """What an ONNX value is. Errors: a constant."""
        if (found := self.find(name)) is None:
            raise LoweringError(f"{name} is a constant")
        return found

    def only(self, name: str) -> Value:
        """The same of a value with one reader. Errors: it has several."""
        if (uses := self.view.uses(name)) != 1:
            raise LoweringError(f"{name} has {uses} readers")
        return self.value(name)

    def planes(self, name: str) -> InputPlanes:
        """The same of what inputs are. Errors: something else."""
        found = self.value(name)
        if not isinstance(found, InputPlanes):
            raise LoweringError(f"{name} is not made of the graph's inputs alone")
        return found

    def open_layer(self, name: str) -> Layer:
        """The layer whose result this is, if more can be added to it. Errors: not so."""
        found = self.only(name)
        if not isinstance(found, Result) or found.enlarged or not found.layer.is_open:
            raise LoweringError(f"{name} is no open layer's result")
        return found.layer

    def move_to_end(self, layer: Layer) -> None:
        """Let a layer that nothing reads yet run after all others so far."""
        self.made.remove(layer)
        self.made.append(layer)

    def finished_map(self, name: str) -> FinishedMap:
        """A new map of a value's shape, under its name."""
        _, channels, height, width = self.view.shape(name)
        self._maps[name] = PlanMap(channels, height, width)
        return FinishedMap(name, channels)

    def join(self, name: str, values: Sequence[Value]) -> JoinedMaps:
        """Let the maps of values lie side by side in one, named so. Errors: one cannot."""
        maps, first = [self._joinable(value) for value in values], 0
        sizes = [self._maps[one] for one in maps]
        if len(set(maps)) != len(maps) or len({(one.height, one.width) for one in sizes}) != 1:
            raise LoweringError("it joins a map twice, or maps of different size")
        for one, size in zip(maps, sizes, strict=True):
            self._maps[one] = replace(size, within=name, first=first)
            first += size.padded
        self._maps[name] = PlanMap(first, sizes[0].height, sizes[0].width)
        return JoinedMaps(name, tuple(one.channels for one in sizes))

    def _joinable(self, value: Value) -> str:
        if isinstance(value, InputPlanes):
            raise LoweringError("it joins an input of the graph with maps")
        found = self.read(value)
        if found.enlarged or self._maps[found.map].within is not None:
            raise LoweringError(f"it joins {found.map}, which is enlarged or lies in another map")
        return found.map

    def number(self, name: str) -> float:
        """A constant of one number. Errors: it is none."""
        values = self.view.constant(name)
        if values is None or values.size != 1:
            raise LoweringError(f"{name} is no constant number")
        return float(values.reshape(-1)[0])

    def modulation_map(self, name: str, of: Result) -> ModulationMap:
        """γ or β of a result. Errors: it is neither an FP16 input of the result's shape nor a constant of channels."""
        channels, doubled = of.layer.channels, 2 if of.enlarged else 1
        values = self.view.constant(name)
        if values is not None:
            if values.shape != (channels, 1, 1):
                raise LoweringError(f"the constant {name} has the shape {list(values.shape)}")
            return ModulationMap(constant=tuple(float(one) for one in values.reshape(-1)))
        expected = (1, channels, of.layer.height * doubled, of.layer.width * doubled)
        if name not in self.view.inputs or self.view.shape(name) != expected or self.view.dtype(name) != np.float16:
            raise LoweringError(f"{name} is no FP16 input of the shape {list(expected)}")
        return ModulationMap(input=name)

    def channels(self, value: Value) -> int:
        """Of a value that a convolution reads."""
        if isinstance(value, InputPlanes):
            return sum(one.count for one in value.planes)
        if isinstance(value, Result):
            return value.layer.channels
        if isinstance(value, Modulated):
            return value.result.layer.channels
        if isinstance(value, FinishedMap):
            return value.channels
        if isinstance(value, JoinedMaps):
            return sum(value.channels)
        raise LoweringError("a convolution reads no concatenation of concatenations, and no half of SPADE")

    def read(self, value: Value) -> MapRead:
        """The map of a value, which from now on is made. Errors: it cannot be."""
        if isinstance(value, InputPlanes):
            return MapRead(self._layout(value))
        if isinstance(value, Result):
            value.layer.output = value.layer.name
            sizes = PlanMap(value.layer.channels, value.layer.height, value.layer.width)
            self._maps.setdefault(value.layer.name, sizes)
            return MapRead(value.layer.name, value.enlarged)
        if isinstance(value, Modulated):
            return MapRead(self._second_result(value))
        if isinstance(value, FinishedMap):
            return MapRead(value.name)
        raise LoweringError("a concatenation, or a half of SPADE, is no map")

    def _layout(self, planes: InputPlanes) -> str:
        name = "+".join(dict.fromkeys(one.input for one in planes.planes))
        step = ChannelsLast(planes.planes, name)
        if self._layouts.setdefault(name, step) != step:
            raise LoweringError(f"{name} is read in two ways")
        self._maps[name] = PlanMap(sum(one.count for one in planes.planes), planes.height, planes.width)
        return name

    def _second_result(self, value: Modulated) -> str:
        layer, doubled = value.result.layer, 2 if value.result.enlarged else 1
        if layer.modulated is None:
            layer.modulated = value
            self._maps[layer.name + MODULATED] = PlanMap(layer.channels, layer.height * doubled, layer.width * doubled)
            for one in (value.gamma, value.beta):
                if one.input:
                    self._layout(self.planes(one.input))
        if layer.modulated != value:
            raise LoweringError(f"{layer.name} is modulated in two ways")
        return layer.name + MODULATED

    def map_of(self, name: str) -> str:
        """The map of an ONNX value. Errors: it has none of its own size."""
        found = self.read(self.value(name))
        if found.enlarged:
            raise LoweringError(f"the outputs are made of the enlarged {name}")
        return found.map

    def finished(self, graph: str, *last: Step) -> Lowered:
        """The plan of all that was taken, then the steps `last`. graph: its name."""
        weights: dict[str, NDArray[Any]] = {}
        steps: list[Step] = list(self._layouts.values())
        steps += [_convolution(one, weights) if isinstance(one, Layer) else one for one in self.made]
        return Lowered(LaunchPlan(graph, self._maps, (*steps, *last)), weights)


def _convolution(layer: Layer, weights: dict[str, NDArray[Any]]) -> Convolution:
    weights[layer.name] = pack_convolution(layer.weights)
    weights[layer.name + BIAS] = pack_bias(layer.bias)
    return Convolution(
        layer.name,
        tuple(layer.inputs),
        layer.kernel,
        layer.stride,
        layer.second_kernel,
        layer.name,
        layer.channels,
        layer.height,
        layer.width,
        tuple(layer.sums),
        layer.leak,
        layer.output,
        None if layer.modulated is None else _modulation(layer.name, layer.modulated, weights),
        layer.planes,
    )


def _modulation(layer: str, value: Modulated, weights: dict[str, NDArray[Any]]) -> Modulation:
    names = []
    for kind, one in ((GAMMA, value.gamma), (BETA, value.beta)):
        if one.constant:
            padded = np.pad(np.array(one.constant, np.float16), (0, -len(one.constant) % VECTOR))
            weights[layer + kind] = padded
        names.append(one.input or layer + kind)
    constant = bool(value.gamma.constant)
    return Modulation(names[0], names[1], constant, value.leak, value.result.enlarged, layer + MODULATED)


def lower_refiner(model: onnx.ModelProto) -> Lowered:
    """The launch plan of a graph `refiner` in FP16. Errors: `LoweringError`: which node no rule takes, and why."""
    view = OnnxView(model)
    tail = find_frame_tail(view)
    lowering = _lowered_until(view, tail.nodes)
    head = lowering.map_of(tail.head)
    change = None if tail.change is None else lowering.map_of(tail.change)
    return lowering.finished("refiner", FramePixels(head, tail.rendered, tail.alpha, change, tail.own, tail.shown))


def lower_led(model: onnx.ModelProto) -> Lowered:
    """The same of a graph `led`, its RaySamples included."""
    view = OnnxView(model)
    tail = find_deformation_tail(view)
    lowering = _lowered_until(view, tail.nodes)
    lowering.open_layer(tail.head).planes = TanhPlanes(DEFORMATION, tail.maximum)
    return lowering.finished("led")


def _lowered_until(view: OnnxView, tail: frozenset[str]) -> Lowering:
    """All nodes but those of the tail, which are given by their outputs."""
    lowering = Lowering(view)
    for node in view.nodes:
        if tail.isdisjoint(node.output):
            lowering.take(node)
    return lowering
