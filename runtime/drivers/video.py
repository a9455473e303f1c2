"""A picture, a folder of pictures, a video file or a live camera as a driver, through the face tracker."""

import functools
import itertools
import logging
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.resting_face import RestingFace
from hidenerf.runtime.streaming import prefetch
from hidenerf.runtime.tracking.amplitudes import amplified
from hidenerf.runtime.tracking.face_tracker import FaceTracker
from hidenerf.runtime.tracking.identity_fit import FaceFit, fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.pose import aligned_square, solve_head_pose, square_camera
from hidenerf.runtime.tracking.smoothing import EXPRESSION_RESPONSE, HeadPoseFilter, OneEuroFilter
from hidenerf.runtime.video.animation import AnimationReader, is_animation
from hidenerf.runtime.video.picture_folder import PictureFolderReader
from hidenerf.runtime.video.pictures import is_picture, read_picture
from hidenerf.runtime.video.reader import CameraReader, PictureStream, VideoReader

Picture = NDArray[np.uint8]

logger = logging.getLogger(__name__)

STILL_FPS = Fraction(25)
PICTURES_AHEAD = 4


class StillStream:
    """One picture file as a `PictureStream`."""

    fps = STILL_FPS
    has_audio = False

    def __init__(self, path: Path) -> None:
        self._picture = read_picture(path)
        self.length: int | None = 1
        self.size = (self._picture.shape[0], self._picture.shape[1])

    def __iter__(self) -> Iterator[tuple[Picture, Fraction]]:
        """The picture, at time 0."""
        yield self._picture, Fraction(0)

    def close(self) -> None:
        """Nothing is held open."""


class MotionFromFaces:
    """Turns observations of one face, in order, into expressions and cameras.

    The first observation determines the identity, the lens and the aligned square that the camera sees; the head then
    moves within that square.

    height, width: of the pictures, pixels.
    smoothing: strength of the filters, 0 for none.
    """

    def __init__(self, face_model: FaceModel, height: int, width: int, smoothing: float) -> None:
        self._face_model = face_model
        self._size = (height, width)
        self._smoothing = smoothing
        self._fit: FaceFit | None = None
        self._square: tuple[NDArray[np.float64], float] | None = None
        self._resting = RestingFace(face_model.expression_names)
        self.forget_past()

    def forget_past(self) -> None:
        """Restart the filters after the face was out of sight."""
        if self._smoothing > 0:
            self._smooth_pose = HeadPoseFilter(self._smoothing)
            self._smooth_expression = OneEuroFilter(EXPRESSION_RESPONSE, self._smoothing)

    def __call__(self, face: FaceObservation, time: Fraction) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """expression [E] and camera [25]. time: seconds, above the last observation's."""
        if self._fit is None:
            self._fit = fit_face(face, self._face_model, *self._size)
        points = self._face_model.landmarks(self._fit.identity, face.scores)
        intrinsics = self._fit.intrinsics
        pose = solve_head_pose(points, face.landmarks[self._face_model.landmark_index], intrinsics)
        expression = amplified(face.scores, self._face_model.expression_names)
        if self._smoothing > 0:
            pose = self._smooth_pose(pose, float(time))
            expression = self._smooth_expression(expression, float(time)).astype(np.float32)
        expression = self._resting.change(expression)
        if self._square is None:
            self._square = aligned_square(pose, intrinsics)
        return expression, square_camera(pose, intrinsics, *self._square)


