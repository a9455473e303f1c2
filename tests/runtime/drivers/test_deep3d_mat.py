from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import METRES_PER_UNIT, project
from hidenerf.runtime.drivers.deep3d_mat import load_deep3d_mat
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model

scipy_io = pytest.importorskip("scipy.io", reason="scipy is not installed (extra [track])")

Array = NDArray[np.float64]


@pytest.fixture
def bfm() -> FaceModel:
    """Five vertices under the name of BFM 2009, with 64 expressions; their mean is not the origin."""
    generator = np.random.default_rng(0)
    mean = generator.uniform(-0.6, 0.6, (5, 3)).astype(np.float32)
    return FaceModel(
        name="bfm2009",
        mean=mean,
        identity_basis=np.zeros((80, 5, 3), np.float32),
        identity_names=tuple(f"id{i}" for i in range(80)),
        identity_prior=np.ones(80, np.float32),
        expression_basis=np.zeros((64, 5, 3), np.float32),
        expression_names=tuple(f"exp{i}" for i in range(64)),
        triangles=np.array([[0, 1, 2]], np.int32),
        ncc=np.zeros((5, 3), np.float32),
        landmark_index=np.zeros(0, np.int32),
        landmark_vertices=np.zeros((0, 3), np.int32),
        landmark_barycentric=np.zeros((0, 3), np.float32),
        landmark_weight=np.zeros(0, np.float32),
    )


def coefficients(frames: int) -> Array:
    rows = np.random.default_rng(1).normal(0, 1, (frames, 257))
    rows[:, 224:227] *= 0.3
    rows[:, 254:257] *= 0.1
    return rows


def parts(rows: Array) -> dict[str, Array]:
    return {"id": rows[:, :80], "exp": rows[:, 80:144], "angle": rows[:, 224:227], "trans": rows[:, 254:257]}


def deep3d_pixels(vertices: Array, angle: Array, trans: Array) -> Array:
    """The repository's own chain, in its units: rotate, move, to_camera, perspective, y up."""
    x, y, z = angle
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    moved = vertices @ (about_z @ about_y @ about_x).T + trans
    depth = 10 - moved[:, 2:]
    return 1015 * moved[:, :2] / depth + 112


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_the_camera_sees_each_vertex_where_the_repository_puts_it(bfm: FaceModel, tmp_path: Path, frame: int) -> None:
    rows = coefficients(3)
    scipy_io.savemat(tmp_path / "clip.mat", parts(rows))
    motion = load_deep3d_mat(tmp_path / "clip.mat", bfm)
    vertices = bfm.mean.astype(np.float64)
    centred = (vertices - vertices.mean(axis=0)) * METRES_PER_UNIT / 0.1
    expected = [deep3d_pixels(centred, row[224:227], row[254:257]) for row in rows]
    # The square is the one that centres the world's origin in the first frame; two points tell where it lies.
    seen = [project(vertices, camera) for camera in motion.camera]
    flipped = [np.stack([pixels[:, 0], 224 - pixels[:, 1]], axis=1) for pixels in expected]
    side = np.ptp(flipped[0][:, 0]) / np.ptp(seen[0][:, 0])
    corner = flipped[0][0] - side * seen[0][0]
    np.testing.assert_allclose(seen[frame] * side + corner, flipped[frame], atol=2e-3)


def test_the_head_is_centred_in_the_first_frame(bfm: FaceModel, tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "clip.mat", parts(coefficients(2)))
    motion = load_deep3d_mat(tmp_path / "clip.mat", bfm)
    np.testing.assert_allclose(project(np.zeros(3), motion.camera[0]), [0.5, 0.5], atol=1e-5)


@pytest.mark.parametrize("columns", [257, 260])
def test_parts_and_whole_rows_are_the_same_motion(bfm: FaceModel, tmp_path: Path, columns: int) -> None:
    rows = coefficients(4)
    scipy_io.savemat(tmp_path / "parts.mat", parts(rows))
    scipy_io.savemat(tmp_path / "rows.mat", {"coeff_3dmm": np.pad(rows, ((0, 0), (0, columns - 257)))})
    one, other = (load_deep3d_mat(tmp_path / name, bfm) for name in ("parts.mat", "rows.mat"))
    np.testing.assert_array_equal(one.expression, other.expression)
    np.testing.assert_array_equal(one.camera, other.camera)
    np.testing.assert_allclose(one.expression, rows[:, 80:144], rtol=1e-6)
    assert (one.fps, len(one), one.face_model) == (25, 4, "bfm2009")


def test_a_folder_is_read_in_the_order_of_its_numbers(bfm: FaceModel, tmp_path: Path) -> None:
    rows = coefficients(11)
    for index in range(11):
        scipy_io.savemat(tmp_path / f"frame{index}.mat", parts(rows[index : index + 1]))
    np.testing.assert_allclose(load_deep3d_mat(tmp_path, bfm).expression, rows[:, 80:144], rtol=1e-6)


def test_another_face_model_is_refused(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "clip.mat", parts(coefficients(1)))
    with pytest.raises(HideNerfError, match="belong to the face model bfm2009, but the bundle has anny"):
        load_deep3d_mat(tmp_path / "clip.mat", load_face_model(default_face_model_path()))


def test_what_is_wrong_with_a_file_is_said(bfm: FaceModel, tmp_path: Path) -> None:
    path = tmp_path / "clip.mat"
    with pytest.raises(HideNerfError, match="no such file"):
        load_deep3d_mat(path, bfm)
    path.write_bytes(b"not a mat file at all" * 20)
    with pytest.raises(HideNerfError, match=r"not a readable \.mat file"):
        load_deep3d_mat(path, bfm)
    scipy_io.savemat(path, {"other": np.zeros((3, 3))})
    with pytest.raises(HideNerfError, match=r"no Deep3DFaceRecon coefficients \(it holds other\)"):
        load_deep3d_mat(path, bfm)
    rows = coefficients(2)
    scipy_io.savemat(path, parts(rows) | {"exp": rows[:, :60]})
    with pytest.raises(HideNerfError, match=r"exp has shape \[2, 60\] where \[T, 64\]"):
        load_deep3d_mat(path, bfm)
    scipy_io.savemat(path, parts(rows) | {"exp": rows[:1, 80:144]})
    with pytest.raises(HideNerfError, match="the numbers of frames differ"):
        load_deep3d_mat(path, bfm)
    path.unlink()
    with pytest.raises(HideNerfError, match=r"no \.mat files in this folder"):
        load_deep3d_mat(tmp_path, bfm)
