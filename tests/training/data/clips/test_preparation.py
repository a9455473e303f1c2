"""Real clips prepared: the camera, the mask and the region say what the pictures show."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hidenerf.model.config import PRESETS
from hidenerf.runtime.camera import project, rotation_from_euler
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.alignment import crop_camera
from hidenerf.runtime.sources.cut_out import triangle_mask
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.pose import HeadPose, aligned_square, picture_intrinsics, project_head
from hidenerf.runtime.tracking.search import find_faces
from hidenerf.runtime.video.reader import VideoReader
from hidenerf.training.data.clips.drawing import clip_face_model
from hidenerf.training.data.clips.file import ClipFrame, decode_frame
from hidenerf.training.data.clips.preparation import (
    LARGEST_ERROR,
    STRAYS,
    ClipOptions,
    PreparedClip,
    draw_region,
    fit_clip,
    prepare_clip,
    shown_part,
    still_squares,
)
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_pair

Picture = NDArray[np.uint8]

SIZE = 256
CLIPS = ("drv_d0.mp4", "drv_d10.mp4")
OPTIONS = ClipOptions(SIZE, every=14, limit=3)


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return clip_face_model()


@pytest.fixture(scope="module")
def landmarker(face_landmarker: Path, face_model: FaceModel) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(face_landmarker, face_model.expression_names) as finder:
        yield finder


@pytest.fixture(scope="module", params=CLIPS)
def prepared(
    request: pytest.FixtureRequest, shared_data: Path, face_model: FaceModel, landmarker: FaceLandmarker
) -> PreparedClip:
    return prepare_clip(shared_data / request.param, face_model, landmarker, OPTIONS)


def frames_of(prepared: PreparedClip) -> list[ClipFrame]:
    return [decode_frame(*stored) for stored in prepared.frames]


def vertices_in_crop(prepared: PreparedClip, index: int, face_model: FaceModel) -> NDArray[np.float64]:
    clip = prepared.clip
    vertices = face_model.vertices(clip.identity, clip.expression[index]).astype(np.float64)
    return project(vertices, clip.camera[index]) * clip.size


def test_what_is_kept_of_a_clip(prepared: PreparedClip, face_model: FaceModel) -> None:
    clip = prepared.clip
    assert clip.number.tolist() == [0, 14, 28]
    assert clip.source in CLIPS
    assert clip.fps == {"drv_d0.mp4": 25, "drv_d10.mp4": 30}[clip.source]
    assert clip.identity.shape == (len(face_model.identity_names),)
    assert np.abs(clip.identity).max() > 0.1
    assert clip.expression.min() >= 0
    assert clip.expression.max() <= 1
    assert prepared.error < 2
    # Calm clips: the crop stays where it is, only the head moves.
    assert len(np.unique(clip.camera[:, 16:].round(6), axis=0)) == 1
    assert len(np.unique(clip.camera[:, :16].round(4), axis=0)) == len(clip)


def test_the_camera_describes_the_crop(
    prepared: PreparedClip, face_model: FaceModel, landmarker: FaceLandmarker
) -> None:
    """The landmarks that are found in the crop itself are where its camera sees the fitted face's."""
    clip = prepared.clip
    for index, frame in enumerate(frames_of(prepared)):
        (face,) = find_faces(landmarker, frame.picture)
        points = face_model.landmarks(clip.identity, clip.expression[index]).astype(np.float64)
        offset = project(points, clip.camera[index]) * SIZE - face.landmarks[face_model.landmark_index]
        distance = np.linalg.norm(offset, axis=1)
        assert np.median(distance) < 2.5
        # The photometric fit follows the skin, on which landmarks lie as MediaPipe guesses.
        assert np.linalg.norm(offset.mean(axis=0)) < 2


def test_a_crop_shows_the_clip_s_pixels(prepared: PreparedClip, shared_data: Path, face_model: FaceModel) -> None:
    """Where the fitted head's middle vertices fall in the picture and in the crop, the colours are the same."""
    clip = prepared.clip
    with VideoReader(shared_data / clip.source) as reader:
        picture = next(iter(reader))[0]
    crop = frames_of(prepared)[0].picture
    tracked = [cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in (picture, crop)]
    pixels = vertices_in_crop(prepared, 0, face_model)
    x, y = pixels[(face_model.mean[:, 2] > 0.5)].mean(axis=0).round().astype(int)
    patch = tracked[1][y - 30 : y + 30, x - 30 : x + 30]
    scores = []
    for scale in np.linspace(1.0, 3.0, 41):
        template = cv2.resize(patch, None, fx=float(scale), fy=float(scale), interpolation=cv2.INTER_CUBIC)
        scores.append(cv2.matchTemplate(tracked[0], template, cv2.TM_CCOEFF_NORMED).max())
    assert max(scores) > 0.97


