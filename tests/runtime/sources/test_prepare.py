"""Preparing real portraits: fit, crop, mask and background."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hidenerf.runtime.camera import head_pose_from_camera, project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.sources.cut_out import triangle_mask
from hidenerf.runtime.sources.prepare import prepare_source
from hidenerf.runtime.sources.source import Source, save_source
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.search import find_faces
from tests.support.faces import FACES, PORTRAITS, grey, pasted, portrait

SIZE = 256

Prepare = Callable[[Path], Source]


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def prepare(face_model: FaceModel, face_landmarker: Path) -> Prepare:
    done: dict[Path, Source] = {}

    def prepare_once(path: Path) -> Source:
        if path not in done:
            done[path] = prepare_source(path, face_model, SIZE, landmarker=face_landmarker)
        return done[path]

    return prepare_once


def landmark_error(source: Source, face_model: FaceModel, model: Path) -> float:
    """Mean distance of the fitted landmarks to those that are found in the crop itself, shares of its side."""
    with FaceLandmarker(model, face_model.expression_names) as landmarker:
        (face,) = find_faces(landmarker, source.picture)
    points = face_model.landmarks(source.identity, source.expression).astype(np.float64)
    return float(np.linalg.norm(project(points, source.camera) - face.landmarks / SIZE, axis=1).mean())


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_real_portrait(
    prepare: Prepare, face_model: FaceModel, shared_data: Path, face_landmarker: Path, name: str
) -> None:
    source = prepare(shared_data / name)
    assert source.picture.shape == source.background.shape == (SIZE, SIZE, 3)
    assert source.mask.shape == (SIZE, SIZE)
    assert source.face_model == face_model.name
    assert landmark_error(source, face_model, face_landmarker) < 0.01
    np.testing.assert_allclose(project(np.zeros(3), source.camera), [0.5, 0.5], atol=1e-6)
    rotation, _, _ = head_pose_from_camera(source.camera)
    # Upright: the head's up direction leans neither left nor right.
    assert abs(rotation[0, 1]) < 1e-6
    # Black outside the mask, unchanged inside.
    assert not source.picture[source.mask == 0].any()
    head = triangle_mask(
        project(face_model.vertices(source.identity, source.expression).astype(np.float64), source.camera) * SIZE,
        face_model.triangles,
        SIZE,
    )
    core = cv2.erode(head, np.ones((13, 13), np.uint8)) > 0
    assert (source.mask[core] > 250).all()
    # A person fills between a third and three quarters of an aligned crop, and not its upper corners.
    assert 1 / 3 < (source.mask > 127).mean() < 3 / 4
    assert not source.mask[:10, :10].any()
    assert not source.mask[:10, -10:].any()


def test_the_background_has_no_person(
    prepare: Prepare, shared_data: Path, face_landmarker: Path, face_model: FaceModel
) -> None:
    source = prepare(shared_data / "src_obama.jpg")
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        assert find_faces(landmarker, source.background) == []
    # The dark suit and the white shirt are gone, the red curtain at the side is not.
    assert source.background[:, :12, 0].mean() > 1.5 * source.background[:, :12, 2].mean()
    assert source.background.std(axis=(0, 1)).max() < portrait(shared_data, "src_obama.jpg").std(axis=(0, 1)).max()


def test_a_tilted_head_is_set_upright(
    prepare: Prepare, face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    picture = pasted(shared_data, "src_astronaut.png", grey((500, 500)), 160, (260, 240), roll=30)
    cv2.imwrite(str(tmp_path / "tilted.png"), picture[:, :, ::-1])
    source = prepare(tmp_path / "tilted.png")
    assert landmark_error(source, face_model, face_landmarker) < 0.01
    eyes = project(face_model.landmarks(source.identity, source.expression).astype(np.float64), source.camera)[
        [468, 473]
    ]
    assert abs(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1]))) < 4


def test_a_transparent_picture_brings_its_own_mask(prepare: Prepare, shared_data: Path, tmp_path: Path) -> None:
    picture = portrait(shared_data, "src_obama.jpg")
    alpha = np.zeros(picture.shape[:2], np.uint8)
    _, middle = FACES["src_obama.jpg"]
    cv2.circle(alpha, middle, 200, 255, -1)
    cv2.imwrite(str(tmp_path / "cut.png"), np.dstack([picture[:, :, ::-1], alpha]))
    source = prepare(tmp_path / "cut.png")
    rows, columns = np.nonzero(source.mask > 127)
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert (source.mask > 127).sum() == pytest.approx(np.pi / 4 * width * height, rel=0.02)


def test_what_lies_outside_the_picture_is_not_the_person(
    prepare: Prepare, face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    picture = portrait(shared_data, "src_pyfeat_man.jpg")[60:420, 90:480]
    cv2.imwrite(str(tmp_path / "close.png"), picture[:, :, ::-1])
    source = prepare(tmp_path / "close.png")
    assert landmark_error(source, face_model, face_landmarker) < 0.01
    assert not source.mask[-10:].any()


@pytest.mark.slow
def test_a_large_picture_is_averaged_down(prepare: Prepare, shared_data: Path, tmp_path: Path) -> None:
    picture = portrait(shared_data, "src_obama.jpg")
    large = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "large.png"), large[:, :, ::-1])
    both = (prepare(shared_data / "src_obama.jpg").mask > 0) & (prepare(tmp_path / "large.png").mask > 0)
    difference = prepare(tmp_path / "large.png").picture.astype(int) - prepare(shared_data / "src_obama.jpg").picture
    assert np.abs(difference[both]).mean() < 6


def test_no_face_and_several_faces_are_errors(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), grey((300, 400)))
    with pytest.raises(HideNerfError, match=r"picture\.png: no face was found"):
        prepare_source(path, face_model, SIZE, landmarker=face_landmarker)
    picture = pasted(shared_data, "src_astronaut.png", grey((360, 720)), 80, (180, 160))
    cv2.imwrite(str(path), pasted(shared_data, "src_pyfeat_man.jpg", picture, 90, (540, 160))[:, :, ::-1])
    with pytest.raises(HideNerfError, match=r"picture\.png: 2 faces were found .* --face N"):
        prepare_source(path, face_model, SIZE, landmarker=face_landmarker)
    source = prepare_source(path, face_model, SIZE, landmarker=face_landmarker, face=2)
    assert landmark_error(source, face_model, face_landmarker) < 0.015


def test_a_prepared_source_needs_no_tracker(
    prepare: Prepare, face_model: FaceModel, shared_data: Path, tmp_path: Path
) -> None:
    source = prepare(shared_data / "src_astronaut.png")
    save_source(source, tmp_path / "source.npz")
    again = prepare_source(tmp_path / "source.npz", face_model, SIZE)
    np.testing.assert_array_equal(again.picture, source.picture)
    np.testing.assert_array_equal(again.camera, source.camera)
    half = prepare_source(tmp_path / "source.npz", face_model, SIZE // 2)
    assert half.picture.shape == half.background.shape == (SIZE // 2, SIZE // 2, 3)
    assert half.mask.shape == (SIZE // 2, SIZE // 2)
    averaged = source.picture.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half.picture, averaged, atol=1)
    np.testing.assert_array_equal(half.camera, source.camera)


def made_up_source(face_model_name: str, identities: int) -> Source:
    picture = np.zeros((8, 8, 3), np.uint8)
    return Source(
        picture, picture[..., 0], picture, np.zeros(25, np.float32), np.zeros(identities, np.float32),
        np.zeros(52, np.float32), face_model_name,
    )  # fmt: skip


def test_a_prepared_source_of_another_face_model_is_refused(face_model: FaceModel, tmp_path: Path) -> None:
    path = tmp_path / "source.npz"
    save_source(made_up_source("bfm2009", 80), path)
    with pytest.raises(HideNerfError, match="prepared with the face model bfm2009, but the bundle has anny"):
        prepare_source(path, face_model, SIZE)
    save_source(made_up_source(face_model.name, 3), path)
    with pytest.raises(HideNerfError, match="has 3 identity coefficients"):
        prepare_source(path, face_model, SIZE)
