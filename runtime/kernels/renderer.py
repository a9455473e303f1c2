"""TriplaneRender on the GPU: a model's kernels, and what they are launched with."""

from collections.abc import Sequence

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.launch import Kernels
from hidenerf.runtime.kernels.sizes import RendererSizes

# Of ray_march.cuh and pack_planes.cuh.
_TILE_WIDTH, _TILE_HEIGHT, _THREADS = 8, 4, 256
_MERGE_POINTS, _MERGE_THREADS = 32, 128
MOST_LEVELS = 4


class TriplaneRenderer:
    """Renders one model's pictures; all arguments are device addresses, and everything is asynchronous.

    Once per model: `packing.pack_mlp`'s operands and feature_weight go to the device (16-byte aligned). Once per
    source: `merge_planes`. Per frame: `render`.
    """

    def __init__(self, sizes: RendererSizes) -> None:
        if sizes.levels > MOST_LEVELS:
            raise HideNerfError(
                f"The model has {sizes.levels} plane levels, and the CUDA backend takes {MOST_LEVELS}; run another one."
            )
        self.sizes = sizes
        self._pack = Kernels("pack_planes.cu", sizes.definitions())
        self._render = Kernels("triplane_render.cu", sizes.definitions())

    def merge_planes(
        self, planes: Sequence[int], half: bool, feature_weight: int, merged: int, flags: int, stream: int
    ) -> None:
        """planes: per level [3, C, r_l, r_l], FP16 if half else FP32 → merged, `sizes.merged_bytes` bytes."""
        addresses = [*planes, *[0] * (MOST_LEVELS - len(planes))]
        points = self.sizes.points
        grid = (-(-points // _MERGE_POINTS), points, 3)
        name = "merge_planes_fp16" if half else "merge_planes_fp32"
        self._pack.launch(name, grid, _MERGE_THREADS, stream, [*addresses, feature_weight, merged, flags])

    def render(
        self,
        deformation: int,
        camera: int,
        merged: int,
        operands: int,
        rendered: int,
        alpha: int,
        flags: int,
        stream: int,
        half: bool,
    ) -> None:
        """FP32 deformation [3N, R, R], camera [25] → rendered [K, R, R], FP16 if half else FP32; FP32 alpha [R, R].

        A component of the deformation that is not finite puts its sample outside the planes along that axis, and
        NON_FINITE_DEFORMATION is set in the 32-bit word at `flags`.
        """
        size = self.sizes.render_size
        grid = (-(-size // _TILE_WIDTH), -(-size // _TILE_HEIGHT), 1)
        name = "triplane_render_fp16" if half else "triplane_render_fp32"
        arguments = [deformation, camera, merged, operands, rendered, alpha, flags]
        self._render.launch(name, grid, _THREADS, stream, arguments)
