"""GridSample3d, Secc and the conversion to bytes on a GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("border", [False, True])
def test_grid_sample_3d_matches_pytorch_in_fp64(border: bool, align_corners: bool, fp16: bool) -> None:
    from tests.support.kernels.grid_sample import GridSampler, VolumeShape
    from tests.support.kernels.on_gpu import current_stream

    kind = torch.float16 if fp16 else torch.float32
    volume = torch.randn(2, 7, 5, 9, 11, device="cuda").to(kind)
    grid = torch.randn(2, 3, 17, 13, 3, device="cuda") * 0.8
    sampled = torch.full((2, 7, 3, 17, 13), float("nan"), device="cuda", dtype=kind)
    GridSampler().sample(
        volume.data_ptr(),
        grid.data_ptr(),
        sampled.data_ptr(),
        VolumeShape(*volume.shape),
        3 * 17 * 13,
        current_stream(),
        fp16,
        border,
        align_corners,
    )
    padding = "border" if border else "zeros"
    expected = F.grid_sample(
        volume.double(), grid.double(), mode="bilinear", padding_mode=padding, align_corners=align_corners
    )
    torch.cuda.synchronize()
    assert (sampled.double() - expected).abs().max() < (3e-3 if fp16 else 2e-5)


def test_secc_is_the_cpus_picture() -> None:
    import cv2

    if not hasattr(cv2, "triangleRasterize"):
        pytest.skip(f"OpenCV {cv2.__version__} has no rasteriser to compare with")
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
    from hidenerf.runtime.secc import secc
    from tests.support.kernels.on_gpu import current_stream

    assert Path(default_face_model_path()).is_file()
    face = load_face_model(default_face_model_path())
    size = 256
    rng = np.random.default_rng(0)
    expression = (rng.random(len(face.expression_names)) * 0.5).astype(np.float32)
    identity = rng.normal(0, 0.3, len(face.identity_names)).astype(np.float32)
    count, expressions = len(face.mean), len(expression)
    drawer = SeccDrawer(count, expressions, len(face.triangles), size)

    def gpu(array: np.ndarray, kind: type) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, kind)).cuda()

    neutral = gpu(face.vertices(identity, np.zeros_like(expression)), np.float32)
    basis, coefficients = gpu(face.expression_basis, np.float32), gpu(expression, np.float32)
    triangles, colours = gpu(face.triangles, np.int32), gpu(face.ncc, np.float32)
    vertices = torch.full((count, 3), float("nan"), device="cuda")
    keys = torch.zeros(size, size, dtype=torch.int64, device="cuda")
    stream = current_stream()
    expected_vertices = face.vertices(identity, expression)
    for _ in range(2):
        found = torch.full((3, size, size), float("nan"), device="cuda")
        drawer.vertices(neutral.data_ptr(), basis.data_ptr(), coefficients.data_ptr(), vertices.data_ptr(), stream)
        drawer.draw(
            vertices.data_ptr(), triangles.data_ptr(), colours.data_ptr(), keys.data_ptr(), found.data_ptr(), stream
        )
        torch.cuda.synchronize()
        assert np.abs(vertices.cpu().numpy() - expected_vertices).max() < 1e-5
        assert not keys.any()
        difference = np.abs(found.cpu().numpy() - secc(expected_vertices, face, size)).max(0)
        assert (difference > 1e-3).sum() <= 3


def test_the_face_sight_is_the_cpus_picture() -> None:
    import cv2

    if not hasattr(cv2, "triangleRasterize"):
        pytest.skip(f"OpenCV {cv2.__version__} has no rasteriser to compare with")
    from hidenerf.runtime.camera import canonical_camera
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.face_sight import face_sight, sight_colours
    from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
    from tests.support.kernels.on_gpu import current_stream

    face, size = load_face_model(default_face_model_path()), 256
    colours = sight_colours(face, face.mean_with_teeth, canonical_camera(10, 5, -3))
    camera = canonical_camera(-25, 8, 10)
    mesh, seen, sees = (
        torch.from_numpy(np.ascontiguousarray(a, np.float32)).cuda() for a in (face.mean_with_teeth, colours, camera)
    )
    triangles = torch.from_numpy(np.ascontiguousarray(face.triangles_with_teeth, np.int32)).cuda()
    keys = torch.zeros(size, size, dtype=torch.int64, device="cuda")
    screen, found = torch.empty_like(mesh), torch.full((4, size, size), float("nan"), device="cuda")
    drawer = SeccDrawer(len(mesh), len(face.expression_names), len(triangles), size, face_sight=True)
    drawer.screen(mesh.data_ptr(), sees.data_ptr(), screen.data_ptr(), current_stream())
    drawn = screen.data_ptr(), triangles.data_ptr(), seen.data_ptr(), keys.data_ptr(), found.data_ptr()
    drawer.draw(*drawn, current_stream())
    torch.cuda.synchronize()
    assert not keys.any()
    difference = np.abs(found.cpu().numpy() - face_sight(face, face.mean_with_teeth, camera, colours, size)).max(0)
    assert (difference > 1e-3).sum() <= size // 16


@pytest.mark.parametrize("fp16", [False, True])
def test_pictures_become_bytes(fp16: bool) -> None:
    from hidenerf.runtime.kernels.launch import Kernels
    from tests.support.kernels.on_gpu import current_stream

    picture = (torch.rand(3, 37, 41, device="cuda") * 1.4 - 0.2).to(torch.float16 if fp16 else torch.float32)
    found = torch.full((37, 41, 3), 7, dtype=torch.uint8, device="cuda")
    name = "to_bytes_fp16" if fp16 else "to_bytes_fp32"
    arguments = [picture.data_ptr(), found.data_ptr(), np.int32(37 * 41)]
    Kernels("pictures.cu").launch(name, (-(-37 * 41 // 128), 1, 1), 128, current_stream(), arguments)
    expected = (picture.float().clamp(0, 1) * 255).round().permute(1, 2, 0).to(torch.uint8)
    torch.cuda.synchronize()
    assert torch.equal(found, expected)
