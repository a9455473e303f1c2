"""The kernels run on PyTorch's tensors on the current GPU; outputs are poisoned before every run."""

import numpy as np
import torch
from torch import Tensor

from hidenerf.runtime.kernels.launch import Kernels
from hidenerf.runtime.kernels.packing import pack_mlp
from hidenerf.runtime.kernels.renderer import MOST_LEVELS, TriplaneRenderer
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.scenes import Scene


def current_stream() -> int:
    return int(torch.cuda.current_stream().cuda_stream)


def to_gpu(scene: Scene) -> Scene:
    planes = [p.cuda() for p in scene.planes]
    return Scene(scene.deformation.cuda(), scene.camera.cuda(), planes, *[t.cuda() for t in scene.mlp])


class SceneRenderer:
    """One scene's weights and planes on the GPU, ready for `render`; its deformation and camera by default.

    place: [3, R, R], this output; empty if the sizes are without it.
    """

    def __init__(self, sizes: RendererSizes, scene: Scene) -> None:
        self.sizes, self.scene = sizes, to_gpu(scene)
        self.renderer = TriplaneRenderer(sizes)
        packed = pack_mlp(sizes, *[t.double().cpu().numpy() for t in scene.mlp])
        self.operands = torch.from_numpy(packed.operands.view(np.int32)).cuda()
        self.direct_operands = torch.from_numpy(packed.direct_operands.view(np.int32)).cuda()
        self.feature_weight = torch.from_numpy(packed.feature_weight).cuda()
        self.flags = torch.zeros(1, dtype=torch.int32, device="cuda")
        self.place = torch.empty(3 * sizes.place, sizes.render_size, sizes.render_size, device="cuda")
        self.merged = torch.full((sizes.merged_bytes // 2,), float("nan"), dtype=torch.float16, device="cuda")
        self.merge(fp16=False)

    def merge(self, fp16: bool) -> None:
        planes = [p.half() if fp16 else p for p in self.scene.planes]
        addresses = [p.data_ptr() for p in planes]
        self.renderer.merge_planes(
            addresses,
            fp16,
            self.feature_weight.data_ptr(),
            self.merged.data_ptr(),
            self.flags.data_ptr(),
            current_stream(),
        )
        torch.cuda.synchronize()

    def outputs(self, fp16: bool = False) -> tuple[Tensor, Tensor]:
        size = self.sizes.render_size
        kind = torch.float16 if fp16 else torch.float32
        self.place.fill_(float("nan"))
        rendered = torch.full((self.sizes.rendered, size, size), float("nan"), dtype=kind, device="cuda")
        return rendered, torch.full((size, size), float("nan"), device="cuda")

    def start(
        self,
        rendered: Tensor,
        alpha: Tensor,
        deformation: Tensor | None = None,
        camera: Tensor | None = None,
    ) -> None:
        self.renderer.render(
            (self.scene.deformation if deformation is None else deformation).data_ptr(),
            (self.scene.camera if camera is None else camera).data_ptr(),
            self.merged.data_ptr(),
            self.operands.data_ptr(),
            rendered.data_ptr(),
            alpha.data_ptr(),
            self.flags.data_ptr(),
            current_stream(),
            rendered.dtype == torch.float16,
            self.place.data_ptr(),
        )

    def render(self, fp16: bool = False) -> tuple[Tensor, Tensor]:
        rendered, alpha = self.outputs(fp16)
        self.start(rendered, alpha)
        torch.cuda.synchronize()
        return rendered, alpha


class DirectRenderer(SceneRenderer):
    """The same with the first version's kernel."""

    def __init__(self, sizes: RendererSizes, scene: Scene) -> None:
        super().__init__(sizes, scene)
        self.direct = Kernels("triplane_render_direct.cu", sizes.definitions())
        pack = Kernels("pack_planes.cu", sizes.definitions())
        self.bordered = []
        for plane in self.scene.planes:
            size = plane.shape[-1]
            shape = (3, size + 2, size + 2, sizes.channels)
            bordered = torch.full(shape, float("nan"), dtype=torch.float16, device="cuda")
            arguments = [
                plane.data_ptr(),
                bordered.data_ptr(),
                np.int32(sizes.channels),
                np.int32(size),
                self.flags.data_ptr(),
            ]
            pack.launch("channels_last_fp32", (256, 1, 1), 256, current_stream(), arguments)
            self.bordered.append(bordered)

    def start(
        self,
        rendered: Tensor,
        alpha: Tensor,
        deformation: Tensor | None = None,
        camera: Tensor | None = None,
    ) -> None:
        size = self.sizes.render_size
        planes = [b.data_ptr() for b in self.bordered] + [0] * (MOST_LEVELS - len(self.bordered))
        arguments = [
            (self.scene.deformation if deformation is None else deformation).data_ptr(),
            (self.scene.camera if camera is None else camera).data_ptr(),
            *planes,
            self.direct_operands.data_ptr(),
            rendered.data_ptr(),
            alpha.data_ptr(),
            self.flags.data_ptr(),
            *([self.place.data_ptr()] if self.sizes.place else []),
        ]
        grid = (-(-size // 8), -(-size // 4), 1)
        self.direct.launch("triplane_render_direct_fp32", grid, 256, current_stream(), arguments)