def test_the_mask_is_the_person_s(prepared: PreparedClip, face_model: FaceModel) -> None:
    for index, frame in enumerate(frames_of(prepared)):
        assert frame.picture.shape == (SIZE, SIZE, 3)
        head = triangle_mask(vertices_in_crop(prepared, index, face_model), face_model.triangles, SIZE)
        core = cv2.erode(head, np.ones((13, 13), np.uint8)) > 0
        assert (frame.mask[core] > 250).mean() > 0.99
        assert 1 / 3 < (frame.mask > 127).mean() < 3 / 4
        assert not frame.mask[:10, :10].any()
        assert not frame.mask[:10, -10:].any()
        assert not frame.picture[frame.mask == 0].any()
        # The first clip ends in a black bar, which is no part of the person.
        assert (frame.picture[frame.mask == 255].max(axis=1) < 8).mean() < 0.01
    masks = [frame.mask > 127 for frame in frames_of(prepared)]
    assert np.logical_and.reduce(masks).sum() / np.logical_or.reduce(masks).sum() > 0.85


def test_the_region_is_on_mouth_and_eyes(prepared: PreparedClip, landmarker: FaceLandmarker) -> None:
    # Lips, the corners of the eyes and the brows' middles, by MediaPipe's numbers; the tip of the nose and a cheek.
    inside, outside = [0, 17, 61, 291, 33, 133, 362, 263, 105, 334], [4, 1, 205, 425]
    for frame in frames_of(prepared):
        (face,) = find_faces(landmarker, frame.picture)
        x, y = face.landmarks.astype(int).T
        assert (frame.region[y[inside], x[inside]] == 255).all()
        assert not frame.region[y[outside], x[outside]].any()
        assert 0.05 < (frame.region > 0).mean() < 0.2
        assert (frame.region <= frame.mask).all()


def test_the_region_means_the_same_as_on_synthetic_heads() -> None:
    pairs = [make_pair(clip_face_model(), number) for number in range(3)]
    painted = render_pairs(PRESETS["demo"], torch.device("cpu"), pairs).region[:, 0].numpy() > 0.5
    for pair, expected in zip(pairs, painted, strict=True):
        vertices = clip_face_model().vertices(pair.person.identity, pair.expression)
        found = draw_region(vertices, pair.camera, clip_face_model(), SIZE) > 0
        # What hides parts of it is not known of real heads: hair and caps.
        assert (found & expected).sum() / expected.sum() > 0.97
        assert (found & expected).sum() / (found | expected).sum() > 0.9


def write_pictures(path: Path, pictures: Sequence[Picture]) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast"})
        video.height, video.width = pictures[0].shape[:2]
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(video.encode())
    return path


def test_frames_without_a_face_are_left_out(
    shared_data: Path, face_model: FaceModel, landmarker: FaceLandmarker, tmp_path: Path
) -> None:
    with VideoReader(shared_data / "drv_d0.mp4") as reader:
        face = next(iter(reader))[0]
    grey = np.full_like(face, 128)
    path = write_pictures(tmp_path / "gaps.mp4", [grey, face, grey, grey, face, face])
    done: list[None] = []
    prepared = prepare_clip(path, face_model, landmarker, ClipOptions(64), lambda: done.append(None))
    assert prepared.clip.number.tolist() == [1, 4, 5]
    assert len(done) == 3
    assert frames_of(prepared)[0].picture.shape == (64, 64, 3)
    assert prepare_clip(path, face_model, landmarker, ClipOptions(64, limit=2)).clip.number.tolist() == [1, 4]


def test_a_clip_without_a_pair_is_refused_in_a_sentence(
    shared_data: Path, face_model: FaceModel, landmarker: FaceLandmarker, tmp_path: Path
) -> None:
    face: Picture
    with VideoReader(shared_data / "drv_d0.mp4") as reader:
        face = cv2.resize(next(iter(reader))[0], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)
    grey = np.full_like(face, 128)
    path = write_pictures(tmp_path / "clip.mp4", [grey, grey])
    with pytest.raises(HideNerfError, match=r"clip\.mp4: a face was found in no frame of this clip"):
        prepare_clip(path, face_model, landmarker, OPTIONS)
    write_pictures(path, [grey, face, grey])
    with pytest.raises(HideNerfError, match=r"clip\.mp4: a face was found in one frame of this clip"):
        prepare_clip(path, face_model, landmarker, replace(OPTIONS, every=1))
    write_pictures(path, [np.hstack([face, face])] * 2)
    with pytest.raises(HideNerfError, match=r"clip\.mp4: 2 faces were found .* --face N"):
        prepare_clip(path, face_model, landmarker, replace(OPTIONS, every=1))
    chosen = prepare_clip(path, face_model, landmarker, replace(OPTIONS, every=1, face=2))
    assert len(chosen.clip) == 2


