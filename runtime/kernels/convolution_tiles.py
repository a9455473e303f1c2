"""`ConvolutionTile`: how a convolution is divided among blocks and warps, and which division suits a layer."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hidenerf.runtime.launch_plan import Convolution, LaunchPlan, PlanMap

# By SM: KiB of shared memory that a block may have, and that a multiprocessor has, and its threads. Others: the least.
SHARED_OF_BLOCK = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 120: 99, 121: 99}
SHARED_OF_MULTIPROCESSOR = {75: 64, 80: 164, 86: 100, 87: 164, 89: 100, 90: 228, 100: 228, 120: 100, 121: 100}
_KIB = 1024
THREADS_OF_MULTIPROCESSOR = {
    75: 1024,
    80: 2048,
    86: 1536,
    87: 1536,
    89: 1536,
    90: 2048,
    100: 2048,
    120: 1536,
    121: 1536,
}

# Of a thread, in a tile that is chosen by its estimate. With 64 some kernels spill.
MOST_SUMS = 32

# Of the estimate of a launch's time, in cycles: a product of 16 × 8 × 16 on a multiprocessor, and on a warp; a step's
# loads and the wait for its products; a chunk's barrier, addresses and wait for its copies; a block's start and end.
# Fitted, with the rate of L2, to 331 launches on an H200 (docs/kernels.md).
_PRODUCT, _PRODUCT_OF_WARP, _STEP, _CHUNK, _BLOCK = 1.75, 18.0, 60.0, 770.0, 2900.0
# Bytes a cycle that a multiprocessor reads of shared memory, and of L2.
_SHARED_RATE, _L2_RATE = 128.0, 18.0


@dataclass(frozen=True)
class LayerShape:
    """What of a convolution matters to its tile.

    height, width, outputs: of the result. channels: of each input. kernel, stride, second_kernel: see
    `launch_plan.Convolution`.
    """

    height: int
    width: int
    outputs: int
    channels: tuple[int, ...]
    kernel: int
    stride: int
    second_kernel: int

    @staticmethod
    def of(step: Convolution, plan: LaunchPlan) -> "LayerShape":
        """The shape of a plan's step."""
        channels = tuple(plan.maps[one.map].padded for one in step.inputs)
        sizes = step.height, step.width, PlanMap(step.channels, 1, 1).padded
        return LayerShape(*sizes, channels, step.kernel, step.stride, step.second_kernel)


