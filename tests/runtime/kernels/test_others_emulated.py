"""GridSample3d, Secc and the conversion to bytes on the host, against PyTorch, OpenCV and hand-made pictures."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.face_sight import face_sight, screen_vertices, sight_colours
from hidenerf.runtime.kernels.secc_drawer import NO_WEIGHT, SIGHT_WEIGHT
from hidenerf.runtime.secc import secc
from tests.support.kernels.emulated import build, pointer


@pytest.fixture(scope="module")
def library(emulated_kernels: Path) -> ctypes.CDLL:
    return build("kernels/others_emulated.cpp", emulated_kernels)


def sampled(
    library: ctypes.CDLL, volume: NDArray, grid: NDArray[np.float32], border: bool, align_corners: bool
) -> NDArray:
    points = int(np.prod(grid.shape[1:-1]))
    out = np.full((*volume.shape[:2], *grid.shape[1:-1]), np.nan, volume.dtype)
    run = library.grid_sample_fp32 if volume.dtype == np.float32 else library.grid_sample_fp16
    shape = np.array(volume.shape, np.int32)
    run(pointer(volume), pointer(grid), pointer(out), pointer(shape), points, int(border), int(align_corners))
    return out


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("border", [False, True])
def test_grid_sample_3d(library: ctypes.CDLL, border: bool, align_corners: bool, fp16: bool) -> None:
    g = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, 4, 5, 6, generator=g).to(torch.float16 if fp16 else torch.float32)
    grid = torch.randn(2, 7, 5, 3, 3, generator=g)
    grid[0, 0, 0] = torch.tensor([[-1.0, 1.0, 0.0], [torch.inf, 0.0, 0.0], [0.0, -torch.inf, 0.0]])
    padding = "border" if border else "zeros"
    expected = F.grid_sample(volume.double(), grid.double(), padding_mode=padding, align_corners=align_corners)
    found = sampled(library, volume.numpy(), grid.numpy(), border, align_corners)
    np.testing.assert_allclose(found, expected, atol=2e-3 if fp16 else 4e-6)


def test_grid_sample_3d_of_nan_is_outside(library: ctypes.CDLL) -> None:
    volume = np.ones((1, 1, 2, 2, 2), np.float32)
    volume[0, 0, :, :, 0] = 3
    grid = np.array([[[np.nan, 0.0, 0.0]]], np.float32)
    assert sampled(library, volume, grid, border=False, align_corners=False).item() == 0
    assert sampled(library, volume, grid, border=True, align_corners=False).item() == 3


def drawn(
    library: ctypes.CDLL, vertices: NDArray[np.float32], triangles: NDArray[np.int32], colours: NDArray, size: int
) -> NDArray[np.float32]:
    keys = np.zeros((size, size), np.uint64)
    channels = colours.shape[1]
    weight = SIGHT_WEIGHT if channels == 4 else NO_WEIGHT
    out = np.full((channels, size, size), np.nan, np.float32)
    tail = [pointer(keys), pointer(out), len(triangles), channels, weight, size]
    library.secc_draw(pointer(vertices), pointer(triangles), pointer(colours), *tail)
    assert not keys.any()
    return out


@pytest.mark.parametrize(("size", "seed"), [(64, 0), (128, 1), (256, 2)])
def test_secc_is_the_cpus_picture(library: ctypes.CDLL, size: int, seed: int) -> None:
    face = load_face_model(default_face_model_path())
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 0.5, len(face.identity_names)).astype(np.float32)
    expression = rng.random(len(face.expression_names)).astype(np.float32) * 0.7
    vertices = np.ascontiguousarray(face.vertices(identity, expression), np.float32)
    triangles = np.ascontiguousarray(face.triangles, np.int32)
    found = drawn(library, vertices, triangles, np.ascontiguousarray(face.ncc, np.float32), size)
    expected = secc(vertices, face, size)
    different = np.abs(found - expected).max(0) > 1e-4
    # Where two surfaces are as near as OpenCV's depth can tell, or a centre lies on the outline, either is right.
    assert different.sum() <= 2
    assert (expected.max(0) > 0).mean() > 0.1


def screen(library: ctypes.CDLL, vertices: NDArray[np.float32], camera: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.full_like(vertices, np.nan)
    library.secc_screen(pointer(vertices), pointer(camera), pointer(found), len(vertices))
    return found


@pytest.mark.parametrize("pose", [(0, 0, 0, 16), (25, -10, 8, 16), (-40, 15, -20, 35)])
def test_screen_vertices_are_the_cameras(library: ctypes.CDLL, pose: tuple[float, float, float, float]) -> None:
    vertices = np.random.default_rng(0).uniform(-1, 1, (100, 3)).astype(np.float32)
    camera = canonical_camera(*pose)
    # Neither a square pixel nor the principal point in the middle, and the head beside the axis.
    camera[[3, 7]] += (0.2, -0.1)
    camera[16:19] *= (1.1, 0, 1.04)
    camera[17] = 0.02
    found = screen(library, vertices, camera)
    np.testing.assert_allclose(found, screen_vertices(vertices, camera), atol=1e-5)


@pytest.mark.parametrize(("size", "seed"), [(64, 0), (256, 1)])
def test_the_face_sight_is_the_cpus_picture(library: ctypes.CDLL, size: int, seed: int) -> None:
    face = load_face_model(default_face_model_path())
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 0.5, len(face.identity_names)).astype(np.float32)
    at_rest, expression = (np.float32(k) * rng.random(len(face.expression_names), np.float32) for k in (0.2, 0.7))
    source = canonical_camera(10, 5, -3)
    colours = sight_colours(face, face.vertices_with_teeth(identity, at_rest), source)
    vertices = np.ascontiguousarray(face.vertices_with_teeth(identity, expression), np.float32)
    camera = canonical_camera(-25, 8, 10)
    triangles = np.ascontiguousarray(face.triangles_with_teeth, np.int32)
    found = drawn(library, screen(library, vertices, camera), triangles, colours, size)
    expected = face_sight(face, vertices, camera, colours, size)
    assert (expected.max((1, 2)) > 0.5).all()
    assert (expected[2] > expected[3] + 0.1).any()
    # As for the SECC; turned, the face hides more of itself.
    assert (np.abs(found - expected).max(0) > 1e-3).sum() <= size // 16


def test_secc_hides_what_is_behind_and_leaves_the_rest(library: ctypes.CDLL) -> None:
    """Two squares' halves: the nearer at z = 0.5 over the right half's lower triangle, ties go to the first."""
    z = [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]
    xy = [(-1, -1), (1, -1), (-1, 1), (0, -1), (1, -1), (1, 0), (-1, -1), (1, -1), (-1, 1)]
    vertices = np.array([(*p, d) for p, d in zip(xy, z, strict=True)], np.float32)
    triangles = np.arange(9, dtype=np.int32).reshape(3, 3)
    colours = np.repeat(np.array([[0.25, 0, 0], [0, 0.5, 0], [0, 0, 1.0]], np.float32), 3, 0)
    picture = drawn(library, vertices, triangles, colours, 4)
    kind = np.select([picture[0] > 0, picture[1] > 0, picture[2] > 0], [1, 2, 3])
    np.testing.assert_array_equal(kind, [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 2], [1, 1, 2, 2]])


def test_faces_partly_outside_degenerate_or_not_finite(library: ctypes.CDLL) -> None:
    vertices = np.array(
        [(-3, -3, 0), (3, -3, 0), (0, 3, 0), (0, 0, 0.9), (0.5, 0, 0.9), (1, 0, 0.9), (np.nan, 0, 1), (np.inf, 1, 1)],
        np.float32,
    )
    triangles = np.array([[0, 1, 2], [3, 4, 5], [3, 4, 6], [3, 4, 7]], np.int32)
    picture = drawn(library, vertices, triangles, np.full((8, 3), 0.5, np.float32), 8)
    assert np.isin(picture.round(5), [0.0, 0.5]).all()
    assert (picture[:, 4:] > 0.4).all()


def test_vertices_are_the_face_models(library: ctypes.CDLL) -> None:
    face = load_face_model(default_face_model_path())
    rng = np.random.default_rng(3)
    identity = rng.normal(0, 0.5, len(face.identity_names)).astype(np.float32)
    expression = rng.random(len(face.expression_names)).astype(np.float32)
    neutral = np.ascontiguousarray(face.vertices(identity, np.zeros_like(expression)), np.float32)
    basis = np.ascontiguousarray(face.expression_basis, np.float32)
    found = np.full_like(neutral, np.nan)
    arguments = [pointer(a) for a in (neutral, basis, expression, found)]
    library.secc_vertices(*arguments, found.size, len(expression))
    np.testing.assert_allclose(found, face.vertices(identity, expression), atol=2e-6)


def test_bytes(library: ctypes.CDLL) -> None:
    picture = np.array([[0.0, 1.0, 0.5 / 255, 1.5 / 255], [-1, 2, 0.2, np.nan], [0.499 / 255, 0.3, 0.4, np.inf]])
    picture = np.ascontiguousarray(picture, np.float32)
    out = np.full((4, 3), 7, np.uint8)
    library.to_bytes_fp32(pointer(picture), pointer(out), 4)
    np.testing.assert_array_equal(out, [[0, 0, 0], [255, 255, 76], [0, 51, 102], [2, 0, 255]])
