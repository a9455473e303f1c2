"""The face sight: where the mesh says that the source picture shows the points around eyes and mouth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera, intrinsics_from_fov, pack_camera, project, unpack_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, Floats, Teeth, default_face_model_path, load_face_model
from hidenerf.runtime.face_parts import GUM, TOOTH, mouth_inside
from hidenerf.runtime.face_sight import face_sight, region_weights, screen_vertices, sight_colours
from hidenerf.runtime.secc import draw_frontal

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
    assert (colours[cavity, 3] < 0).mean() > 0.9
    assert np.isin(colours[len(model.mean) :, 3], -np.array([TOOTH, GUM], np.float32)).mean() > 0.8
    # Nothing is known of skin that it does not show.
    from_behind = sight_colours(model, model.mean_with_teeth, camera_of(yaw=180))
    assert np.abs(from_behind[vertices_at(model, EYES + LIPS), 3]).max() == 0
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


def slit_mouth() -> FaceModel:
    """A plane with a slit below y = -0.3 that the expression opens by 0.3, and a tooth 0.1 behind it: by hand.

    Vertices: the plane above the slit, the plane below it, then points that have landmarks alone.
    """
    width = 0.8
    plane = [[x, y, 0.2] for y in (0.9, -0.3, -0.3, -0.9) for x in (-width, width)]
    eyes = [[side * x, 0.1 + y, 0.2] for side in (-1, 1) for x, y in ((0.45, 0), (0.15, 0), (0.3, 0.02), (0.3, -0.02))]
    mean = np.array([*plane, *eyes, [-0.2, -0.4, 0.2], [0.2, -0.4, 0.2]], np.float32)
    opened = np.zeros((1, len(mean), 3), np.float32)
    opened[0, 4:8, 1] = -0.3
    landmarks = np.array([*EYES, 61, 291], np.int32)
    tooth = np.array([[x, y, 0.1] for y in (-0.35, -0.55) for x in (-0.2, 0.2)], np.float32)
    square = [[0, 2, 1], [1, 2, 3]]
    return FaceModel(
        name="slit",
        mean=mean,
        identity_basis=np.zeros((1, len(mean), 3), np.float32),
        identity_names=("none",),
        identity_prior=np.ones(1, np.float32),
        expression_basis=opened,
        expression_names=("open",),
        triangles=np.array([*square, *(np.array(square) + 4)], np.int32),
        ncc=np.zeros_like(mean),
        landmark_index=landmarks,
        landmark_vertices=np.repeat(np.arange(8, 18, dtype=np.int32)[:, None], 3, 1),
        landmark_barycentric=np.repeat(np.array([[1, 0, 0]], np.float32), 10, 0),
        landmark_weight=np.ones(10, np.float32),
        teeth=Teeth(
            tooth, np.zeros((1, 4, 3), np.float32), np.zeros((1, 4, 3), np.float32), np.array(square, np.int32)
        ),
    )


@pytest.mark.parametrize("opened", [0.0, 1.0])
def test_a_closed_mouth_hides_teeth_and_an_open_one_shows_them(opened: float) -> None:
    model, source, camera, size = slit_mouth(), camera_of(), camera_of(yaw=10), 128
    closed_or_open, wide = (model.vertices_with_teeth(np.zeros(1), np.array([k])) for k in (opened, 1.0))
    colours = sight_colours(model, closed_or_open, source)
    assert model.teeth is not None
    expected = project(model.teeth.mean.astype(np.float64), source)
    np.testing.assert_allclose(colours[-4:, :2], expected, atol=1e-6)
    # Where it is not shown its upper points are tooth, and the lower ones gum.
    known = [1, 1, 1, 1] if opened else [-TOOTH, -TOOTH, -GUM, -GUM]
    np.testing.assert_allclose(colours[-4:, 2:], [[1, one] for one in known], atol=1e-6)
    # An open mouth in another pose: the tooth's middle, and what lies behind it.
    drawn = face_sight(model, wide, camera, colours, size)
    middle = np.array([[0, -0.45, 0.1]])
    column, row = np.floor(project(middle, camera) * size).astype(int)[0]
    np.testing.assert_allclose(drawn[:2, row, column], project(middle, source)[0], atol=1 / size)
    np.testing.assert_allclose(drawn[2:, row, column], [1, 1 if opened else -0.7], atol=0.02)
    beside = np.floor(project(np.array([[0.3, -0.45, 0.1]]), camera) * size).astype(int)[0]
    assert not drawn[:, beside[1], beside[0]].any()


def test_a_face_model_without_teeth_draws_the_face_alone() -> None:
    model = replace(slit_mouth(), teeth=None)
    mouth = model.vertices_with_teeth(np.zeros(1), np.ones(1))
    np.testing.assert_array_equal(mouth, model.vertices(np.zeros(1), np.ones(1)))
    colours = sight_colours(model, mouth, camera_of())
    with_teeth = slit_mouth()
    same = sight_colours(with_teeth, with_teeth.vertices_with_teeth(np.zeros(1), np.ones(1)), camera_of())
    np.testing.assert_array_equal(colours, same[:-4])
    drawn = face_sight(model, mouth, camera_of(), colours, 64)
    column, row = np.floor(project(np.array([[0, -0.45, 0.1]]), camera_of()) * 64).astype(int)[0]
    assert not drawn[:, row, column].any()


def test_vertices_without_their_teeth_are_refused(model: FaceModel) -> None:
    with pytest.raises(HideNerfError, match=r"shape \[4570, 3\].*with its teeth \[4988, 3\]"):
        sight_colours(model, model.mean, camera_of())
    with pytest.raises(HideNerfError, match=r"shape \[4570, 3\].*with its teeth \[4988, 3\]"):
        face_sight(model, model.mean, camera_of(), np.zeros((4988, 4), np.float32), 64)


def test_an_opened_mouth_is_drawn_as_what_is_inside(model: FaceModel) -> None:
    """The source's mouth is closed: where the frame's is open, each pixel has what `mouth_inside` says."""
    closed = model.mean_with_teeth
    expression = np.array([0.8 * (name == "jawOpen") for name in model.expression_names], np.float32)
    opened = model.vertices_with_teeth(np.zeros(len(model.identity_names), np.float32), expression)
    colours = sight_colours(model, closed, camera_of())
    known = face_sight(model, opened, camera_of(), colours, 256)[3]
    middle = opened[len(model.mean) :].mean(axis=0)
    column, row = np.floor(project(middle[None].astype(np.float64), camera_of()) * 256).astype(int)[0]
    here = known[row - 5 : row + 6, column - 6 : column + 7]
    assert (here < -0.1).mean() > 0.9
    assert known.min() == pytest.approx(-TOOTH, abs=1e-4)
    # Half seen, half what it is: -mouth_inside where it is not seen at all.
    hidden = colours[:, 3] < 0
    assert (colours[hidden, 3] >= -mouth_inside(model)[hidden] - 1e-6).all()


def shares_of_teeth(model: FaceModel, yaw: float, **actions: float) -> tuple[float, float]:
    """Share of the upper and of the lower teeth's points that a source with these actions shows."""
    expression = np.array([actions.get(name, 0.0) for name in model.expression_names])
    mouth = model.vertices_with_teeth(np.zeros(len(model.identity_names)), expression)
    upper, lower = np.split(sight_colours(model, mouth, camera_of(yaw))[len(model.mean) :, 3], 2)
    return float(np.maximum(upper, 0).mean()), float(np.maximum(lower, 0).mean())


