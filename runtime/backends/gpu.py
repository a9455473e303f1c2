"""`GpuBackend`: what backends on an NVIDIA GPU share.

Tensors stay at fixed addresses. A whole frame, from the inputs on the host to the frame on the host, is enqueued on one
stream, but for the face sight: LED does not read it, so that a second stream draws or uploads it beside LED. The frame
is captured once as one CUDA graph; then it is one launch, and the host waits once. Our kernels draw the SECC and the
face sight on the GPU.
"""

import contextlib
import logging
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.base import Backend, Float, Frame
from hidenerf.runtime.backends.registry import backend_entry
from hidenerf.runtime.bundle import FACE_SIGHT, Bundle
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
from hidenerf.runtime.manifest import TensorSpec
from hidenerf.runtime.profiling import StageTimes

logger = logging.getLogger(__name__)

SOURCE_INPUTS = ("source_image", "source_camera", "secc_canonical")
FRAME_OUTPUTS = ("frame", "alpha")
# Runs of a frame before it is captured: the first chooses algorithms, the second plans memory, and in the third ONNX
# Runtime captures its own CUDA graph, if it does.
TRIAL_RUNS = 3


class GpuBackend(Backend):
    """A backend whose graphs a subclass runs on the GPU. All calls must come from one thread.

    stages: into what a frame's time is divided, "upload" first, then "led", and "download" last.
    """

    stages: ClassVar[tuple[str, ...]]

    def __init__(self, bundle: Bundle, times: StageTimes, device: Device) -> None:
        """See `Backend`. device: the GPU; `close` closes it."""
        super().__init__(bundle, times)
        self._device = device
        self._specs: dict[str, TensorSpec] = {}
        self._addresses: dict[str, int] = {}
        self._host: dict[str, NDArray[Any]] = {}
        self._downloads: list[tuple[NDArray[Any], int]] = []
        # The captured frames, by the inputs that come from the host. None where frames cannot be captured.
        self._captured: dict[tuple[str, ...], Any] | None = {}
        self._face: GpuFace | None = None
        self._encoded = False

    @abstractmethod
    def _encode(self) -> None:
        """Upload `SOURCE_INPUTS`, run the source encoder, and wait for it."""

    @abstractmethod
    def _enqueue(self, stage: str) -> None:
        """Enqueue one of the stages between upload and download."""

    @abstractmethod
    def _prepare_uncaptured(self) -> bool:
        """Prepare for frames that are not captured. Returns True if each graph captures its own CUDA graph then."""

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """Around a subclass's opening: on any error everything is closed, and the error becomes one sentence."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, HideNerfError) or not isinstance(error, Exception):
                raise
            # The wrappers of the GPU driver raise their own types.
            raise HideNerfError(
                f"The {backend_entry(self.name).title} backend does not start ({type(error).__name__}: {error}); use "
                "--backend onnxruntime-cpu."
            ) from error

    def _allocate(self, tensors: Iterable[TensorSpec]) -> None:
        """Allocate every tensor once by its name, on the GPU and, for inputs and outputs of a frame, on the host."""
        self._specs = {tensor.name: tensor for tensor in tensors}
        self._addresses = {name: self._device.allocate(_bytes(spec)) for name, spec in self._specs.items()}
        self._host = {
            name: self._device.host_array(self._specs[name].shape, self._specs[name].dtype)
            for name in (*SOURCE_INPUTS, *self._frame_inputs, *FRAME_OUTPUTS)
        }
        self._downloads = [(self._host[name], self._addresses[name]) for name in FRAME_OUTPUTS]

    def _warm_up(self) -> None:
        """Run everything once, so that algorithms are chosen, the frame is captured, and errors appear on opening."""
        for name in ("source_image", "secc_canonical"):
            self._host[name][:] = np.random.default_rng(0).random(self._host[name].shape)
        self._host["source_camera"][:] = canonical_camera()
        self._encode()
        self._capture(self._frame_inputs)

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """See `Backend.encode_source`."""
        for name, array in zip(SOURCE_INPUTS, (source_image, source_camera, secc_canonical), strict=True):
            self._set(name, array)
        self._device.use()
        self._encoded = False
        with self._times.measure("source_encoder"):
            self._encode()
        self._encoded = True

    def render_secc(self, secc_driving: Float, camera: Float, face_sight: Float | None = None) -> Frame:
        """See `Backend.render_secc`."""
        self._require_source()
        for name, array in self._named_inputs(secc_driving, camera, face_sight).items():
            self._set(name, array)
        return self._render(self._frame_inputs, None)

    def set_face(self, face_model: FaceModel, neutral: Float, sight_colours: Float | None = None) -> None:
        """See `Backend.set_face`."""
        super().set_face(face_model, neutral, sight_colours)
        self._device.use()
        if self._face is not None and self._face.model is face_model:
            self._face.set_neutral(neutral, sight_colours)
            return
        sight_size = self._specs[FACE_SIGHT].shape[-1] if self._bundle.takes_face_sight else 0
        self._face = GpuFace(self._device, face_model, self._specs["secc_driving"].shape[-1], sight_size)
        self._face.set_neutral(neutral, sight_colours)
        self._capture(("camera",), self._face)

    def render(self, expression: Float, camera: Float) -> Frame:
        """See `Backend.render`; SECC and face sight are drawn on the GPU."""
        self._require_source()
        if self._face is None:
            raise HideNerfError("No face has been set yet; set one before rendering an expression.")
        self._set("camera", camera)
        np.copyto(self._face.host_expression, expression)
        return self._render(("camera",), self._face)

    def _require_source(self) -> None:
        if not self._encoded:
            raise HideNerfError("No source has been encoded yet; set one before rendering.")

    def _render(self, inputs: tuple[str, ...], face: "GpuFace | None") -> Frame:
        self._device.use()
        self._run_frame(inputs, face)
        for index, stage in enumerate(self.stages):
            self._times.add(stage, self._device.seconds_between(index, index + 1))
        return self._host["frame"].copy(), self._host["alpha"].copy()

    def _run_frame(self, inputs: tuple[str, ...], face: "GpuFace | None") -> None:
        captured = (self._captured or {}).get(inputs)
        if captured is None:
            self._enqueue_frame(inputs, face)
        else:
            self._device.launch(captured)
        self._device.synchronize()

    def _capture(self, inputs: tuple[str, ...], face: "GpuFace | None" = None) -> None:
        """Capture a frame from these inputs as one CUDA graph. Where that fails, frames are enqueued from now on."""
        if self._captured is not None:
            self._captured.pop(inputs, None)
        expected = self._trial_frames(inputs, face)
        if self._captured is None:
            return
        try:
            self._captured[inputs] = self._device.capture(lambda: self._enqueue_frame(inputs, face))
            if self._trial_frames(inputs, face) != expected:
                raise HideNerfError("a launch of the graph gives another frame")
        except Exception as error:  # what runs the graphs and the driver's wrappers raise their own types
            reason = " ".join(str(error).partition(";")[0].split())
            self._captured = None
            parts = ", its parts are" if self._prepare_uncaptured() else ""
            logger.warning("A frame is not one CUDA graph here%s: %s.", parts, reason)
            self._trial_frames(inputs, face)

    def _trial_frames(self, inputs: tuple[str, ...], face: "GpuFace | None") -> list[bytes]:
        """Render `TRIAL_RUNS` frames that differ from each other."""
        drawn = [self._host[name] for name in inputs if name != "camera"]
        frames = []
        for trial in range(TRIAL_RUNS):
            for varied in drawn if face is None else [face.host_expression]:
                varied[:] = np.random.default_rng(trial).random(varied.shape)
            self._host["camera"][:] = canonical_camera(yaw=15.0 * trial)
            self._run_frame(inputs, face)
            # Fails here, and not in a frame of the user's, if marks within a graph cannot be measured.
            self._device.seconds_between(0, len(self.stages))
            frames.append(b"".join(self._host[name].tobytes() for name in FRAME_OUTPUTS))
        return frames

    def _enqueue_frame(self, inputs: tuple[str, ...], face: "GpuFace | None") -> None:
        """Enqueue a whole frame, from the inputs on the host to the frame on the host."""
        device, at = self._device, self._addresses
        device.mark(0)
        self._upload(name for name in inputs if name != FACE_SIGHT)
        if face is not None:
            face.draw_secc(at["secc_driving"])
        beside = FACE_SIGHT in self._frame_inputs
        if beside:
            device.fork()
            if face is not None:
                face.draw_sight(at["camera"], at[FACE_SIGHT], device.side_stream)
            else:
                device.upload(at[FACE_SIGHT], self._host[FACE_SIGHT], device.side_stream)
        for index, stage in enumerate(self.stages[1:-1], start=1):
            device.mark(index)
            self._enqueue(stage)
            if beside and stage == "led":
                device.join()
        device.mark(len(self.stages) - 1)
        for array, address in self._downloads:
            device.download(array, address)
        device.mark(len(self.stages))

    def _set(self, name: str, value: NDArray[Any]) -> None:
        expected = self._specs[name].shape
        if value.shape != expected:
            raise HideNerfError(f"{name} has shape {list(value.shape)} where the bundle needs {list(expected)}.")
        np.copyto(self._host[name], value, casting="same_kind")

    def _upload(self, names: Iterable[str]) -> None:
        for name in names:
            self._device.upload(self._addresses[name], self._host[name])

    def close(self) -> None:
        """See `Backend.close`."""
        self._device.close()


class GpuFace:
    """A face model on the GPU, whose SECC and sight our kernels draw.

    host_expression: [E], page-locked; the expression that is drawn.
    """

    def __init__(self, device: Device, model: FaceModel, size: int, sight_size: int = 0) -> None:
        """Upload the model.

        device: owns all memory allocated here.
        model: the face model.
        size: side of the SECC in pixels.
        sight_size: side of the face sight in pixels; 0 where none is drawn.
        """
        self.model = model
        self._device = device
        expressions = len(model.expression_names)
        vertices, triangles = len(model.mean_with_teeth), model.triangles_with_teeth
        # The face's vertices and triangles come first: a SECC leaves the teeth's triangles out.
        self._drawer = SeccDrawer(vertices, expressions, len(model.triangles), size)
        self._sight_drawer = (
            SeccDrawer(vertices, expressions, len(triangles), sight_size, face_sight=True) if sight_size else None
        )
        self._basis = device.allocate_copy(np.asarray(model.expression_basis_with_teeth, np.float32))
        self._triangles = device.allocate_copy(np.asarray(triangles, np.int32))
        self._colours = device.allocate_copy(np.asarray(model.ncc, np.float32))
        self._neutral = device.allocate(12 * vertices)
        self._vertices = device.allocate(12 * vertices)
        self._expression = device.allocate(4 * expressions)
        self._keys = device.allocate(8 * size * size)
        self._sight_colours = device.allocate(16 * vertices)
        self._screen = device.allocate(12 * vertices)
        self._sight_keys = device.allocate(8 * sight_size * sight_size)
        self.host_expression = device.host_array((expressions,), np.float32)

    def set_neutral(self, neutral: Float, sight_colours: Float | None = None) -> None:
        """Upload face and teeth without expression [V + T, 3] and their sight's colours [V + T, 4], and wait for it."""
        self._device.upload(self._neutral, np.ascontiguousarray(neutral, np.float32))
        if sight_colours is not None:
            self._device.upload(self._sight_colours, np.ascontiguousarray(sight_colours, np.float32))
        self._device.synchronize()

    def draw_secc(self, secc: int) -> None:
        """Enqueue the vertices of `host_expression` and their SECC. secc: address, FP32 [1, 3, Q, Q], a result."""
        stream = self._device.stream
        self._device.upload(self._expression, self.host_expression)
        self._drawer.vertices(self._neutral, self._basis, self._expression, self._vertices, stream)
        self._drawer.draw(self._vertices, self._triangles, self._colours, self._keys, secc, stream)

    def draw_sight(self, camera: int, face_sight: int, stream: int) -> None:
        """Enqueue the sight of the vertices that `draw_secc` has computed.

        camera, face_sight: addresses, FP32 [1, 25], and [1, 4, S, S], a result. stream: handle of the stream.
        """
        if self._sight_drawer is None:
            raise AssertionError("a face whose sight is drawn has a size of it")
        self._sight_drawer.screen(self._vertices, camera, self._screen, stream)
        drawn = self._screen, self._triangles, self._sight_colours
        self._sight_drawer.draw(*drawn, self._sight_keys, face_sight, stream)


def _bytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * spec.dtype.itemsize
