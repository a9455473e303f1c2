"""The launch plan: a graph of a bundle as a list of launches of our kernels, written at export, executed at run time.

The plan is one JSON file, and its weights are one NumPy archive; both are parts of the bundle (`manifest.py`).
`hidenerf.export.lowering` makes them from an ONNX graph, and `hidenerf.runtime.kernels.plan_executor` runs them.

A plan's maps are FP16 with channels last, [height, width, channels], their channels a multiple of 8 of which the last
may be zeros. A concatenation of maps can be one map, in whose pixels they lie side by side.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.json_text import GARBLED, parse_json
from hidenerf.runtime.manifest import EXPORT_AGAIN, Json

FORMAT = 1
# Numbers that a thread loads or stores at once.
VECTOR = 8
# Most sums of a convolution's result with other maps, inputs of a convolution, and inputs of a change of layout.
MOST_SUMS = 2
MOST_INPUTS = 2
MOST_PLANES = 3
# What a convolution's weights have at the end of their name, in the name of its bias.
BIAS = ".bias"
# Where a plan's frame goes: outputs of its graph.
FRAME, ALPHA = "frame", "alpha"


@dataclass(frozen=True)
class PlanMap:
    """Sizes of a map.

    channels: that are used; it has `padded` of them. within: name of the map whose pixels it lies in; None for one of
    its own. first: the channel of that map where it begins, a multiple of `VECTOR`.
    """

    channels: int
    height: int
    width: int
    within: str | None = None
    first: int = 0

    @property
    def padded(self) -> int:
        """Channels of a pixel, a multiple of `VECTOR`."""
        return -(-self.channels // VECTOR) * VECTOR

    @property
    def bytes(self) -> int:
        """Bytes of the map."""
        return 2 * self.padded * self.height * self.width


@dataclass(frozen=True)
class Planes:
    """Channels of an input of the graph, one plane after the other.

    input: its name, [1, C, H, W] in FP32 or FP16. first, count: which channels. scale, offset: x·scale + offset.
    """

    input: str
    first: int
    count: int
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class ChannelsLast:
    """Inputs of the graph, concatenated, as the map `output`."""

    planes: tuple[Planes, ...]
    output: str


@dataclass(frozen=True)
class MapRead:
    """A map that a convolution reads or adds. enlarged: each pixel is seen as 2 × 2 pixels."""

    map: str
    enlarged: bool = False


@dataclass(frozen=True)
class Modulation:
    """SPADE as a second result, activation(x·gamma + beta).

    gamma, beta: names of maps, or of FP16 weights [padded channels]. constant: whether they are weights. leak: slope
    of the activation below 0, 1 for none. enlarged: whether each pixel becomes 2 × 2 pixels. output: name of the map.
    """

    gamma: str
    beta: str
    constant: bool
    leak: float
    enlarged: bool
    output: str


@dataclass(frozen=True)
class TanhPlanes:
    """scale·tanh(x) as planes of `output`, an output of the graph [1, C, H, W] in FP32."""

    output: str
    scale: float


@dataclass(frozen=True)
class Convolution:
    """A convolution, with what is done to its sums.

    name: of the ONNX node. inputs: read and concatenated. kernel, stride: of the first input, padding is kernel // 2.
    second_kernel: of the second input, which is `kernel`, or 1 for a convolution of its own that is added; 0 without
    one. weights: name of the weights, `lowering.weights.pack_convolution`, and of their bias with `.bias` behind.
    channels, height, width: of the result. sums: added. leak: slope of the activation below 0, 1 for none. output: name
    of the resulting map, if anything reads it. modulation: a second result. planes: its only result, if given.
    """

    name: str
    inputs: tuple[MapRead, ...]
    kernel: int
    stride: int
    second_kernel: int
    weights: str
    channels: int
    height: int
    width: int
    sums: tuple[MapRead, ...] = ()
    leak: float = 1.0
    output: str | None = None
    modulation: Modulation | None = None
    planes: TanhPlanes | None = None


@dataclass(frozen=True)
class BilinearDoubling:
    """The map `output`, bilinear and of twice the side of `input` (half-pixel centres, edges continued)."""

    input: str
    output: str


@dataclass(frozen=True)
class RaySamples:
    """What LED reads along its rays (`ray_sampler.py`), as maps.

    camera: input of the graph, FP32 [1, 25]. features: map that is looked up. points, looked_up: resulting maps.
    samples: N. stride: every how manieth sample is looked up.
    """

    camera: str
    features: str
    points: str
    looked_up: str
    samples: int
    stride: int


@dataclass(frozen=True)
class FramePixels:
    """The outputs `frame` and `alpha` from the head's changes and the rendered picture.

    head: map of four changes, and a share of the source's own pixels if they are blended in. change: with an enlarger,
    the map of its changes, four pixels side by side; then the head's are enlarged. rendered, alpha: inputs of the
    graph, of which colours and alpha are enlarged to the frame's side. own, shown: with the source's own pixels, inputs
    of the graph.
    """

    head: str
    rendered: str
    alpha: str
    change: str | None = None
    own: str | None = None
    shown: str | None = None


Step = ChannelsLast | Convolution | BilinearDoubling | RaySamples | FramePixels
KINDS: dict[str, type] = {
    "channels_last": ChannelsLast,
    "convolution": Convolution,
    "bilinear_doubling": BilinearDoubling,
    "ray_samples": RaySamples,
    "frame_pixels": FramePixels,
}


@dataclass(frozen=True)
class LaunchPlan:
    """A graph as steps in the order in which they run. maps: by name, of every map that a step reads or writes."""

    graph: str
    maps: Mapping[str, PlanMap]
    steps: tuple[Step, ...]

    def whole(self, name: str) -> str:
        """Name of the map whose memory a map lies in: its own, or that of a concatenation."""
        return self.maps[name].within or name

    def to_json(self) -> Json:
        """Inverse of `from_json`."""
        names = {kind: name for name, kind in KINDS.items()}
        return {
            "format": FORMAT,
            "graph": self.graph,
            "maps": {name: dataclasses.asdict(one) for name, one in self.maps.items()},
            "steps": [{"kind": names[type(step)], **dataclasses.asdict(step)} for step in self.steps],
        }

    @staticmethod
    def from_json(content: Json) -> "LaunchPlan":
        """Parse a plan. Errors: KeyError, TypeError, ValueError."""
        if content["format"] != FORMAT:
            raise ValueError(f"the format {content['format']}, where this hidenerf reads {FORMAT}")
        maps = {name: PlanMap(**one) for name, one in content["maps"].items()}
        return LaunchPlan(content["graph"], maps, tuple(map(_step, content["steps"])))


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


def parse_plan(text: str, origin: object) -> LaunchPlan:
    """The plan in a file's text. origin: the file. Errors: it is not a plan of this format."""
    try:
        return LaunchPlan.from_json(parse_json(text))
    except GARBLED as error:
        raise HideNerfError(f"{origin}: not a launch plan ({shown(error)}); {EXPORT_AGAIN}.") from None


def _step(entry: Json) -> Step:
    values: dict[str, Any] = dict(entry)
    kind = KINDS[values.pop("kind")]
    if kind is ChannelsLast:
        values["planes"] = tuple(Planes(**one) for one in values["planes"])
    if kind is Convolution:
        for key in ("inputs", "sums"):
            values[key] = tuple(MapRead(**one) for one in values[key])
        if values["modulation"] is not None:
            values["modulation"] = Modulation(**values["modulation"])
        # Plans that are older than LED's lack it.
        if values.get("planes") is not None:
            values["planes"] = TanhPlanes(**values["planes"])
    step: Step = kind(**values)
    return step
