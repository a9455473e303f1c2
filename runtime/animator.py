"""The Python API: a bundle, a source and motion in; frames out."""

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import Bundle, open_bundle, require_parity
from hidenerf.runtime.drivers import open_driver
from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import load_face_model
from hidenerf.runtime.motion import MotionFrame
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.retarget import Retargeter, View
from hidenerf.runtime.sources.prepare import prepare_source
from hidenerf.runtime.sources.source import Source
from hidenerf.runtime.streaming import prefetch

Float = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class AnimatedFrame:
    """One rendered frame.

    picture: [S, S, 3] uint8 RGB.
    alpha: [S, S] float32 in [0, 1], the head's opacity.
    driving: the frame of motion that it was made from.
    """

    picture: Picture
    alpha: Float
    driving: MotionFrame

    @property
    def time(self) -> Fraction:
        """Seconds since the first frame."""
        return self.driving.time


class Animator:
    """Animates one source at a time with the graphs of one bundle.

        with Animator("bundle") as animator:
            animator.set_source("portrait.png")
            for frame in animator.animate("clip.mp4"):
                show(frame.picture)

    bundle: folder or an opened bundle. backend: a name of `hidenerf.runtime.backends.BACKEND_NAMES`.
    face_landmarker: MediaPipe's model file, for portraits and clips; found as the README says where it is None.
    matting: matting network (.onnx) that cuts the person out of a portrait; None takes the one that ships.
    allow_failed_parity: take also a bundle that failed parity with the PyTorch model, or was never compared with it.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        backend: str = "auto",
        face_landmarker: Path | None = None,
        *,
        matting: Path | None = None,
        allow_failed_parity: bool = False,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
        if not allow_failed_parity:
            require_parity(self.bundle)
        self.face_model = load_face_model(self.bundle.face_model_path)
        self.times = StageTimes()
        self.source: Source | None = None
        self._face_landmarker = face_landmarker
        self._matting = matting
        self.backend = open_backend(backend, self.bundle, self.times)

    def __enter__(self) -> "Animator":
        """The animator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Free the backend."""
        self.backend.close()

    def set_source(self, source: Source | Path | str, face: int | None = None) -> Source:
        """Take a portrait (picture or prepared `.npz`) or a `Source`, and encode it; returns the prepared source.

        face: which face, counted from the left from 1, where the picture has several.
        """
        size = self.bundle.image_size
        if not isinstance(source, Source):
            source = prepare_source(
                Path(source),
                self.face_model,
                size,
                landmarker=self._face_landmarker,
                matting=self._matting,
                face=face,
            )
        if source.picture.shape != (size, size, 3):
            raise HideNerfError(
                f"The source is {source.picture.shape[1]}×{source.picture.shape[0]}, this bundle needs {size}×{size}; "
                "prepare it again for this bundle."
            )
        if source.face_model != self.face_model.name:
            raise HideNerfError(
                f"The source was prepared with the face model {source.face_model}, this bundle has "
                f"{self.face_model.name}; prepare it again for this bundle."
            )
        at_rest = np.zeros(len(self.face_model.expression_names), np.float32)
        colours = self._sight_colours(source) if self.bundle.takes_face_sight else None
        self.backend.set_face(self.face_model, self.face_model.vertices_with_teeth(source.identity, at_rest), colours)
        self.backend.encode_source(**self._source_inputs(source))
        self.source = source
        return source

    def source_inputs(self) -> dict[str, Float]:
        """What the source encoder takes of the source, by name, drawn on the CPU.

        `source_image` [1, 3, S, S] in [0, 1], `source_camera` [1, 25], and `secc_canonical` [1, 3, Q, Q]. Errors: no
        source has been set.
        """
        if self.source is None:
            raise HideNerfError("No source has been set; call set_source before.")
        return self._source_inputs(self.source)

    def _source_inputs(self, source: Source) -> dict[str, Float]:
        picture = (source.picture.astype(np.float32) / 255.0).transpose(2, 0, 1)
        canonical = self.backend.draw_secc(source.expression)
        return {"source_image": picture[None], "source_camera": source.camera[None], "secc_canonical": canonical[None]}

    def render(self, expression: Float, camera: Float) -> tuple[Picture, Float]:
        """One frame: expression [E], camera [25] → picture [S, S, 3] uint8 RGB over black, alpha [S, S]."""
        return self.backend.render(self._checked(expression), np.asarray(camera, np.float32)[None])

    def draw_secc(self, expression: Float) -> Float:
        """Draw the SECC [3, Q, Q] of the source's shape with an expression [E], on the CPU."""
        return self.backend.draw_secc(self._checked(expression))

    def frame_inputs(self, expression: Float, camera: Float) -> dict[str, Float]:
        """What the graphs take of an expression [E] and a camera [25], by name, drawn on the CPU.

        `secc_driving` [1, 3, Q, Q], `camera` [1, 25], and `face_sight` [1, 4, S, S] if the bundle takes it.
        """
        return self.backend.frame_inputs(self._checked(expression), np.asarray(camera, np.float32)[None])

    def _sight_colours(self, source: Source) -> Float:
        # Only here: bundles without face sights run without OpenCV.
        from hidenerf.runtime.face_sight import sight_colours

        vertices = self.face_model.vertices_with_teeth(source.identity, source.expression)
        return sight_colours(self.face_model, vertices, source.camera)

    def _checked(self, expression: Float) -> Float:
        """The expression [E] in FP32. Errors: no source has been set, another number of coefficients."""
        if self.source is None:
            raise HideNerfError("No source has been set; call set_source before rendering.")
        count = len(self.face_model.expression_names)
        if np.shape(expression) != (count,):
            raise HideNerfError(
                f"The expression has shape {list(np.shape(expression))}, but the bundle's face model "
                f"{self.face_model.name} has {count} coefficients; give motion made for it."
            )
        return np.asarray(expression, np.float32)

    def open_driver(self, driving: Path | str, *, face: int | None = None, smoothing: float = 1.0) -> Driver:
        """The driver of a driving input for this bundle's face model; see `hidenerf.runtime.drivers.open_driver`."""
        return open_driver(
            str(driving),
            face_model=self.face_model,
            landmarker=self._face_landmarker,
            face=face,
            smoothing=smoothing,
            times=self.times,
        )

    def animate(
        self,
        driving: Driver | Path | str,
        *,
        motion: str = "absolute",
        view: View | None = None,
        background: str = "remove",
    ) -> Generator[AnimatedFrame, None, None]:
        """Frames of the source moved by `driving`, in order; motion is read and tracked ahead in a thread.

        motion: "absolute" or "relative", see `Retargeter`.
        view: free view, see `View`.
        background: "remove" leaves black around the head, "keep" puts the source's own background behind it.
        Errors: no source has been set; those of `open_driver`.
        """
        if self.source is None:
            raise HideNerfError("No source has been set; call set_source before animate.")
        driver = self.open_driver(driving) if isinstance(driving, (str, Path)) else driving
        retargeter = Retargeter(self.source, motion, view or View(), driver.expression_names)
        behind = self.source.background if background == "keep" else None
        try:
            with prefetch(driver, depth=1 if driver.live else 4, drop_oldest=driver.live) as ahead:
                for frame in ahead:
                    picture, alpha = self.render(*retargeter.apply(frame))
                    if behind is not None:
                        picture = composite_over(picture, alpha, behind)
                    yield AnimatedFrame(picture, alpha, frame)
        finally:
            driver.close()


def composite_over(picture: Picture, alpha: Float, background: Picture) -> Picture:
    """A picture that was rendered over black, over a background.

    picture, background: [S, S, 3] uint8 RGB.
    alpha: [S, S] float32 in [0, 1], the picture's opacity.
    """
    mixed = picture.astype(np.float32) + (1.0 - alpha[..., None]) * background.astype(np.float32)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