@dataclass(frozen=True)
class ConvolutionTile:
    """The macros of convolution.cu (`ConvolutionTile` in convolution.cuh).

    kernel, stride, second_kernel: of the layer. height, width, outputs: output pixels and channels of a block.
    channels, second_channels: input channels of a chunk, of each input. stages: chunks in shared memory. warps_m,
    warps_n, warps_k: warps that share pixels, output channels, and the steps of the sum.
    """

    kernel: int
    stride: int
    second_kernel: int
    height: int
    width: int
    outputs: int
    channels: int
    second_channels: int
    stages: int
    warps_m: int
    warps_n: int
    warps_k: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * self.warps_m * self.warps_n * self.warps_k

    @property
    def sums(self) -> int:
        """Of a thread, each in a register."""
        return self.height * self.width * self.outputs // (32 * self.warps_m * self.warps_n)

    @property
    def _pointwise_second(self) -> bool:
        return self.second_kernel == 1 and self.kernel > 1

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: chunks, or in their place the sums of its warps."""
        pixels = self.height * self.width
        down, across = ((side - 1) * self.stride + self.kernel for side in (self.height, self.width))
        steps, inputs = self.channels // 16 * self.kernel**2, down * across * (2 * self.channels + 16)
        if self._pointwise_second:
            steps = max(steps, self.second_channels // 16)
            inputs = max(inputs, pixels * (2 * self.second_channels + 16))
        stage = inputs + self.outputs // 16 * steps * 512
        return max(self.stages * stage, 4 * self.warps_k * pixels * (self.outputs + 8))

    def grid(self, height: int, width: int, outputs: int) -> tuple[int, int, int]:
        """Blocks for a result of this size."""
        return (-(-height // self.height) * -(-width // self.width), -(-outputs // self.outputs), 1)

    def definitions(self) -> tuple[tuple[str, int], ...]:
        """The macros, with their values."""
        return (
            ("KERNEL", self.kernel),
            ("STRIDE", self.stride),
            ("SECOND_KERNEL", self.second_kernel),
            ("TILE_HEIGHT", self.height),
            ("TILE_WIDTH", self.width),
            ("TILE_OUTPUTS", self.outputs),
            ("TILE_CHANNELS", self.channels),
            ("SECOND_CHANNELS", self.second_channels),
            ("STAGES", self.stages),
            ("WARPS_M", self.warps_m),
            ("WARPS_N", self.warps_n),
            ("WARPS_K", self.warps_k),
            ("SHARED_BYTES", self.shared_bytes),
        )


# Height, width and outputs of a block, and its warps_m and warps_n: warps of 16 to 64 pixels times 16 to 64 outputs.
_BLOCKS = (
    (16, 16, 64, 4, 2),
    (16, 16, 32, 4, 1),
    (16, 16, 32, 8, 1),
    (16, 16, 16, 8, 1),
    (8, 16, 64, 2, 2),
    (8, 16, 32, 2, 1),
    (8, 16, 32, 4, 1),
    (8, 16, 16, 4, 1),
    (8, 8, 64, 1, 2),
    (8, 8, 64, 2, 2),
    (8, 8, 32, 1, 1),
    (8, 8, 32, 2, 1),
    (8, 8, 16, 2, 1),
    (4, 8, 64, 1, 2),
    (4, 8, 32, 1, 1),
    (4, 8, 16, 1, 1),
    (2, 8, 32, 1, 1),
    (2, 8, 16, 1, 1),
)


def _limit(by_sm: Mapping[int, int], sm: int) -> int:
    return by_sm.get(sm, min(by_sm.values()))


# SM and multiprocessors of the GPU where `_FASTEST` was measured.
_MEASURED_ON = 90, 132
# Of LED's and the refiner's layers of `demo` with alignment, and of `base`, the fastest of the tiles that were measured
# and do not spill, or one within 2 % of it: height, width, outputs, channels, stages, warps_m, warps_n, warps_k (H200,
# 2026-11-29, benchmarks/plans_on_gpu.py).
_FASTEST = {
    LayerShape(64, 64, 48, (8,), 5, 2, 0): (8, 16, 16, 16, 2, 4, 1, 2),
    LayerShape(64, 64, 48, (48,), 3, 1, 0): (8, 16, 16, 64, 2, 4, 1, 2),
    LayerShape(64, 64, 8, (48,), 1, 1, 0): (8, 8, 16, 64, 2, 2, 1, 3),
    LayerShape(64, 64, 96, (96,), 1, 1, 0): (8, 8, 64, 64, 2, 2, 2, 2),
    LayerShape(64, 64, 48, (96,), 3, 1, 0): (8, 16, 16, 64, 3, 4, 1, 2),
    LayerShape(64, 64, 128, (224,), 3, 1, 0): (8, 16, 32, 64, 3, 2, 1, 4),
    LayerShape(32, 32, 128, (128,), 3, 2, 0): (4, 8, 32, 32, 3, 1, 1, 8),
    LayerShape(32, 32, 128, (128,), 3, 1, 0): (8, 8, 16, 64, 3, 2, 1, 4),
    LayerShape(16, 16, 128, (128,), 3, 2, 0): (2, 8, 16, 64, 2, 1, 1, 4),
    LayerShape(16, 16, 128, (128,), 3, 1, 0): (2, 8, 16, 64, 2, 1, 1, 8),
    LayerShape(8, 8, 160, (128,), 3, 2, 0): (2, 8, 16, 64, 2, 1, 1, 8),
    LayerShape(8, 8, 160, (160,), 3, 1, 0): (2, 8, 16, 64, 3, 1, 1, 8),
    LayerShape(16, 16, 128, (160, 128), 3, 1, 3): (2, 8, 16, 64, 2, 1, 1, 8),
    LayerShape(32, 32, 128, (128, 128), 3, 1, 3): (4, 8, 32, 64, 2, 1, 1, 8),
    LayerShape(64, 64, 128, (128, 128), 3, 1, 3): (8, 16, 32, 64, 2, 2, 1, 4),
    LayerShape(64, 64, 96, (128,), 3, 1, 0): (8, 16, 32, 64, 2, 4, 1, 2),
    LayerShape(64, 64, 48, (40,), 3, 1, 0): (8, 16, 16, 64, 3, 4, 1, 2),
    LayerShape(32, 32, 96, (48,), 3, 2, 0): (8, 8, 16, 16, 3, 2, 1, 3),
    LayerShape(16, 16, 128, (96,), 3, 2, 0): (4, 8, 16, 32, 2, 1, 1, 4),
    LayerShape(32, 32, 96, (128,), 3, 1, 0): (8, 8, 16, 64, 2, 2, 1, 4),
    LayerShape(32, 32, 96, (96, 128), 3, 1, 1): (4, 8, 32, 64, 3, 1, 1, 8),
    LayerShape(64, 64, 48, (48, 96), 3, 1, 1): (8, 8, 32, 64, 3, 2, 1, 4),
    LayerShape(128, 128, 32, (48,), 3, 1, 0): (8, 16, 32, 64, 2, 4, 1, 2),
    LayerShape(128, 128, 32, (32, 48), 3, 1, 1): (8, 16, 32, 32, 2, 4, 1, 2),
    LayerShape(256, 256, 32, (8,), 3, 1, 0): (16, 16, 32, 16, 3, 8, 1, 1),
    LayerShape(256, 256, 24, (32,), 3, 1, 0): (16, 16, 32, 16, 2, 8, 1, 1),
    LayerShape(256, 256, 24, (24, 32), 3, 1, 1): (8, 16, 32, 16, 2, 4, 1, 1),
    LayerShape(256, 256, 8, (24,), 3, 1, 0): (16, 16, 16, 16, 3, 8, 1, 1),
    LayerShape(128, 128, 64, (8,), 5, 2, 0): (16, 16, 32, 16, 2, 8, 1, 1),
    LayerShape(128, 128, 64, (64,), 3, 1, 0): (16, 16, 32, 64, 2, 8, 1, 1),
    LayerShape(128, 128, 8, (64,), 1, 1, 0): (8, 8, 16, 64, 2, 2, 1, 4),
    LayerShape(128, 128, 128, (144,), 1, 1, 0): (8, 8, 64, 32, 2, 2, 2, 1),
    LayerShape(128, 128, 64, (128,), 3, 1, 0): (16, 16, 32, 64, 2, 8, 1, 1),
    LayerShape(128, 128, 96, (224,), 3, 1, 0): (8, 16, 32, 32, 2, 2, 1, 2),
    LayerShape(64, 64, 128, (96,), 3, 2, 0): (8, 16, 32, 16, 3, 2, 1, 4),
    LayerShape(64, 64, 128, (128,), 3, 1, 0): (8, 16, 32, 64, 2, 4, 1, 2),
    LayerShape(32, 32, 160, (128,), 3, 2, 0): (8, 8, 32, 64, 2, 1, 1, 4),
    LayerShape(32, 32, 160, (160,), 3, 1, 0): (8, 8, 32, 64, 3, 1, 1, 8),
    LayerShape(16, 16, 192, (160,), 3, 2, 0): (4, 8, 16, 64, 2, 1, 1, 4),
    LayerShape(16, 16, 192, (192,), 3, 1, 0): (4, 8, 16, 64, 3, 1, 1, 8),
    LayerShape(32, 32, 160, (192, 160), 3, 1, 3): (8, 8, 32, 64, 2, 1, 1, 8),
    LayerShape(64, 64, 128, (160, 128), 3, 1, 3): (8, 16, 32, 64, 2, 2, 1, 4),
    LayerShape(128, 128, 96, (128, 96), 3, 1, 3): (8, 16, 32, 32, 2, 2, 1, 2),
    LayerShape(128, 128, 144, (96,), 3, 1, 0): (16, 16, 32, 32, 2, 8, 1, 1),
    LayerShape(128, 128, 64, (32,), 3, 1, 0): (16, 16, 32, 32, 3, 8, 1, 1),
    LayerShape(64, 64, 128, (64,), 3, 2, 0): (8, 16, 32, 16, 2, 2, 1, 3),
    LayerShape(32, 32, 256, (128,), 3, 2, 0): (8, 8, 32, 64, 2, 1, 1, 8),
    LayerShape(32, 32, 256, (256,), 3, 1, 0): (8, 8, 32, 64, 3, 1, 1, 8),
    LayerShape(64, 64, 128, (256,), 3, 1, 0): (8, 16, 32, 64, 2, 2, 1, 4),
    LayerShape(64, 64, 128, (128, 256), 3, 1, 1): (8, 16, 32, 64, 2, 4, 1, 2),
    LayerShape(128, 128, 64, (64, 128), 3, 1, 1): (8, 16, 64, 32, 3, 2, 2, 2),
    LayerShape(256, 256, 64, (64,), 3, 1, 0): (16, 16, 64, 16, 3, 4, 2, 1),
    # 16 × 16 × 32 with 4 warps took 46.3 µs in place of 47.3, but spills.
    LayerShape(512, 512, 32, (64,), 3, 1, 0): (8, 16, 32, 16, 2, 4, 1, 1),
    LayerShape(512, 512, 32, (32, 64), 3, 1, 1): (16, 16, 32, 16, 2, 4, 1, 1),
    LayerShape(512, 512, 8, (32,), 3, 1, 0): (16, 16, 16, 32, 2, 8, 1, 1),
}
MEASURED_LAYERS = tuple(_FASTEST)


def _tile(shape: LayerShape, sizes: tuple[int, int, int, int, int, int, int, int]) -> ConvolutionTile:
    """A layer's tile. sizes: as in `_FASTEST`."""
    height, width, outputs, channels, *others = sizes
    second = 2 * channels if shape.second_kernel == 1 and shape.kernel > 1 else channels
    layer = shape.kernel, shape.stride, shape.second_kernel
    return ConvolutionTile(*layer, height, width, outputs, channels, second, *others)


