"""`Backend`: the interface of everything that runs a bundle's graphs.

A backend runs the three graphs one after the other and keeps a source's features between frames.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.bundle import FACE_SIGHT, Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.profiling import StageTimes

Float = NDArray[np.float32]
Frame = tuple[NDArray[np.uint8], Float]


class Backend(ABC):
    """One open backend with one bundle.

    A subclass implements `load_graphs`, `encode_source`, `render_secc` and `close`. It may override `set_face` and
    `render` to draw SECCs where its graphs run; by default OpenCV draws them on the CPU.

    Sizes in shapes: S image, Q SECC, V vertices and E expression coefficients of the face model.

    name: the backend's name in the registry.
    """

    name: ClassVar[str]

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        """Open the backend.

        bundle: whose graphs to run.
        times: gets the time of every stage.
        Errors: whatever keeps the backend from running here, as one sentence that names another backend or the fix.
        """
        self._bundle = bundle
        self._times = times
        self._face_model: FaceModel | None = None
        self._neutral: Float | None = None
        self._sight_colours: Float | None = None
        self._frame_inputs = ("secc_driving", "camera", *([FACE_SIGHT] if bundle.takes_face_sight else []))

    @classmethod
    @abstractmethod
    def load_graphs(cls, bundle: Bundle) -> Mapping[str, Any]:
        """Load each of the bundle's graphs alone, for comparisons tensor by tensor (`calibration/parity`).

        Returns by graph name what runs it: an ONNX Runtime `InferenceSession`, or an `ICudaEngine` for a backend that
        runs engines. Errors: as for opening the backend.
        """

    @property
    def frame_precision(self) -> str:
        """Precision of the arithmetic behind a frame: "fp32", "fp16" or "int8"."""
        return self._bundle.precision

    @abstractmethod
    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """Run the source encoder and keep its features; once per source.

        source_image: [1, 3, S, S] in [0, 1].
        source_camera: [1, 25].
        secc_canonical: [1, 3, Q, Q], the SECC of the source's expression.
        Errors: an array of another shape.
        """

    @abstractmethod
    def render_secc(self, secc_driving: Float, camera: Float, face_sight: Float | None = None) -> Frame:
        """Render one frame from a SECC that is already drawn.

        secc_driving: [1, 3, Q, Q].
        camera: [1, 25].
        face_sight: [1, 4, S, S], of a bundle that takes it.
        Returns the frame [S, S, 3], uint8 RGB over black, and its alpha [S, S]. Both arrays are the caller's own.
        Errors: no source has been encoded, an array of another shape, a face sight missing or not taken.
        """

    def _named_inputs(self, secc_driving: Float, camera: Float, face_sight: Float | None) -> dict[str, Float]:
        """The arguments of `render_secc` by the names of the graphs' inputs."""
        given = (secc_driving, camera, *([] if face_sight is None else [face_sight]))
        if len(given) != len(self._frame_inputs):
            raise HideNerfError(f"A frame of this bundle takes {', '.join(self._frame_inputs)}; give these.")
        return dict(zip(self._frame_inputs, given, strict=True))

    def set_face(self, face_model: FaceModel, neutral: Float, sight_colours: Float | None = None) -> None:
        """Set the face whose SECCs `render` draws; once per source.

        face_model: the bundle's face model.
        neutral: [V + T, 3], the source's face and teeth without expression (`FaceModel.vertices_with_teeth`).
        sight_colours: [V + T, 4], of `face_sight.sight_colours`, for a bundle that takes the face sight.
        Errors: such a bundle without them; a shape of another number of vertices.
        """
        face_model.require_with_teeth(neutral)
        if self._bundle.takes_face_sight and sight_colours is None:
            raise HideNerfError("This bundle takes the face sight; set the face with the source's sight colours.")
        self._face_model, self._neutral, self._sight_colours = face_model, neutral, sight_colours

    def draw_secc(self, expression: Float) -> Float:
        """Draw the SECC [3, Q, Q] of the face that was set, on the CPU (Eq. 3 as read in DESIGN §8).

        expression: [E].
        Errors: no face has been set.
        """
        # Only here: a backend that draws on the GPU runs without OpenCV.
        from hidenerf.runtime.secc import secc

        face_model, vertices = self._posed_face(expression)
        with self._times.measure("secc"):
            return secc(vertices[: len(face_model.mean)], face_model, self._bundle.secc_size)

    def draw_face_sight(self, expression: Float, camera: Float) -> Float:
        """Draw the sight [4, S, S] of the face that was set, on the CPU (`hidenerf.runtime.face_sight`).

        expression: [E].
        camera: [25].
        Errors: no face has been set, or one without sight colours.
        """
        from hidenerf.runtime.face_sight import face_sight

        face_model, vertices = self._posed_face(expression)
        if self._sight_colours is None:
            raise HideNerfError("The face was set without sight colours; set it with them before drawing its sight.")
        with self._times.measure("face_sight"):
            return face_sight(face_model, vertices, camera, self._sight_colours, self._bundle.image_size)

    def frame_inputs(self, expression: Float, camera: Float) -> dict[str, Float]:
        """The arguments of `render_secc` by name, drawn on the CPU.

        expression: [E].
        camera: [1, 25].
        Errors: no face has been set.
        """
        inputs = {"secc_driving": self.draw_secc(expression)[None], "camera": camera}
        if self._bundle.takes_face_sight:
            inputs[FACE_SIGHT] = self.draw_face_sight(expression, camera[0])[None]
        return inputs

    def _posed_face(self, expression: Float) -> tuple[FaceModel, Float]:
        """The face model, and the vertices [V + T, 3] of face and teeth that were set, with an expression [E]."""
        if self._face_model is None or self._neutral is None:
            raise HideNerfError("No face has been set yet; set one before drawing it.")
        return self._face_model, self._neutral + self._face_model.offsets_with_teeth(expression)

    def render(self, expression: Float, camera: Float) -> Frame:
        """Render one frame from an expression.

        expression: [E].
        camera: [1, 25].
        Returns what `render_secc` returns. Errors: no source has been encoded, no face has been set.
        """
        return self.render_secc(**self.frame_inputs(expression, camera))

    @abstractmethod
    def close(self) -> None:
        """Free sessions and buffers."""
