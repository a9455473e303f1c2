"""Converting BFM_model_front.mat, on a small file of its layout whose 68 keypoints are the default face's own."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from hidenerf.assets.face_model_bfm import MEDIAPIPE_FOR_DLIB, face_model_from_bfm
from hidenerf.commands.facemodel import main
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import default_face_model_path, load_face_model

scipy_io = pytest.importorskip("scipy.io")

METRES_PER_WORLD_UNIT = 0.16


def keypoints_in_the_world() -> NDArray[np.float64]:
    default = load_face_model(default_face_model_path())
    return default.landmark_mean[list(MEDIAPIPE_FOR_DLIB)].astype(np.float64)


def arrays() -> dict[str, NDArray]:
    """The layout that transferBFM09 writes: rows x0 y0 z0 x1 ..., numbers from 1, decimetres, some origin."""
    random = np.random.default_rng(0)
    in_decimetres = keypoints_in_the_world() * METRES_PER_WORLD_UNIT * 10 + np.array([0.3, -2.0, 5.0])
    mean = np.concatenate([random.normal(size=(2, 3)) * 0.1 + in_decimetres.mean(axis=0), in_decimetres])
    count = 3 * len(mean)
    right_eye, left_eye, chin = 2 + 36, 2 + 45, 2 + 8
    return {
        "meanshape": mean.reshape(1, -1),
        "meantex": np.zeros((1, count)),
        "idBase": random.normal(size=(count, 80)),
        "exBase": random.normal(size=(count, 64)),
        "texBase": np.zeros((count, 80)),
        "tri": np.array([[right_eye, chin, left_eye]]) + 1.0,
        "keypoints": np.arange(2, 70)[None] + 1.0,
    }


def write(path: Path, **changes: NDArray | None) -> Path:
    contents = {**arrays(), **changes}
    scipy_io.savemat(path, {name: value for name, value in contents.items() if value is not None})
    return path


def test_the_face_lies_where_the_default_face_lies(tmp_path: Path) -> None:
    model = face_model_from_bfm(write(tmp_path / "BFM_model_front.mat"))
    assert model.name == "bfm2009"
    landmarks = model.landmarks(np.zeros(80), np.zeros(64))
    np.testing.assert_allclose(landmarks, keypoints_in_the_world(), atol=1e-5)
    assert model.landmark_index.tolist() == list(MEDIAPIPE_FOR_DLIB)
    assert model.triangles.tolist() == [[38, 10, 47]]
    assert model.expression_names[0] == "exp_0"
    assert model.expression_names[-1] == "exp_63"
    assert len(model.identity_names) == 80


def test_coefficients_move_the_face_by_deep3dfacerecons_formula(tmp_path: Path) -> None:
    """compute_shape there: id_base @ id + exp_base @ exp + mean, in decimetres; differences only change the unit."""
    contents = arrays()
    model = face_model_from_bfm(write(tmp_path / "BFM_model_front.mat"))
    random = np.random.default_rng(1)
    identity, expression = random.normal(size=80), random.normal(size=64)
    moved = (contents["idBase"] @ identity + contents["exBase"] @ expression).reshape(-1, 3)
    expected = moved * 0.1 / METRES_PER_WORLD_UNIT
    found = model.vertices(identity, expression) - model.mean
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_triangles_are_turned_outwards(tmp_path: Path) -> None:
    inwards = arrays()["tri"][:, ::-1]
    model = face_model_from_bfm(write(tmp_path / "BFM_model_front.mat", tri=inwards))
    assert model.triangles.tolist() == [[38, 10, 47]]


def test_dlib_landmarks_are_paired_left_and_right() -> None:
    """dlib numbers run from the subject's right to the left, so that mirrored numbers have mirrored places."""
    points = keypoints_in_the_world()
    pairs = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)] + [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46), (48, 54), (49, 53), (50, 52)]
    pairs += [(59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    for right, left in pairs:
        assert points[right, 0] < 0
        np.testing.assert_allclose(points[left] * [-1, 1, 1], points[right], atol=0.01)
    middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    np.testing.assert_allclose(points[middle, 0], 0, atol=0.01)
    assert len(set(MEDIAPIPE_FOR_DLIB)) == 68


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exBase": None}, "has no exBase; give BFM_model_front.mat"),
        ({"idBase": np.zeros((210, 79))}, r"idBase has shape \[210, 79\] where \[210, 80\] is needed"),
        ({"keypoints": np.arange(1, 68.0)}, "has 67 keypoints where dlib's 68 are needed"),
        ({"keypoints": np.arange(4, 72.0)}, "keypoints names vertices outside the 70 of meanshape"),
        ({"tri": np.array([[0.0, 1, 2]])}, "tri names vertices outside the 70 of meanshape"),
        ({"meanshape": arrays()["meanshape"] * 1e5}, "wide; give decimetres"),
        ({"meanshape": (arrays()["meanshape"].reshape(-1, 3) * [-1, 1, 1]).reshape(1, -1)}, "mirrored or upside down"),
        ({"meanshape": (arrays()["meanshape"].reshape(-1, 3) * [1, -1, 1]).reshape(1, -1)}, "mirrored or upside down"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, changes: dict[str, NDArray | None], message: str) -> None:
    with pytest.raises(HideNerfError, match=message):
        face_model_from_bfm(write(tmp_path / "other.mat", **changes))


def test_files_that_are_no_mat_files(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match=r"absent\.mat: no such file"):
        face_model_from_bfm(tmp_path / "absent.mat")
    for name, contents in (
        ("noise.mat", b"noise" * 100),
        ("empty.mat", b""),
        ("v73.mat", b"MATLAB 7.3".ljust(124) + b"\0\2IM"),
    ):
        path = tmp_path / name
        path.write_bytes(contents)
        with pytest.raises(HideNerfError, match=f"{name}: not a readable .mat file"):
            face_model_from_bfm(path)


def test_the_command(tmp_path: Path) -> None:
    mat, output = write(tmp_path / "BFM_model_front.mat"), tmp_path / "new" / "bfm2009.npz"
    result = CliRunner().invoke(main, ["bfm", str(mat), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "face model bfm2009, 70 vertices, 1 triangles, 80 identity and 64 expression" in result.output
    assert load_face_model(output).name == "bfm2009"
