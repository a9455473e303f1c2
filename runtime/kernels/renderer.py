"""`TriplaneRenderer`: TriplaneRender on the GPU, with kernels compiled for one model."""

from collections.abc import Sequence

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.launch import Kernels
from hidenerf.runtime.kernels.sizes import RendererSizes

# As in ray_march.cuh and pack_planes.cuh.
_TILE_WIDTH, _TILE_HEIGHT, _THREADS = 8, 4, 256
_MERGE_POINTS, _MERGE_THREADS = 32, 128
MOST_LEVELS = 4


class TriplaneRenderer:
    """Renders one model. Arguments of its methods are device addresses; everything is asynchronous.

    Once per model the caller uploads `operands` and `feature_weight` of `packing.pack_mlp`, aligned to 16 bytes. Once
    per source it calls `merge_planes`, and per frame `render`.
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
        """Merge the planes of all levels, multiplied by the MLP's first layer, into one tri-plane.

        planes: per level [3, C, r_l, r_l], FP16 if half, otherwise FP32.
        feature_weight: FP32, of `packing.pack_mlp`.
        merged: the result, `sizes.merged_bytes` bytes.
        flags: 32-bit word; PLANES_OUT_OF_RANGE is set in it if a value exceeds FP16's range.
        stream: handle of the stream.
        """
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
        place: int = 0,
    ) -> None:
        """Render one frame.

        deformation: FP32 [3N, R, R]. A component that is not finite puts its sample outside the planes along that axis.
        camera: FP32 [25].
        merged: of `merge_planes`.
        operands: of `packing.pack_mlp`.
        rendered: the result [K, R, R], FP16 if half, otherwise FP32.
        alpha: the result FP32 [R, R].
        flags: 32-bit word; NON_FINITE_DEFORMATION is set in it if a deformation is not finite.
        stream: handle of the stream.
        place: the result FP32 [3, R, R], the canonical points composited; if `sizes.place`, otherwise unused. A
            component of the deformation that is not finite counts as 0 in it.
        """
        size = self.sizes.render_size
        grid = (-(-size // _TILE_WIDTH), -(-size // _TILE_HEIGHT), 1)
        name = "triplane_render_fp16" if half else "triplane_render_fp32"
        arguments = [deformation, camera, merged, operands, rendered, alpha, flags]
        if self.sizes.place:
            arguments.append(place)
        self._render.launch(name, grid, _THREADS, stream, arguments)
