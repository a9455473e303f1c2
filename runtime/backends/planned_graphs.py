"""LED and refiner of a bundle with launch plans, by our kernels in place of ONNX Runtime sessions."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.bundle import IN_FRAME, LED_CANONICAL, MAPS, Bundle, KernelParts, LaunchPlanFiles
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.plan_executor import Memory, PlanExecutor
from hidenerf.runtime.kernels.source_aligner import SourceMap
from hidenerf.runtime.launch_plan import ChannelsLast, LaunchPlan, Planes, PlanMap, parse_plan
from hidenerf.runtime.manifest import EXPORT_AGAIN, TensorSpec

logger = logging.getLogger(__name__)

# Of a map of the source with channels last, behind its name.
LAST = "_last"


def read_launch_plan(files: LaunchPlanFiles) -> tuple[LaunchPlan, dict[str, NDArray[Any]]]:
    """A launch plan and its weights by name. Errors: they cannot be read."""
    try:
        text = files.path.read_text(encoding="utf-8")
        with np.load(files.weights_path, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise HideNerfError(f"{files.weights_path}: not a launch plan's weights ({error}); {EXPORT_AGAIN}.") from None
    return parse_plan(text, files.path), weights


def planned_led(memory: Memory, bundle: Bundle, files: LaunchPlanFiles, addresses: Mapping[str, int]) -> PlanExecutor:
    """LED's launches.

    memory: of the GPU. files: of LED's launch plan. addresses: of the graph `led`'s tensors, by name.
    Errors: those of `read_launch_plan` and `PlanExecutor`.
    """
    led = bundle.graphs["led"]
    return PlanExecutor(
        memory, *read_launch_plan(files), led.inputs | led.outputs, addresses, of_source=[LED_CANONICAL]
    )


class PlannedRefiner:
    """The refiner's launches. Everything is asynchronous.

    of_frame: of a model with alignment, the source's maps that the aligner samples into the plan's maps in every frame,
    in the order of the plan's weights for pixels without source; otherwise empty.
    """

    def __init__(
        self,
        memory: Memory,
        bundle: Bundle,
        parts: KernelParts,
        addresses: Mapping[str, int],
        absent: NDArray[np.float32] | None,
    ) -> None:
        """Upload, allocate and compile.

        memory: of the GPU. parts: of the bundle, with a launch plan. addresses: of the tensors of encoder and refiner,
        but for maps in the frame's coordinates, by name. absent: of the kernels' weights, for a model with alignment.
        Errors: those of `read_launch_plan` and `PlanExecutor`.
        """
        if parts.refiner_plan is None:
            raise AssertionError("the bundle has a launch plan")
        plan, weights = read_launch_plan(parts.refiner_plan)
        tensors = parts.refiner.inputs | parts.refiner.outputs
        written = [name for name in tensors if name.startswith(IN_FRAME)]
        self._executor = PlanExecutor(
            memory,
            plan,
            weights,
            tensors,
            addresses,
            of_source=[name for name in tensors if name.startswith(MAPS)],
            written=written,
        )
        self._source: PlanExecutor | None = None
        self.of_frame: tuple[SourceMap, ...] = ()
        if absent is not None:
            self._source = _source_layouts(memory, bundle.graphs["source_encoder"].outputs, written, addresses)
            self.of_frame = tuple(self._sampled(memory, plan, written, absent))

    def _sampled(
        self, memory: Memory, plan: LaunchPlan, written: list[str], absent: NDArray[np.float32]
    ) -> list[SourceMap]:
        if self._source is None:
            raise AssertionError("the source's maps have a layout")
        found, first = [], 0
        for name in sorted((name.removeprefix(IN_FRAME) for name in written), key=place_among_maps):
            sizes = plan.maps[IN_FRAME + name]
            constants = np.zeros(sizes.padded, np.float32)
            constants[: sizes.channels] = absent[first : first + sizes.channels]
            first += sizes.channels
            addresses = self._source.maps[name + LAST], self._executor.maps[IN_FRAME + name]
            found.append(SourceMap(*addresses, memory.allocate_copy(constants), sizes.padded, sizes.width))
        return found

    def enqueue_source(self, stream: int) -> None:
        """Enqueue what depends on the source alone, after the source encoder. stream: handle of the stream."""
        self._executor.enqueue_source(stream)
        if self._source is not None:
            self._source.enqueue_source(stream)

    def enqueue(self, stream: int) -> None:
        """Enqueue the refiner. stream: handle of the stream."""
        self._executor.enqueue(stream)


def place_among_maps(name: str) -> tuple[int, bool]:
    """Sorts names of maps as the weights `absent` have them: gamma_0, beta_0, gamma_1, …"""
    kind, layer = name.split("_")
    return int(layer), kind == "beta"


def _source_layouts(
    memory: Memory, outputs: Mapping[str, TensorSpec], written: list[str], addresses: Mapping[str, int]
) -> PlanExecutor:
    """A plan that makes the encoder's maps channels last."""
    steps, maps = [], {}
    for name in (name.removeprefix(IN_FRAME) for name in written):
        _, channels, height, width = outputs[name].shape
        maps[name + LAST] = PlanMap(channels, height, width)
        steps.append(ChannelsLast((Planes(name, 0, channels),), name + LAST))
    plan = LaunchPlan("source_encoder", maps, tuple(steps))
    return PlanExecutor(memory, plan, {}, outputs, addresses, of_source=list(outputs))
