"""Preparing real portraits: fit, crop, mask and background."""

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import head_pose_from_camera, project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.sources.alignment import align
from hidenerf.runtime.sources.cut_out import triangle_mask
from hidenerf.runtime.sources.prepare import prepare_source
from hidenerf.runtime.sources.source import Source, save_source
from hidenerf.runtime.tracking.identity_fit import fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.search import find_faces
from tests.support.faces import FACES, PORTRAITS, Picture, grey, pasted, portrait

SIZE = 256

Mask = NDArray[np.uint8]
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


def test_a_picture_upside_down_is_set_upright(prepare: Prepare, shared_data: Path, tmp_path: Path) -> None:
    upright = portrait(shared_data, "src_astronaut.png")
    cv2.imwrite(str(tmp_path / "turned.png"), upright[::-1, ::-1, ::-1])
    source, expected = prepare(tmp_path / "turned.png"), prepare(shared_data / "src_astronaut.png")
    both = (source.mask > 0) & (expected.mask > 0)
    assert both.sum() > 0.95 * ((source.mask > 0) | (expected.mask > 0)).sum()
    assert np.abs(source.picture.astype(int) - expected.picture)[both].mean() < 10


@pytest.mark.slow
def test_a_small_face_in_a_wide_picture(
    prepare: Prepare, face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    picture = pasted(shared_data, "src_obama.jpg", grey((1440, 5120)), 55, (4400, 300))
    cv2.imwrite(str(tmp_path / "wide.png"), picture[:, :, ::-1])
    source = prepare(tmp_path / "wide.png")
    assert landmark_error(source, face_model, face_landmarker) < 0.015


def write_with_alpha(path: Path, picture: Picture, alpha: Mask) -> Path:
    cv2.imwrite(str(path), np.dstack([picture[:, :, ::-1], alpha]))
    return path


def person_like(picture: Picture, name: str) -> Mask:
    """An alpha of a head and shoulders about the face of a portrait: [H, W], 0 or 255."""
    height, (x, y) = FACES[name]
    alpha = np.zeros(picture.shape[:2], np.uint8)
    cv2.ellipse(alpha, (x, y - height // 8), (int(0.5 * height), int(0.75 * height)), 0, 0, 360, 255, -1)
    cv2.ellipse(alpha, (x, y + int(1.4 * height)), (int(1.1 * height), int(0.8 * height)), 0, 0, 360, 255, -1)
    return alpha


def test_a_transparent_picture_brings_its_own_mask(
    prepare: Prepare, face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    name = "src_obama.jpg"
    picture = portrait(shared_data, name)
    alpha = person_like(picture, name)
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        (face,) = find_faces(landmarker, np.where(alpha[..., None] > 0, picture, np.uint8(128)))
    fit = fit_face(face, face_model, *picture.shape[:2])
    expected = cv2.warpAffine(alpha, align(fit.pose, fit.intrinsics, SIZE).matrix, (SIZE, SIZE)) > 127
    # Colours under full transparency are arbitrary.
    picture[alpha == 0] = np.random.default_rng(0).integers(0, 256, (int((alpha == 0).sum()), 3))
    with caplog.at_level(logging.INFO):
        mask = prepare(write_with_alpha(tmp_path / "cut.png", picture, alpha)).mask > 127
    assert (mask & expected).sum() > 0.98 * (mask | expected).sum()
    assert caplog.messages == []


def rounded(height: int, width: int, radius: int) -> Mask:
    inner = cv2.copyMakeBorder(
        np.full((height - 2 * radius, width - 2 * radius), 255, np.uint8),
        radius,
        radius,
        radius,
        radius,
        cv2.BORDER_CONSTANT,
    )
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * radius + 1] * 2)
    return np.asarray(cv2.dilate(inner, disc), np.uint8)


@pytest.mark.parametrize("kind", ["rounded corners", "a shadow", "a circle", "nearly opaque", "faint"])
def test_alpha_that_cuts_nobody_out_is_no_mask(
    prepare: Prepare, shared_data: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = "src_astronaut.png"
    picture = portrait(shared_data, name)
    height, width = picture.shape[:2]
    alpha = np.zeros((height, width), np.uint8)
    if kind == "rounded corners":
        alpha = rounded(height, width, 60)
    elif kind == "a shadow":
        alpha[:-50, 25:-25] = 255
        alpha = np.maximum(alpha, cv2.GaussianBlur(alpha, (0, 0), 12) // 2)
    elif kind == "a circle":
        cv2.circle(alpha, (226, 160), 160, 255, -1)
    else:
        alpha[:] = 250 if kind == "nearly opaque" else 90
    with caplog.at_level(logging.INFO):
        mask = prepare(write_with_alpha(tmp_path / "alpha.png", picture, alpha)).mask > 127
    expected = prepare(shared_data / name).mask > 127
    assert (mask & expected).sum() > 0.95 * (mask | expected).sum()
    even = kind in ("nearly opaque", "faint")
    sentence = "The picture's transparency cuts no person out; the person is cut out as in an opaque picture."
    assert caplog.messages == ([] if even else [sentence])


def test_of_two_people_cut_out_by_alpha_the_chosen_one_stays(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    left, right = "src_astronaut.png", "src_pyfeat_man.jpg"
    first, second = portrait(shared_data, left)[:512, :400], portrait(shared_data, right)[:512]
    both = np.concatenate([first, second], axis=1)
    alphas = person_like(first, left), person_like(second, right)
    path = write_with_alpha(tmp_path / "both.png", both, np.concatenate(alphas, axis=1))
    alone = write_with_alpha(tmp_path / "alone.png", second, alphas[1])
    mask = prepare_source(path, face_model, SIZE, landmarker=face_landmarker, face=2).mask > 127
    expected = prepare_source(alone, face_model, SIZE, landmarker=face_landmarker).mask > 127
    assert (mask & expected).sum() > 0.95 * (mask | expected).sum()


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
