"""Pictures prepared: what was fitted to them is where the camera of the crop sees it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.model.config import PRESETS
from hidenerf.runtime.camera import project, rotation_from_euler
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.sources.cut_out import triangle_mask
from hidenerf.runtime.tracking.identity_fit import FaceFit
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.pose import HeadPose, picture_intrinsics, project_head
from hidenerf.training.data.clips.drawing import clip_face_model
from hidenerf.training.data.clips.file import decode_frame, open_clip, save_clip
from hidenerf.training.data.clips.pairs import read_clips
from hidenerf.training.data.clips.still_preparation import (
    Still,
    StillOptions,
    fit_still,
    matte_of,
    one_person,
    prepare_stills,
)
from tests.support.faces import FACES, portrait

SIZE = 128
HEIGHT, WIDTH = 300, 240
OPTIONS = StillOptions(SIZE, quality=90)


def make_still(yaw: float, mask: bool = True, seed: int = 0) -> Still:
    """A grey head before a pattern, as a perfect tracker and a perfect fit would know it."""
    model = clip_face_model()
    random = np.random.default_rng(seed)
    identity = random.uniform(-0.3, 0.3, len(model.identity_names)).astype(np.float32)
    expression = random.uniform(0, 0.2, len(model.expression_names)).astype(np.float32)
    intrinsics = picture_intrinsics(HEIGHT, WIDTH, 1.2 * HEIGHT)
    pose = HeadPose(rotation_from_euler(yaw, 4, -6), np.array([0.1, -0.2, 6.0]))
    observed = project_head(model.landmarks(identity, expression).astype(np.float64), pose, intrinsics)
    head = triangle_mask(
        project_head(model.vertices(identity, expression).astype(np.float64), pose, intrinsics),
        model.triangles,
        HEIGHT,
    )[:, :WIDTH]
    picture = random.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    picture[head > 0] = (200, 150, 120)
    fit = FaceFit(identity, expression, pose, intrinsics, 0.0)
    return Still(Path(f"{yaw:g}.jpg"), picture, 255 * head if mask else None, fit, observed)


def mean_distance(still: Still, identity: NDArray, camera: NDArray, matrix: NDArray) -> float:
    points = clip_face_model().landmarks(identity, still.fit.expression).astype(np.float64)
    in_crop = still.observed @ matrix[:, :2].T + matrix[:, 2]
    return float(np.linalg.norm(project(points, camera) * SIZE - in_crop, axis=1).mean())


def test_a_picture_becomes_a_clip_of_one_frame(tmp_path: Path) -> None:
    still = make_still(10)
    prepared = prepare_stills([still], "picture.jpg", "made up", clip_face_model(), OPTIONS)
    assert prepared.error < 1e-3
    save_clip(prepared.clip, prepared.frames, tmp_path / "picture.jpg.npz")
    opened = open_clip(tmp_path / "picture.jpg.npz")
    assert len(opened.clip) == 1
    np.testing.assert_array_equal(opened.clip.identity, still.fit.identity)
    np.testing.assert_array_equal(opened.clip.expression[0], still.fit.expression)
    frame = opened.frame(0).read()
    model = clip_face_model()
    vertices = model.vertices(still.fit.identity, still.fit.expression).astype(np.float64)
    head = triangle_mask(project(vertices, opened.clip.camera[0]) * SIZE, model.triangles, SIZE) > 0
    # The mask is the matte's, and the camera sees the head where it is.
    assert (head & (frame.mask > 127)).sum() / (head | (frame.mask > 127)).sum() > 0.97
    np.testing.assert_allclose(frame.picture[frame.mask == 255].mean(0), (200, 150, 120), atol=3)
    assert 0.02 < (frame.region > 0).mean() < 0.2
    assert (frame.region <= frame.mask).all()
    config = replace(PRESETS["demo"], image_size=SIZE, render_size=32, secc_size=64, plane_sizes=(16, 32, 64))
    assert len(read_clips(tmp_path, config)) == 1


def test_pictures_of_one_person_share_an_identity() -> None:
    stills = [make_still(yaw) for yaw in (-20, 0, 25)]
    prepared = prepare_stills(stills, "person", "made up", clip_face_model(), OPTIONS)
    assert prepared.clip.expression.shape[0] == len(prepared.frames) == 3
    assert prepared.clip.number.tolist() == [0, 1, 2]
    np.testing.assert_allclose(prepared.clip.identity, stills[0].fit.identity, atol=1e-6)
    # Poses are solved again for the common identity: here it is the one of each picture.
    assert prepared.error < 0.1
    assert len(np.unique(prepared.clip.camera[:, :16].round(3), axis=0)) == 3


def test_without_a_matte_people_are_cut_out_by_colour() -> None:
    prepared = prepare_stills([make_still(0, mask=False)], "a", "", clip_face_model(), OPTIONS)
    frame = decode_frame(*prepared.frames[0])
    assert 0.2 < (frame.mask > 127).mean() < 0.8


def test_quality_is_the_jpeg_s() -> None:
    sizes = [
        len(prepare_stills([make_still(0)], "a", "", clip_face_model(), replace(OPTIONS, quality=quality)).frames[0][0])
        for quality in (60, 90)
    ]
    assert sizes[0] < sizes[1]


def test_haze_and_what_is_apart_is_no_part_of_a_matte() -> None:
    head = np.zeros((40, 40), np.uint8)
    head[10:25, 10:25] = 1
    matte = np.full((40, 40), 5, np.uint8)
    matte[8:30, 8:26] = 252
    matte[8, 8:26] = 128
    matte[:4, 30:] = 255
    clean = one_person(matte, head)
    assert not clean[:4, 30:].any()
    assert not clean[35:].any()
    assert (clean[9:30, 8:26] == 255).all()
    assert (clean[8, 8:26] == 128).all()


def test_a_matte_has_its_picture_s_stem(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    assert matte_of(Path("somewhere/a.jpg"), tmp_path) == tmp_path / "a.png"
    with pytest.raises(HideNerfError, match=r"b\.jpg: .* holds no matte b\.png"):
        matte_of(Path("somewhere/b.jpg"), tmp_path)


def test_alpha_is_a_mask_only_where_it_cuts_the_person_out(
    shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    name, model = "src_obama.jpg", clip_face_model()
    picture = portrait(shared_data, name)
    height, (x, y) = FACES[name]
    frame, head = np.zeros((2, *picture.shape[:2]), np.uint8)
    frame[30:-50, 30:-30] = 255
    cv2.ellipse(head, (x, y - height // 8), (int(0.5 * height), int(0.75 * height)), 0, 0, 360, 255, -1)
    path = tmp_path / "alpha.png"
    with FaceLandmarker(face_landmarker, model.expression_names) as landmarker:
        for alpha, cut in ((frame, False), (head, True)):
            cv2.imwrite(str(path), np.dstack([picture[..., ::-1], alpha]))
            still = fit_still(path, None, model, landmarker)
            assert (still.mask is not None) == cut
            # What is transparent continues its surroundings where it is not cut off.
            assert (still.picture[:20].mean(axis=(0, 1)) == picture[:20].mean(axis=(0, 1))).all() == cut
