"""`PlanExecutor`: a launch plan on the GPU."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.kernels.convolution_tiles import ConvolutionTile, LayerShape, choose_tile
from hidenerf.runtime.kernels.launch import Kernels
from hidenerf.runtime.kernels.plan_checks import check_plan
from hidenerf.runtime.kernels.plan_memory import Lifetime, lifetimes_of, place_maps
from hidenerf.runtime.kernels.ray_sampler import (
    PIXELS_A_BLOCK,
    THREADS_OF_MAPS,
    SampleSizes,
)
from hidenerf.runtime.launch_plan import (
    ALPHA,
    BIAS,
    FRAME,
    MOST_PLANES,
    MOST_SUMS,
    VECTOR,
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    RaySamples,
    Step,
    reads_and_writes,
)
from hidenerf.runtime.manifest import TensorSpec

THREADS = 256

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
        sizes = SampleSizes.of_step(step, self._plan)
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