class VideoDriver:
    """A picture, clip, folder of pictures or camera as a `Driver` whose frames carry the driving picture.

    Opening a file tracks it up to the first face, so that a file without a face fails before anything is written.
    Frames before the first face hold its motion, later frames without a face hold the last motion; both have `tracked`
    false. A live camera holds the neutral frontal motion until a face is seen, and drops pictures it has no time for.

    source: path of a picture or video file or of a folder of pictures, or the number of a camera.
    still: whether the file is a single picture.
    The other arguments: see `DriverOptions`; without `face`, the only face is taken.
    Errors: those of the reader, the landmarker and `select_face`; no face in the file.
    """

    def __init__(
        self,
        source: Path | int,
        *,
        still: bool = False,
        face_model: FaceModel,
        landmarker: Path | None = None,
        face: int | None = None,
        smoothing: float = 1.0,
        times: StageTimes | None = None,
    ) -> None:
        self.face_model = face_model.name
        self.expression_names = face_model.expression_names
        self.live = not isinstance(source, Path)
        self.still = still
        self._source = source
        self._times = times or StageTimes()
        self._frames: Generator[MotionFrame, None, None] | None = None
        # A clip that is opened again after its first face was found has each note once.
        self._note = functools.cache(logger.warning)
        self._stream = self._open_stream()
        try:
            self._landmarker = FaceLandmarker(landmarker, face_model.expression_names)
        except BaseException:
            self._stream.close()
            raise
        self.fps = self._stream.fps
        self.length = self._stream.length
        self.audio = source if isinstance(source, Path) and self._stream.has_audio else None
        self._tracker = FaceTracker(self._landmarker, face, self._name)
        smoothing = 0.0 if still else smoothing
        self._motion = MotionFromFaces(face_model, *self._stream.size, smoothing)
        self._pictures = self._decode()
        self._first: FaceObservation | None = None
        self._faceless = 0
        try:
            if not self.live:
                self._find_first_face()
        except BaseException:
            self.close()
            raise

    @property
    def _name(self) -> str:
        return f"camera:{self._source}" if self.live else str(self._source)

    def _open_stream(self) -> PictureStream:
        if isinstance(self._source, int):
            return CameraReader(self._source)
        if self._source.is_dir():
            return PictureFolderReader(self._source)
        if self.still:
            return StillStream(self._source)
        return AnimationReader(self._source) if _is_animated(self._source) else VideoReader(self._source, self._note)

    def _decode(self) -> Iterator[tuple[Picture, Fraction]]:
        pictures = iter(self._stream)
        while True:
            with self._times.measure("decode"):
                item = next(pictures, None)
            if item is None:
                return
            yield item

    def _track(self, picture: Picture) -> FaceObservation | None:
        with self._times.measure("track"):
            return self._tracker.follow(picture)

    def _find_first_face(self) -> None:
        """Track up to the first face, then put the stream back to its start."""
        for picture, time in self._pictures:
            self._first = self._track(picture)
            if self._first is None:
                self._faceless += 1
                continue
            if self._faceless == 0:
                self._pictures = itertools.chain([(picture, time)], self._pictures)
            else:
                self._stream.close()
                self._stream = self._open_stream()
                self._pictures = self._decode()
            return
        what = "picture" if self.still else "clip"
        raise HideNerfError(f"{self._name}: no face was found in this {what}; drive with one that shows a face.")

    def __iter__(self) -> Iterator[MotionFrame]:
        """The motion's frames, tracked as they are read."""
        self._frames = self._stream_motion()
        return self._frames

    def _stream_motion(self) -> Generator[MotionFrame, None, None]:
        held = (np.zeros(len(self.expression_names), np.float32), canonical_camera())
        if self._first is not None:
            held = self._motion(self._first, Fraction(0))
            self._motion.forget_past()
        in_sight = True
        depth = 1 if self.live else PICTURES_AHEAD
        with prefetch(self._pictures, depth, drop_oldest=self.live) as ahead:
            for index, (picture, time) in enumerate(ahead):
                face = self._face(index, picture)
                if face is not None:
                    if not in_sight:
                        self._motion.forget_past()
                    held = self._motion(face, time)
                in_sight = face is not None
                yield MotionFrame(*held, tracked=in_sight, time=time, picture=picture)

    def _face(self, index: int, picture: Picture) -> FaceObservation | None:
        if self._first is None or index > self._faceless:
            return self._track(picture)
        return self._first if index == self._faceless else None

    def close(self) -> None:
        """Stop decoding and free the tracker; may be called twice."""
        if self._frames is not None:
            self._frames.close()
        self._stream.close()
        self._landmarker.close()


def _is_animated(path: Path) -> bool:
    return path.is_file() and is_animation(path)


def open_clip_or_pictures(spec: str, options: DriverOptions) -> VideoDriver:
    """The driver of a clip, a picture, or a folder of pictures. Errors: those of `VideoDriver`."""
    path = Path(spec)
    return VideoDriver(path, still=is_picture(path), **vars(options))


def open_camera(spec: str, options: DriverOptions) -> VideoDriver:
    """The driver of `camera:N`. Errors: N is not a number; those of `VideoDriver`."""
    number = spec.partition(":")[2]
    if not (number.isascii() and number.isdigit()):
        raise HideNerfError(f"{spec}: not a camera; give camera:0 for the first one.")
    return VideoDriver(int(number), **vars(options))
