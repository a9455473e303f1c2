import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera, euler_from_rotation, head_pose_from_camera, project
from hidenerf.runtime.drivers import video
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.drivers.video import VideoDriver
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.profiling import StageTimes
from tests.support.faces import Picture, first_frames, grey, pasted, portrait, write_frames
from tests.support.media import joined, without_frame_duration


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def clip(shared_data: Path, face_landmarker: Path, face_model: FaceModel) -> tuple[VideoDriver, list[MotionFrame]]:
    driver = VideoDriver(shared_data / "drv_d10.mp4", face_model=face_model, landmarker=face_landmarker)
    frames = list(driver)
    driver.close()
    return driver, frames


@pytest.mark.slow
def test_a_real_clip_gives_every_frame_in_order(clip: tuple[VideoDriver, list[MotionFrame]], shared_data: Path) -> None:
    driver, frames = clip
    assert (driver.fps, driver.length, driver.live, driver.still) == (Fraction(30), 150, False, False)
    assert driver.audio == shared_data / "drv_d10.mp4"
    assert [frame.time for frame in frames] == [Fraction(index, 30) for index in range(150)]
    assert all(frame.tracked for frame in frames)
    capture = cv2.VideoCapture(str(driver.audio))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 100)
    picture = frames[100].picture
    assert picture is not None
    # Two decoders' colour conversions differ a little.
    assert np.abs(picture[:, :, ::-1].astype(int) - capture.read()[1]).mean() < 3


def test_its_expressions_are_those_that_mediapipe_tracked(
    clip: tuple[VideoDriver, list[MotionFrame]], shared_data: Path
) -> None:
    driver, frames = clip
    # The reference was tracked and smoothed in MediaPipe's video mode.
    reference = np.load(shared_data / "drv_d10.track.npz")
    # Brows are told from the resting face: below it the opposite action, of either side, has their change.
    for name, opposites in (
        ("jawOpen", ()),
        ("eyeLookOutLeft", ()),
        ("browInnerUp", ("browDownLeft", "browDownRight")),
    ):
        expected = reference["blendshapes"][:, list(reference["names"]).index(name)]
        place = {one: driver.expression_names.index(one) for one in (name, *opposites)}
        found = [
            frame.expression[place[name]] - sum(frame.expression[place[one]] for one in opposites) for frame in frames
        ]
        assert np.corrcoef(expected, found)[0, 1] > 0.9, name


def test_its_camera_sees_an_aligned_crop_in_which_the_head_moves(clip: tuple[VideoDriver, list[MotionFrame]]) -> None:
    _, frames = clip
    np.testing.assert_allclose(project(np.zeros(3), frames[0].camera), [0.5, 0.5], atol=1e-6)
    intrinsics = np.array([frame.camera[16:] for frame in frames])
    assert (intrinsics == intrinsics[0]).all()
    # Radius over half the picture, at the head's depth, as in the canonical camera.
    _, translation, matrix = head_pose_from_camera(frames[0].camera)
    _, canonical_translation, canonical_matrix = head_pose_from_camera(canonical_camera())
    assert matrix[0, 0] / translation[2] == pytest.approx(canonical_matrix[0, 0] / canonical_translation[2], rel=1e-4)
    centres = np.array([project(np.zeros(3), frame.camera) for frame in frames])
    assert 0.005 < np.ptp(centres, axis=0).max() < 0.1


def test_its_head_turns_as_mediapipe_s_own_matrix_says(
    clip: tuple[VideoDriver, list[MotionFrame]], shared_data: Path
) -> None:
    _, frames = clip
    matrices = np.load(shared_data / "drv_d10.track.npz")["matrices"][:, :3, :3].astype(np.float64)
    expected = np.array([euler_from_rotation(matrix) for matrix in matrices])
    found = np.array([euler_from_rotation(head_pose_from_camera(frame.camera)[0]) for frame in frames])
    # Two face models agree up to a constant turn.
    for axis, tolerance in ((0, 1.5), (2, 1.0)):
        difference = found[:, axis] - expected[:, axis]
        assert np.std(difference) < tolerance
        assert np.corrcoef(found[:, axis], expected[:, axis])[0, 1] > 0.8


def open_clip(path: Path, face_model: FaceModel, model: Path, **options: object) -> VideoDriver:
    return VideoDriver(path, face_model=face_model, landmarker=model, **options)


