"""What backends on a GPU share: tensors at fixed addresses, a frame that is one CUDA graph, the SECC drawn there.

All of a frame, from the inputs on the host to the frame on the host, is asked of one stream. It is captured once as one
CUDA graph, then a frame is one launch and the host waits once.
"""

import contextlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.base import Float
from hidenerf.runtime.bundle import TensorSpec
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
from hidenerf.runtime.profiling import StageTimes

SOURCE_INPUTS = ("source_image", "source_camera", "secc_canonical")
FRAME_INPUTS = ("secc_driving", "camera")
FRAME_OUTPUTS = ("frame", "alpha")
# Before a frame is captured: the first chooses algorithms, the second plans memory, and in the third ONNX Runtime
# captures its own CUDA graph, if it does.
TRIAL_RUNS = 3


class DeviceBackend(ABC):
    """A `SeccBackend` whose graphs a subclass runs. All calls from one thread.

    title: the backend's name for people. stages: what a frame's time is measured in, "upload" first, "download" last.
    """

    name: str
    title: ClassVar[str]
    stages: ClassVar[tuple[str, ...]]

    def __init__(self, device: Device, times: StageTimes) -> None:
        self._device = device
        self._times = times
        self._specs: dict[str, TensorSpec] = {}
        self._addresses: dict[str, int] = {}
        self._host: dict[str, NDArray[Any]] = {}
        self._downloads: list[tuple[NDArray[Any], int]] = []
        # By the inputs that come from the host; None where frames are not captured here.
        self._captured: dict[tuple[str, ...], Any] | None = {}
        self._face: DrawnFace | None = None
        self._encoded = False

    @abstractmethod
    def _encode(self) -> None:
        """Upload `SOURCE_INPUTS`, run the source encoder, and wait for it."""

    @abstractmethod
    def _start(self, stage: str) -> None:
        """Ask the stream for one of the stages between upload and download."""

    @abstractmethod
    def _give_up_capture(self) -> bool:
        """Make the graphs ready for frames that are not captured; whether they have CUDA graphs of their own then."""

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Around a subclass's opening: where it fails nothing stays open, and what is said is one sentence."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, HideNerfError) or not isinstance(error, Exception):
                raise
            # The driver's wrappers raise their own types; whatever they say, there is another backend.
            raise HideNerfError(
                f"The {self.title} backend does not start ({type(error).__name__}: {error}); use --backend "
                "onnxruntime-cpu."
            ) from error

    def _allocate(self, tensors: Iterable[TensorSpec]) -> None:
        """Tensors on the device, one for each name, and what of them is on the host too."""
        self._specs = {tensor.name: tensor for tensor in tensors}
        self._addresses = {name: self._device.allocate(_bytes(spec)) for name, spec in self._specs.items()}
        self._host = {
            name: self._device.host_array(self._specs[name].shape, self._specs[name].dtype)
            for name in (*SOURCE_INPUTS, *FRAME_INPUTS, *FRAME_OUTPUTS)
        }
        self._downloads = [(self._host[name], self._addresses[name]) for name in FRAME_OUTPUTS]

    def _warm_up(self) -> None:
        """Algorithms are chosen and the frame is captured now, and what cannot run says so now."""
        for name in ("source_image", "secc_canonical"):
            self._host[name][:] = np.random.default_rng(0).random(self._host[name].shape)
        self._host["source_camera"][:] = canonical_camera()
        self._encode()
        self._capture(FRAME_INPUTS)

    def _put(self, array: NDArray[Any]) -> int:
        """A copy of an array on the device."""
        array = np.ascontiguousarray(array)
        address = self._device.allocate(array.nbytes)
        self._device.upload(address, array)
        self._device.synchronize()
        return address

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """See `Backend.encode_source`."""
        for name, array in zip(SOURCE_INPUTS, (source_image, source_camera, secc_canonical), strict=True):
            self._set(name, array)
        self._device.use()
        self._encoded = False
        with self._times.measure("source_encoder"):
            self._encode()
        self._encoded = True

    def render(self, secc_driving: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """See `Backend.render`."""
        self._require_source()
        self._set("secc_driving", secc_driving)
        self._set("camera", camera)
        return self._render(FRAME_INPUTS, None)

    def set_face(self, face_model: FaceModel, neutral: Float) -> None:
        """See `SeccBackend.set_face`."""
        self._device.use()
        known = self._face is not None and self._face.model is face_model
        if self._face is None or not known:
            self._face = DrawnFace(self, face_model, self._specs["secc_driving"].shape[-1])
        self._device.upload(self._face.neutral, np.ascontiguousarray(neutral, np.float32))
        self._device.synchronize()
        if not known:
            self._capture(("camera",), self._face)

    def render_expression(self, expression: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """See `SeccBackend.render_expression`."""
        self._require_source()
        if self._face is None:
            raise HideNerfError("No face has been set yet; set one before rendering an expression.")
        self._set("camera", camera)
        np.copyto(self._face.host_expression, expression)
        return self._render(("camera",), self._face)

    def _require_source(self) -> None:
        if not self._encoded:
            raise HideNerfError("No source has been encoded yet; set one before rendering.")

    def _render(self, inputs: tuple[str, ...], face: "DrawnFace | None") -> tuple[NDArray[np.uint8], Float]:
        self._device.use()
        self._run_frame(inputs, face)
        for index, stage in enumerate(self.stages):
            self._times.add(stage, self._device.seconds_between(index, index + 1))
        return self._host["frame"].copy(), self._host["alpha"].copy()

    def _run_frame(self, inputs: tuple[str, ...], face: "DrawnFace | None") -> None:
        captured = (self._captured or {}).get(inputs)
        if captured is None:
            self._start_frame(inputs, face)
        else:
            self._device.launch(captured)
        self._device.synchronize()

    def _capture(self, inputs: tuple[str, ...], face: "DrawnFace | None" = None) -> None:
        """From now on a frame from these inputs is one CUDA graph, if that is possible here."""
        if self._captured is not None:
            self._captured.pop(inputs, None)
        expected = self._trial_frames(inputs, face)
        if self._captured is None:
            return
        try:
            self._captured[inputs] = self._device.capture(lambda: self._start_frame(inputs, face))
            if self._trial_frames(inputs, face) != expected:
                raise HideNerfError("a launch of the graph gives another frame")
        except Exception as error:  # what runs the graphs and the driver's wrappers raise their own types
            reason = " ".join(str(error).partition(";")[0].split())
            self._captured = None
            parts = ", its parts are" if self._give_up_capture() else ""
            print(f"A frame is not one CUDA graph here{parts}: {reason}.", file=sys.stderr)
            self._trial_frames(inputs, face)

    def _trial_frames(self, inputs: tuple[str, ...], face: "DrawnFace | None") -> list[bytes]:
        """Frames of some poses, which are not the same."""
        varied = self._host["secc_driving"] if face is None else face.host_expression
        frames = []
        for trial in range(TRIAL_RUNS):
            varied[:] = np.random.default_rng(trial).random(varied.shape)
            self._host["camera"][:] = canonical_camera(yaw=15.0 * trial)
            self._run_frame(inputs, face)
            # Marks within a graph could fail to measure.
            self._device.seconds_between(0, len(self.stages))
            frames.append(b"".join(self._host[name].tobytes() for name in FRAME_OUTPUTS))
        return frames

    def _start_frame(self, inputs: tuple[str, ...], face: "DrawnFace | None") -> None:
        """Ask the stream for a whole frame, from the inputs on the host to the frame on the host."""
        device = self._device
        device.mark(0)
        self._upload(inputs)
        if face is not None:
            face.draw(self._addresses["secc_driving"], device.stream)
        for index, stage in enumerate(self.stages[1:-1], start=1):
            device.mark(index)
            self._start(stage)
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


class DrawnFace:
    """A face model on the device: draws the SECC of an expression."""

    def __init__(self, backend: DeviceBackend, model: FaceModel, size: int) -> None:
        self.model = model
        expressions = len(model.expression_names)
        device = backend._device
        self._device = device
        self._drawer = SeccDrawer(len(model.mean), expressions, len(model.triangles), size)
        self._basis = backend._put(np.asarray(model.flat_expression_basis, np.float32))
        self._triangles = backend._put(np.asarray(model.triangles, np.int32))
        self._colours = backend._put(np.asarray(model.ncc, np.float32))
        self.neutral = device.allocate(12 * len(model.mean))
        self._vertices = device.allocate(12 * len(model.mean))
        self._expression = device.allocate(4 * expressions)
        self._keys = device.allocate(8 * size * size)
        self.host_expression = device.host_array((expressions,), np.float32)

    def draw(self, secc: int, stream: int) -> None:
        """`host_expression` → SECC [1, 3, Q, Q] at `secc`; asynchronous."""
        self._device.upload(self._expression, self.host_expression)
        self._drawer.vertices(self.neutral, self._basis, self._expression, self._vertices, stream)
        self._drawer.draw(self._vertices, self._triangles, self._colours, self._keys, secc, stream)


def _bytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * spec.dtype.itemsize
