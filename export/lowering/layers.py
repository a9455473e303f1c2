"""What the values of a graph are while it is lowered: layers that still grow, and what later nodes see of them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.launch_plan import BilinearDoubling, MapRead, Planes, RaySamples, TanhPlanes


@dataclass(eq=False)
class Layer:
    """A convolution that takes in the nodes behind it; fields as those of `launch_plan.Convolution`.

    weights: per input [N, C, k, k]. bias: [N] in FP32. reads: of the second result, once something needs it.
    """

    name: str
    inputs: list[MapRead]
    kernel: int
    stride: int
    second_kernel: int
    weights: list[NDArray[np.float16]]
    bias: NDArray[np.float32]
    height: int
    width: int
    sums: list[MapRead] = field(default_factory=list)
    leak: float = 1.0
    output: str | None = None
    modulated: "Modulated | None" = None
    planes: TanhPlanes | None = None

    @property
    def channels(self) -> int:
        """N."""
        return len(self.bias)

    @property
    def is_open(self) -> bool:
        """Whether nothing but sums has been done to the result, and nothing reads it."""
        return self.leak == 1.0 and self.output is None and self.modulated is None and self.planes is None


# A launch while its graph is lowered: only layers grow.
Made = Layer | BilinearDoubling | RaySamples


@dataclass(frozen=True)
class Result:
    """The result of a layer. enlarged: each pixel is seen as 2 × 2 pixels."""

    layer: Layer
    enlarged: bool = False


@dataclass(frozen=True)
class ModulationMap:
    """γ or β: an input of the graph, or a constant of each channel."""

    input: str = ""
    constant: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scaled:
    """A result times gamma."""

    result: Result
    gamma: ModulationMap


@dataclass(frozen=True)
class Modulated:
    """A result times gamma, plus beta, then a leaky ReLU with this slope, 1 for none."""

    result: Result
    gamma: ModulationMap
    beta: ModulationMap
    leak: float = 1.0


@dataclass(frozen=True)
class InputPlanes:
    """Channels of inputs of the graph, concatenated; height, width: of each."""

    planes: tuple[Planes, ...]
    height: int
    width: int


@dataclass(frozen=True)
class FinishedMap:
    """A map of the plan with this name and so many channels, to which nothing can be added."""

    name: str
    channels: int


@dataclass(frozen=True)
class Concatenation:
    """Channels of two values."""

    values: tuple["Value", ...]


@dataclass(frozen=True)
class JoinedMaps:
    """A map of the plan with this name, in whose pixels maps of so many channels lie side by side."""

    name: str
    channels: tuple[int, ...]


Value = Result | Scaled | Modulated | InputPlanes | FinishedMap | Concatenation | JoinedMaps
