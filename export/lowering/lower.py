"""`lower_refiner`: the graph `refiner` as a launch plan with its weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hidenerf.export.lowering.frame_tail import FrameTail, find_frame_tail
from hidenerf.export.lowering.layers import (
    InputPlanes,
    Layer,
    Modulated,
    ModulationMap,
    Result,
    Value,
)
from hidenerf.export.lowering.onnx_view import LoweringError, OnnxView
from hidenerf.export.lowering.rules import RULES
from hidenerf.export.lowering.weights import pack_bias, pack_convolution
from hidenerf.runtime.launch_plan import (
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
)

# Behind the name of a layer, for the map of its second result.
MODULATED = ".modulated"
BIAS, GAMMA, BETA = ".bias", ".gamma", ".beta"


@dataclass(frozen=True)
class Lowered:
    """A plan and its weights by name."""

    plan: LaunchPlan
    weights: dict[str, NDArray[Any]]


class Lowering:
    """A graph while it is lowered.

    view: the graph. layers: in the order in which they will run.
    """

    def __init__(self, view: OnnxView) -> None:
        self.view = view
        self.layers: list[Layer] = []
        self._values: dict[str, Value] = {}
        self._maps: dict[str, PlanMap] = {}
        self._layouts: dict[str, ChannelsLast] = {}

    def take(self, node: onnx.NodeProto) -> None:
        """Lower a node by the first rule that takes it. Errors: `LoweringError`, none does."""
        reasons = []
        for rule in RULES.get(node.op_type, ()):
            try:
                self._values[node.output[0]] = rule(self, node)
            except LoweringError as reason:
                reasons.append(f"{rule.__name__}: {reason}")
            else:
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
        self.layers.remove(layer)
        self.layers.append(layer)

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
        raise LoweringError("a convolution reads no concatenation of concatenations, and no half of SPADE")

    def read(self, value: Value) -> MapRead:
        """The map of a value, which from now on is made. Errors: it cannot be."""
        if isinstance(value, InputPlanes):
            return MapRead(self._layout(value))
        if isinstance(value, Result):
            value.layer.output = value.layer.name
            self._maps[value.layer.name] = PlanMap(value.layer.channels, value.layer.height, value.layer.width)
            return MapRead(value.layer.name, value.enlarged)
        if isinstance(value, Modulated):
            return MapRead(self._second_result(value))
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

    def finished(self, tail: FrameTail) -> Lowered:
        """The plan of all that was taken, and the tail."""
        head = self._of_tail(tail.head)
        change = None if tail.change is None else self._of_tail(tail.change)
        weights: dict[str, NDArray[Any]] = {}
        steps: list[Step] = list(self._layouts.values())
        for layer in self.layers:
            weights[layer.name] = pack_convolution(layer.weights)
            weights[layer.name + BIAS] = pack_bias(layer.bias)
            steps.append(
                Convolution(
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
                )
            )
        steps.append(FramePixels(head, tail.rendered, tail.alpha, change, tail.own, tail.shown))
        return Lowered(LaunchPlan("refiner", self._maps, tuple(steps)), weights)

    def _of_tail(self, name: str) -> str:
        found = self.read(self.value(name))
        if found.enlarged:
            raise LoweringError(f"the frame is made of the enlarged {name}")
        return found.map


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
    lowering = Lowering(view)
    for node in view.nodes:
        if tail.nodes.isdisjoint(node.output):
            lowering.take(node)
    return lowering.finished(tail)
