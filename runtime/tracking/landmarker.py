"""The landmarker: MediaPipe's FaceLandmarker as one class, without its output on the terminal."""

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS, limit_mouth_close
from hidenerf.runtime.tracking.landmarker_model import find_landmarker_model

MOST_FACES = 8


@dataclass(frozen=True)
class FaceObservation:
    """A face in a picture.

    landmarks: [478, 2] float64, pixels; the picture spans [0, W] × [0, H], pixel centres are at i + 0.5.
    scores: [E] float32 in [0, 1], in the order of the face model's expressions.
    """

    landmarks: NDArray[np.float64]
    scores: NDArray[np.float32]

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of the landmarks' bounding box, [2] pixels."""
        return (self.landmarks.min(axis=0) + self.landmarks.max(axis=0)) / 2

    @property
    def size(self) -> float:
        """Longer side of the landmarks' bounding box, pixels."""
        return float(np.ptp(self.landmarks, axis=0).max())


class FaceLandmarker:
    """A context manager around MediaPipe's FaceLandmarker in image mode: no smoothing, no memory between pictures.

    model: path of face_landmarker.task; None: see `find_landmarker_model`.
    expression_names: the face model's expressions; MediaPipe's scores are mapped to them by name.
    Errors: mediapipe is not installed or is a version that sends usage metrics, the model cannot be found or read,
    the expressions are not ARKit's.
    """

    def __init__(self, model: Path | None, expression_names: Sequence[str]) -> None:
        if set(expression_names) != set(ARKIT_EXPRESSIONS):
            raise HideNerfError(
                f"The face model's expressions ({', '.join(expression_names[:2])}, ...) are not ARKit's, so a face "
                "tracker cannot give them; use coefficients made for this face model, or the default face model."
            )
        self._mediapipe = _import_mediapipe()
        self._expression_names = tuple(expression_names)
        self._order: NDArray[np.intp] | None = None
        path = find_landmarker_model(model)
        with _silent_stderr():
            self._landmarker = self._create(path)
            # The first detection makes the inference engines, which write to stderr too.
            self.detect(np.zeros((64, 64, 3), np.uint8))

    def _create(self, model: Path) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=MOST_FACES,
            output_face_blendshapes=True,
        )
        try:
            return vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise HideNerfError(
                f"{model}: MediaPipe cannot read this face landmarker model ({str(error).splitlines()[0]}); get "
                "face_landmarker.task anew."
            ) from None

    def __enter__(self) -> "FaceLandmarker":
        """The landmarker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Free MediaPipe's graph; may be called twice."""
        if self._landmarker is not None:
            with _silent_stderr():
                self._landmarker.close()
            self._landmarker = None

    def detect(self, picture: NDArray[np.uint8]) -> list[FaceObservation]:
        """Faces in a picture [H, W, 3] uint8 RGB, in no particular order, at most `MOST_FACES`.

        Faces narrower than about 8 % of the picture's longer side are missed; see `hidenerf.runtime.tracking.search`.
        """
        mediapipe = self._mediapipe
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        result = self._landmarker.detect(image)
        height, width = picture.shape[:2]
        return [
            FaceObservation(np.array([(p.x * width, p.y * height) for p in points]), self._scores(categories))
            for points, categories in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]

    def _scores(self, categories: Sequence[Any]) -> NDArray[np.float32]:
        if self._order is None:
            self._order = score_order([category.category_name for category in categories], self._expression_names)
        return map_scores(np.array([category.score for category in categories]), self._order, self._expression_names)


def score_order(score_names: Sequence[str], expression_names: Sequence[str]) -> NDArray[np.intp]:
    """For each expression the index of its score, -1 where there is none (MediaPipe has no tongueOut)."""
    return np.array([score_names.index(name) if name in score_names else -1 for name in expression_names], np.intp)


def map_scores(
    scores: NDArray[np.floating], order: NDArray[np.intp], expression_names: Sequence[str]
) -> NDArray[np.float32]:
    """MediaPipe's scores [n] → [E] float32 in the face model's order, within [0, 1] and mouthClose ≤ jawOpen."""
    mapped = np.where(order < 0, 0.0, scores[order]).clip(0.0, 1.0).astype(np.float32)
    return limit_mouth_close(mapped, expression_names)


def _import_mediapipe() -> Any:
    try:
        version = importlib.metadata.version("mediapipe")
    except importlib.metadata.PackageNotFoundError:
        raise HideNerfError(
            "Finding faces needs MediaPipe, which is not installed; run: pip install 'hidenerf[track]'."
        ) from None
    if int(version.split(".")[0]) >= 1:
        raise HideNerfError(
            f"MediaPipe {version} is installed, but from 1.0 on it sends usage metrics to its maker; run: "
            "pip install 'mediapipe<1.0'."
        )
    # absl and TensorFlow Lite read these when they are loaded.
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _silent_stderr():
            import mediapipe
    except ImportError as error:
        raise HideNerfError(
            f"MediaPipe {version} cannot be loaded ({error}); run: pip install --force-reinstall 'hidenerf[track]'."
        ) from None
    return mediapipe


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what native libraries write to file descriptor 2; Python's own exceptions are untouched."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # the process has no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