def made_up_faces(face_model: FaceModel, poses: Sequence[HeadPose], intrinsics: NDArray) -> list[FaceObservation]:
    """What a perfect tracker would see of a person with these poses and small expressions."""
    random = np.random.default_rng(0)
    identity = random.uniform(-0.3, 0.3, len(face_model.identity_names)).astype(np.float32)
    faces = []
    for pose in poses:
        scores = random.uniform(0, 0.1, len(face_model.expression_names)).astype(np.float32)
        landmarks = np.zeros((478, 2))
        points = face_model.landmarks(identity, scores)
        landmarks[face_model.landmark_index] = project_head(points, pose, intrinsics)
        faces.append(FaceObservation(landmarks, scores))
    return faces


def turned(yaw: float) -> HeadPose:
    return HeadPose(rotation_from_euler(yaw, 0, 0), np.array([0.2, -0.1, 9.0]))


def test_one_person_and_lens_are_fitted_to_all_frames(face_model: FaceModel) -> None:
    pytest.importorskip("scipy")
    poses = [turned(yaw) for yaw in (-20, 0, 10, 25)]
    intrinsics = picture_intrinsics(480, 640, 1.2 * 640)
    faces = made_up_faces(face_model, poses, intrinsics)
    # One frame on which the tracker was off.
    faces[2] = replace(faces[2], landmarks=faces[2].landmarks[np.random.default_rng(1).permutation(478)])
    fit = fit_clip(faces, face_model, 480, 640)
    good = np.arange(4) != 2
    assert (fit.errors[good] < 0.01).all()
    assert fit.errors[2] > LARGEST_ERROR
    for pose, found in zip(np.array(poses, object)[good], np.array(fit.poses, object)[good], strict=True):
        turn = np.degrees(np.arccos(np.clip((np.trace(found.rotation @ pose.rotation.T) - 1) / 2, -1, 1)))
        assert turn < 2.5


def test_a_crop_stays_until_the_head_strays_and_its_camera_is_exact() -> None:
    intrinsics = picture_intrinsics(720, 1280, 1500.0)
    random = np.random.default_rng(0)
    poses = []
    # A head that drifts aside, comes nearer, tilts, and jumps.
    for step in np.linspace(0, 1, 60):
        place = np.array([-2 + 3 * step, 0.5 * step, 9.0 - 2 * step]) + random.normal(0, 0.01, 3)
        place[0] += 1.5 * (step > 0.7)
        poses.append(HeadPose(rotation_from_euler(20 * step, -5, 25 * step), place))
    matrices = still_squares(poses, intrinsics, SIZE)
    assert matrices.shape == (60, 2, 3)
    stretches = len(np.unique(matrices.reshape(60, -1), axis=0))
    assert 3 <= stretches <= 20
    jump = int(np.argmax(np.linspace(0, 1, 60) > 0.7))
    assert not np.allclose(matrices[jump], matrices[jump - 1])
    points = random.uniform(-0.7, 0.7, (20, 3))
    for pose, matrix in zip(poses, matrices, strict=True):
        pixels = project_head(points, pose, intrinsics)
        in_crop = pixels @ matrix[:, :2].T + matrix[:, 2]
        camera = crop_camera(pose, intrinsics, matrix, SIZE)
        np.testing.assert_allclose(project(points, camera) * SIZE, in_crop, atol=0.02)
        middle = project(np.zeros(3), camera)
        assert (np.abs(middle - 0.5) <= 1.01 * STRAYS[:2] * np.sqrt(2)).all()
        _, side = aligned_square(pose, intrinsics)
        scale = np.hypot(matrix[0, 0], matrix[1, 0]) * side / SIZE
        assert abs(np.log(scale)) <= 1.01 * STRAYS[2]


def test_black_bars_are_not_shown() -> None:
    rows = np.array([0, 9, 200, 10, 200, 3], np.uint8)
    columns = np.array([200, 200, 200, 0], np.uint8)
    shown = shown_part(rows, columns)
    assert shown[:, 1].tolist() == [0, 0, 255, 255, 255, 0]
    assert shown[3].tolist() == [255, 255, 255, 0]
    # A clip as dark as bars are has none that could be told.
    assert shown_part(np.zeros(3, np.uint8), np.zeros(2, np.uint8)).all()


def test_a_still_head_has_one_crop() -> None:
    intrinsics = picture_intrinsics(480, 640, 800.0)
    poses = [HeadPose(rotation_from_euler(yaw, 0, 4), np.array([0.01 * yaw / 30, 0, 8.0])) for yaw in range(-30, 30)]
    matrices = still_squares(poses, intrinsics, SIZE)
    assert len(np.unique(matrices.reshape(60, -1), axis=0)) == 1