@pytest.mark.parametrize("yaw", [-45.0, 0.0, 45.0])
def test_the_shipped_teeth_lie_behind_closed_lips(model: FaceModel, yaw: float) -> None:
    upper, lower = shares_of_teeth(model, yaw)
    # The mean face's lips leave a slit.
    assert upper < 0.12
    assert lower < 0.05
    smiles = {f"mouth{part}{side}": 0.6 for part in ("Smile", "UpperUp") for side in ("Left", "Right")}
    upper, lower = shares_of_teeth(model, yaw, jawOpen=0.2, **smiles)
    assert upper > 0.25
    assert lower < 0.1
    _, lower = shares_of_teeth(model, yaw, jawOpen=0.9)
    assert lower > 0.2
    # The ends of the gums lie where the mouth's region fades out.
    assert region_weights(model)[len(model.mean) :].min() > 0.85


def test_no_tooth_lies_before_the_lips(model: FaceModel) -> None:
    """Of 30 faces with strong expressions, from in front and from the side."""
    teeth, size = np.arange(len(model.mean_with_teeth)) >= len(model.mean), 256
    outside = model.mean_with_teeth[:, 2] > 0.3
    outside[: len(model.mean)] &= seen_from_in_front(model)
    random = np.random.default_rng(0)
    shown = 0
    for turn in range(30):
        identity = random.normal(0, 0.2, len(model.identity_names))
        expression = random.uniform(0, 0.8, len(model.expression_names))
        expression *= random.random(len(expression)) < 0.15
        screen = screen_vertices(
            model.vertices_with_teeth(identity, expression), camera_of((0.0, 45.0, -45.0)[turn % 3])
        )
        colours = np.zeros((len(teeth), 3), np.float32)
        colours[:, 0], colours[:, 1] = teeth, outside & ~teeth
        whole, face = (
            draw_frontal(screen, triangles, colours, np.zeros((size, size, 3), np.float32))
            for triangles in (model.triangles_with_teeth, model.triangles)
        )
        shown += (whole[..., 0] > 0.5).sum()
        assert not ((whole[..., 0] > 0.5) & (face[..., 1] > 0.95)).any()
    assert shown > 200


def seen_from_in_front(model: FaceModel) -> NDArray[np.bool_]:
    """Which vertices of the mean shape are its outside, as a frontal view shows it: [V]."""
    size = 512
    nearest = draw_frontal(
        model.mean, model.triangles, np.repeat(model.mean[:, 2:], 3, 1), np.full((size, size, 3), -1, np.float32)
    )[..., 0]
    column, row = np.floor((model.mean[:, :2] * (1, -1) + 1) * size / 2).astype(int).T
    return np.asarray(nearest[row, column] - model.mean[:, 2] < 0.012)