def tiles_for(shape: LayerShape, sm: int) -> Iterator[ConvolutionTile]:
    """The tiles that a GPU of this SM can run a layer with."""
    for height, width, outputs, warps_m, warps_n in _BLOCKS:
        if outputs > 16 * -(-shape.outputs // 16) and outputs > 16:
            continue
        for channels in (16, 32, 64):
            if channels > 16 and channels >= 2 * -(-shape.channels[0] // 16) * 16:
                continue
            for stages in (2, 3) if sm >= 80 else (2,):
                for warps_k in (1, 2, 3, 4, 8):
                    tile = _tile(shape, (height, width, outputs, channels, stages, warps_m, warps_n, warps_k))
                    if tile.threads <= 256 and tile.shared_bytes <= _limit(SHARED_OF_BLOCK, sm) * _KIB:
                        yield tile


def estimated_cycles(tile: ConvolutionTile, shape: LayerShape, sm: int, multiprocessors: int) -> float:
    """About how many cycles a launch takes: the blocks of a multiprocessor share its tensor cores or wait together."""
    across, parts, _ = tile.grid(shape.height, shape.width, shape.outputs)
    blocks = across * parts
    # About 128 registers a thread.
    of_threads = min(_limit(THREADS_OF_MULTIPROCESSOR, sm), 512) // tile.threads
    resident = max(1, min(of_threads, _limit(SHARED_OF_MULTIPROCESSOR, sm) * _KIB // (tile.shared_bytes + _KIB)))
    down, across_input = ((side - 1) * tile.stride + tile.kernel for side in (tile.height, tile.width))
    blocks_of_16 = [-(-channels // 16) for channels in shape.channels]
    steps = blocks_of_16[0] * shape.kernel**2
    chunks = -(-shape.channels[0] // tile.channels)
    copied = down * across_input * 32 * blocks_of_16[0]
    if shape.second_kernel:
        pointwise = shape.second_kernel == 1 and shape.kernel > 1
        steps += blocks_of_16[1] * shape.second_kernel**2
        chunks += -(-shape.channels[1] // (tile.second_channels if pointwise else tile.channels))
        copied += (tile.height * tile.width if pointwise else down * across_input) * 32 * blocks_of_16[1]
    copied += steps * 32 * tile.outputs
    rows, columns = tile.height * tile.width // 16, tile.outputs // 8
    products = rows * columns
    operands = 512 * (tile.warps_n * rows + tile.warps_m * columns / 2)
    busy = max(steps * max(_PRODUCT * products, operands / _SHARED_RATE), copied / _L2_RATE)
    of_warp = _PRODUCT_OF_WARP * products / (tile.warps_m * tile.warps_n)
    waiting = steps / tile.warps_k * max(_STEP, of_warp) + _CHUNK * chunks + _BLOCK
    of_one = math.ceil(blocks / multiprocessors)
    return max(of_one * busy + _BLOCK, math.ceil(of_one / resident) * waiting)


def choose_tile(shape: LayerShape, sm: int, multiprocessors: int) -> ConvolutionTile:
    """The fastest tile where the layer was measured on such a GPU, otherwise the one with the smallest estimate.

    Estimates are compared among tiles whose registers certainly suffice. sm, multiprocessors: of the GPU.
    """
    if (sm, multiprocessors) == _MEASURED_ON and shape in _FASTEST:
        return _tile(shape, _FASTEST[shape])
    tiles = [tile for tile in tiles_for(shape, sm) if tile.sums <= MOST_SUMS]
    return min(tiles, key=lambda tile: (estimated_cycles(tile, shape, sm, multiprocessors), tile.shared_bytes))
