"""SECC pictures against a z-buffer in FP64, and the conventions of DESIGN §8, Eq. 3."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.secc import secc


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(default_face_model_path())


def mesh(vertices: list[list[float]], triangles: list[list[int]], colours: list[list[float]]) -> FaceModel:
    """A face model with no coefficients and these colours."""
    return FaceModel(
        name="mesh",
        mean=np.array(vertices, np.float32),
        identity_basis=np.zeros((0, len(vertices), 3), np.float32),
        identity_names=(),
        identity_prior=np.zeros(0, np.float32),
        expression_basis=np.zeros((0, len(vertices), 3), np.float32),
        expression_names=(),
        triangles=np.array(triangles, np.int32),
        ncc=np.array(colours, np.float32),
        landmark_index=np.zeros(0, np.int32),
        landmark_vertices=np.zeros((0, 3), np.int32),
        landmark_barycentric=np.zeros((0, 3), np.float32),
        landmark_weight=np.zeros(0, np.float32),
    )


def z_buffer(vertices: NDArray, model: FaceModel, size: int) -> NDArray[np.float64]:
    """Orthographic z-buffer [3, size, size] in FP64, triangle by triangle, from the definition alone."""
    points = vertices.astype(np.float64)
    columns, rows = (points[:, 0] + 1) / 2 * size, (1 - points[:, 1]) / 2 * size
    picture, depth = np.zeros((size, size, 3)), np.full((size, size), -np.inf)
    for corners in model.triangles:
        x, y, z = columns[corners], rows[corners], points[corners, 2]
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if area == 0:
            continue
        window = (slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
        px, py = np.meshgrid(np.arange(size)[window[1]] + 0.5, np.arange(size)[window[0]] + 0.5)
        w1 = ((px - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (py - y[0])) / area
        w2 = ((x[1] - x[0]) * (py - y[0]) - (px - x[0]) * (y[1] - y[0])) / area
        weights = np.stack([1 - w1 - w2, w1, w2], axis=-1)
        near = weights @ z
        drawn = (weights >= 0).all(axis=-1) & (near > depth[window])
        depth[window][drawn] = near[drawn]
        picture[window][drawn] = (weights @ model.ncc[corners].astype(np.float64))[drawn]
    return picture.transpose(2, 0, 1)


def expression(model: FaceModel, **coefficients: float) -> NDArray[np.float32]:
    values = np.zeros(len(model.expression_names), np.float32)
    for name, value in coefficients.items():
        values[model.expression_names.index(name)] = value
    return values


@pytest.mark.parametrize("size", [64, 256])
def test_agrees_with_fp64_z_buffer(model: FaceModel, size: int) -> None:
    random = np.random.default_rng(0)
    identity = random.uniform(-0.5, 0.5, len(model.identity_names))
    face = model.vertices(identity, expression(model, jawOpen=0.7, mouthSmileLeft=0.5, eyeBlinkRight=0.8))
    picture, expected = secc(face, model, size), z_buffer(face, model, size)
    assert picture.dtype == np.float32
    error = np.abs(picture - expected).max(axis=0)
    # A pixel centre on an edge may fall on either side of it.
    assert (error > 1e-4).mean() < 2e-4
    assert np.median(error[expected.max(axis=0) > 0]) < 1e-5


def test_the_first_and_only_triangle_is_drawn_where_pixel_centres_lie_in_it() -> None:
    """Corner pixels of a 4×4 picture have their centres at ±0.75, so x ≤ -0.5 contains those of column 0 only."""
    strip = mesh([[-1, -1, 0], [-0.5, -1, 0], [-1, 9, 0]], [[0, 1, 2]], [[1, 0.5, 0.25]] * 3)
    picture = secc(strip.mean, strip, 4)
    assert picture.shape == (3, 4, 4)
    assert np.all(picture[:, :, 1:] == 0)
    assert np.all(picture[:, :, 0] == np.array([1, 0.5, 0.25])[:, None])


def test_colours_at_pixel_centres() -> None:
    """Colours that are the coordinates themselves read x = (column + 0.5) / size and y = 1 - (row + 0.5) / size."""
    corners = [[-1.0, -1.0, 0.3], [3.0, -1.0, 0.3], [-1.0, 3.0, 0.3]]
    plane = mesh(corners, [[0, 1, 2]], [[0, 0, 0.5], [2, 0, 0.5], [0, 2, 0.5]])
    size = 8
    picture = secc(plane.mean, plane, size)
    centres = (np.arange(size) + 0.5) / size
    np.testing.assert_allclose(picture[0], np.tile(centres, (size, 1)), atol=1e-6)
    np.testing.assert_allclose(picture[1], np.tile(1 - centres[:, None], (1, size)), atol=1e-6)
    np.testing.assert_allclose(picture[2], 0.5, atol=1e-6)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearest_surface_is_seen(order: list[int]) -> None:
    """The one with the larger z, in whatever order and winding, 0.001 units (0.16 mm) apart, far off the axis too."""
    square = [[-9.0, -9.0], [9.0, -9.0], [0.0, 18.0]]
    far = [[x, y, 0.9] for x, y in square]
    near = [[x, y, 0.901] for x, y in square]
    triangles = [[0, 1, 2], [5, 4, 3]]
    pair = mesh(far + near, [triangles[i] for i in order], [[1, 0, 0]] * 3 + [[0, 1, 0]] * 3)
    assert np.all(secc(pair.mean, pair, 16) == np.array([0, 1, 0])[:, None, None])


def test_background_is_exactly_zero_and_the_face_is_not(model: FaceModel) -> None:
    picture = secc(model.mean, model, 128)
    drawn = picture.max(axis=0) > 0
    assert not drawn[0].any()
    assert not drawn[:, 0].any()
    assert 0.2 < drawn.mean() < 0.6
    assert picture.min() == 0
    assert picture.max() <= 1


def test_left_and_right_are_not_mirrored(model: FaceModel) -> None:
    """The subject's left is the picture's right, where NCC's red (x) is larger; green (y) grows upwards."""
    picture = secc(model.mean, model, 128)
    row = picture[0, 64]
    drawn = np.flatnonzero(row)
    assert row[drawn[0] + 3] < 0.2 < 0.8 < row[drawn[-1] - 3]
    column = picture[1, :, 64]
    drawn = np.flatnonzero(column)
    assert column[drawn[0]] > 0.9 > 0.2 > column[drawn[-1]]
    changed = np.abs(
        secc(model.mean + model.expression_basis[model.expression_names.index("eyeBlinkLeft")], model, 128) - picture
    ).max(axis=0)
    assert changed[:, 64:].sum() > 10 * changed[:, :64].sum()


@pytest.mark.parametrize(
    ("names", "least"),
    [
        (("jawOpen",), 0.5),
        (("mouthSmileLeft", "mouthSmileRight"), 0.15),
        (("eyeBlinkLeft", "eyeBlinkRight"), 0.02),
        (("browInnerUp",), 0.02),
    ],
)
def test_expressions_show(model: FaceModel, names: tuple[str, ...], least: float) -> None:
    """Mean difference over the picture in 8-bit steps; 0.9, 0.3, 0.035 and 0.034 were measured."""
    identity = np.zeros(len(model.identity_names))
    at_rest, moved = expression(model), expression(model, **dict.fromkeys(names, 1.0))
    one, other = (secc(model.vertices(identity, e), model, 256) for e in (at_rest, moved))
    assert np.abs(other - one).mean() * 255 > least


def test_face_of_another_model(model: FaceModel) -> None:
    with pytest.raises(HideNerfError, match=r"face has shape \[5, 3\], but the face model anny has \[4570, 3\]"):
        secc(np.zeros((5, 3), np.float32), model, 64)
