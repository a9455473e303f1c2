"""GridSample3d on the GPU, for tests and benchmarks. The product runs it as ONNX operators or in the plugin."""

from typing import NamedTuple

import numpy as np

from hidenerf.runtime.kernels.launch import Kernels

_THREADS, _MOST_BLOCKS = 256, 1 << 16


class VolumeShape(NamedTuple):
    """[B, C, D, H, W]."""

    batch: int
    channels: int
    depth: int
    height: int
    width: int


class GridSampler:
    """`torch.nn.functional.grid_sample` of volumes, trilinear; arguments are device addresses, all is asynchronous."""

    def __init__(self) -> None:
        self._kernels = Kernels("grid_sample_3d.cu")

    def sample(
        self,
        volume: int,
        grid: int,
        sampled: int,
        shape: VolumeShape,
        points: int,
        stream: int,
        fp16: bool,
        border: bool,
        align_corners: bool,
    ) -> None:
        """Sample a volume at points.

        volume: address of FP16 (if fp16) or FP32 [B, C, D, H, W].
        grid: address of FP32 [B, points, 3].
        sampled: address of the result [B, C, points], of the volume's type.
        border: whether a point outside the volume gets the nearest voxel, otherwise zero.
        """
        blocks = min(-(-points * shape.batch // _THREADS), _MOST_BLOCKS)
        numbers = [np.int32(n) for n in shape]
        arguments: list[int | np.generic] = [
            volume,
            grid,
            sampled,
            *numbers,
            np.int64(points),
            np.int32(border),
            np.int32(align_corners),
        ]
        name = "grid_sample_3d_fp16" if fp16 else "grid_sample_3d_fp32"
        self._kernels.launch(name, (blocks, 1, 1), _THREADS, stream, arguments)