def test_frames_without_a_face_hold_the_last_motion_and_those_before_it_the_first(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    faces = [picture for picture in first_frames(shared_data, "drv_d10.mp4", 6)]
    empty = grey((512, 512))
    path = write_frames(tmp_path / "clip.mp4", [empty] * 4 + faces[:3] + [empty] * 3 + faces[3:])
    times = StageTimes()
    driver = open_clip(path, face_model, face_landmarker, times=times)
    frames = list(driver)
    driver.close()
    assert [frame.tracked for frame in frames] == [False] * 4 + [True] * 3 + [False] * 3 + [True] * 3
    for index in range(4):
        np.testing.assert_array_equal(frames[index].expression, frames[4].expression)
        np.testing.assert_array_equal(frames[index].camera, frames[4].camera)
    for index in range(7, 10):
        np.testing.assert_array_equal(frames[index].expression, frames[6].expression)
        np.testing.assert_array_equal(frames[index].camera, frames[6].camera)
    assert (frames[5].expression != frames[4].expression).any()
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(13)]
    pictures = [frame.picture for frame in frames]
    assert all(picture is not None for picture in pictures)
    # The first four were decoded twice, tracked once.
    assert "track" in times.table()


def test_smoothing_is_an_option(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    path = write_frames(tmp_path / "clip.mp4", first_frames(shared_data, "drv_d0.mp4", 16))

    def jitter(smoothing: float) -> float:
        driver = open_clip(path, face_model, face_landmarker, smoothing=smoothing)
        cameras = np.array([frame.camera for frame in driver])
        driver.close()
        return float(np.abs(np.diff(cameras[:, :12], 2, axis=0)).mean())

    assert jitter(1.0) < 0.6 * jitter(0.0)


def motion_of(path: Path, face_model: FaceModel, model: Path) -> tuple[Fraction, list[MotionFrame]]:
    driver = open_clip(path, face_model, model)
    frames = list(driver)
    driver.close()
    return driver.fps, frames


def test_a_recording_without_a_frame_duration_is_smoothed_like_one_with_it(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    path = write_frames(tmp_path / "clip.webm", first_frames(shared_data, "drv_d0.mp4", 12), codec="libvpx")
    fps, expected = motion_of(path, face_model, face_landmarker)
    assert fps == 25
    fps, found = motion_of(without_frame_duration(path), face_model, face_landmarker)
    assert fps == 25
    for one, other in zip(expected, found, strict=True):
        assert one.time == other.time
        np.testing.assert_array_equal(one.camera, other.camera)
        np.testing.assert_array_equal(one.expression, other.expression)


def test_the_head_stays_where_the_pictures_size_changes(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    pictures = first_frames(shared_data, "drv_d0.mp4", 1) * 6
    smaller = [cv2.resize(picture, (384, 384), interpolation=cv2.INTER_AREA).astype(np.uint8) for picture in pictures]
    clips = [
        write_frames(tmp_path / f"{index}.webm", part, codec="libvpx") for index, part in enumerate((pictures, smaller))
    ]
    clip = joined(clips[0], clips[1], tmp_path / "clip.webm")
    _, frames = motion_of(clip, face_model, face_landmarker)
    assert len(frames) == 12
    positions = np.array([head_pose_from_camera(frame.camera)[1] for frame in frames])
    # World units: the head is about 1 wide; without scaling it moved by more than 1.
    assert np.ptp(positions, axis=0).max() < 0.1


def test_a_clip_without_a_face_is_an_error_before_the_first_frame(
    face_model: FaceModel, face_landmarker: Path, tmp_path: Path
) -> None:
    path = write_frames(tmp_path / "empty.mp4", [grey((240, 320))] * 12)
    with pytest.raises(HideNerfError, match=r"empty\.mp4: no face was found in this clip"):
        open_clip(path, face_model, face_landmarker)


def test_several_faces_need_a_number(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    picture = pasted(shared_data, "src_astronaut.png", grey((360, 720)), 80, (180, 160))
    picture = pasted(shared_data, "src_pyfeat_man.jpg", picture, 90, (540, 160))
    path = write_frames(tmp_path / "two.mp4", [picture] * 2)
    with pytest.raises(HideNerfError, match=r"two\.mp4: 2 faces were found .* --face N"):
        open_clip(path, face_model, face_landmarker)
    yaws = []
    for face in (1, 2):
        driver = open_clip(path, face_model, face_landmarker, face=face)
        yaws.append(euler_from_rotation(head_pose_from_camera(next(iter(driver)).camera)[0])[0])
        driver.close()
    # Two people who do not look the same way.
    assert abs(yaws[0] - yaws[1]) > 3


def test_a_picture_is_a_driver_of_one_frame(face_model: FaceModel, shared_data: Path, face_landmarker: Path) -> None:
    driver = open_clip(shared_data / "src_obama.jpg", face_model, face_landmarker, still=True)
    (frame,) = driver
    driver.close()
    assert (driver.still, driver.length, driver.audio, frame.tracked, frame.time) == (True, 1, None, True, 0)
    np.testing.assert_array_equal(frame.picture, portrait(shared_data, "src_obama.jpg"))
    assert frame.expression[driver.expression_names.index("mouthSmileLeft")] > 0.5


def test_animated_pictures_and_folders_of_pictures_are_clips(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, tmp_path: Path
) -> None:
    pictures = first_frames(shared_data, "drv_d10.mp4", 3)
    milliseconds = [40, 200, 40]
    drawn = cv2.Animation()
    drawn.frames = [cv2.cvtColor(picture, cv2.COLOR_RGB2BGRA) for picture in pictures]
    drawn.durations = milliseconds
    (tmp_path / "animated").write_bytes(cv2.imencodeanimation(".png", drawn)[1].tobytes())
    (tmp_path / "folder").mkdir()
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / "folder" / f"{index + 9}.png"), picture[:, :, ::-1])
    times = {"animated": [0, Fraction(40, 1000), Fraction(240, 1000)], "folder": [0, Fraction(1, 25), Fraction(2, 25)]}
    for name, expected in times.items():
        options = DriverOptions(face_model, face_landmarker)
        driver = video.open_clip_or_pictures(str(tmp_path / name), options)
        frames = list(driver)
        driver.close()
        assert (driver.still, driver.length, driver.audio) == (False, 3, None)
        assert [frame.time for frame in frames] == expected
        assert all(frame.tracked for frame in frames)
        for frame, picture in zip(frames, pictures, strict=True):
            np.testing.assert_array_equal(frame.picture, picture)


def test_a_picture_without_a_face_is_an_error(face_model: FaceModel, face_landmarker: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), grey((240, 320)))
    with pytest.raises(HideNerfError, match=r"empty\.png: no face was found in this picture"):
        open_clip(tmp_path / "empty.png", face_model, face_landmarker, still=True)


def test_closing_early_stops_decoding(face_model: FaceModel, shared_data: Path, face_landmarker: Path) -> None:
    before = threading.active_count()
    driver = open_clip(shared_data / "drv_d10.mp4", face_model, face_landmarker)
    frames = iter(driver)
    next(frames)
    driver.close()
    driver.close()
    assert threading.active_count() == before
    assert next(frames, None) is None


class FakeCamera:
    """Stands in for a camera, which a test machine has none of: nobody in sight, then a face."""

    fps = Fraction(30)
    length: int | None = None
    has_audio = False

    def __init__(self, pictures: list[Picture]) -> None:
        self._pictures = pictures
        self.size = pictures[0].shape[:2]
        self.closed = False

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        for index, picture in enumerate(self._pictures):
            yield picture, Fraction(index, 30)

    def close(self) -> None:
        self.closed = True


def test_a_live_camera_starts_at_once_with_the_neutral_motion(
    face_model: FaceModel, shared_data: Path, face_landmarker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = pasted(shared_data, "src_obama.jpg", grey((240, 320)), 90, (160, 120))
    camera = FakeCamera([grey((240, 320))] * 2 + [face] * 200)
    monkeypatch.setattr(video, "CameraReader", lambda index: camera if index == 3 else None)
    driver = VideoDriver(3, face_model=face_model, landmarker=face_landmarker)
    assert (driver.live, driver.length, driver.fps) == (True, None, 30)
    frames = list(driver)
    driver.close()
    assert camera.closed
    # Pictures that came while one was being tracked were dropped, the newest was not.
    assert len(frames) < 202
    assert frames[-1].time == Fraction(201, 30)
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    waiting = [frame for frame in frames if not frame.tracked]
    for frame in waiting:
        np.testing.assert_array_equal(frame.camera, canonical_camera())
        assert not frame.expression.any()
    assert frames[-1].tracked
