"""ONNX Runtime on an NVIDIA GPU, with our kernels between its graphs on one stream.

LED and the refiner are sessions that ONNX Runtime captures as a CUDA graph each and replays; TriplaneRender and the
SECC are our kernels. A frame's tensors have fixed addresses on the device; the host waits once, for the finished frame.

ONNX Runtime's graphs cannot be recorded into one graph around all of them: a replay within a capture ends the process,
and without its own capture it frees memory while it is captured (its pull request 32081, which also measured that two
captured sessions on one stream, without waiting in between, take 2 % longer than one).
"""

import contextlib
import io
import math
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.base import Float
from hidenerf.runtime.bundle import EXPORT_AGAIN, Bundle, GraphSpec, KernelParts, TensorSpec
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.kernels.compile import cuda_core, nvrtc_version
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.launch import NON_FINITE_DEFORMATION, PLANES_OUT_OF_RANGE
from hidenerf.runtime.kernels.packing import pack_mlp
from hidenerf.runtime.kernels.renderer import TriplaneRenderer
from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.profiling import StageTimes

PROVIDER = "CUDAExecutionProvider"
INSTALL = "install it with: pip install 'hidenerf[cuda]'"
ERRORS_ONLY, FATAL_ONLY = 3, 4
STAGES = ("upload", "led", "triplane_render", "refiner", "download")
MLP_NAMES = ("weight_1", "bias_1", "weight_2", "bias_2")

# Provider options. A frame's sessions run thousands of times, so cuDNN may try every algorithm; the encoder's once.
# TF32 would take from FP32 bundles what they are exported for.
COMMON_OPTIONS = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
FRAME_OPTIONS = {"enable_cuda_graph": "1", "prefer_nhwc": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}
ENCODER_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
# Given back after the encoder has run: it needs many times the memory of a frame.
ENCODER_ARENA = "gpu:0"


def import_onnxruntime() -> Any:
    """The package. Errors: it is missing, or made for the CPU alone."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise HideNerfError(f"Running on an NVIDIA GPU needs onnxruntime-gpu; {INSTALL}") from None
    if PROVIDER not in onnxruntime.get_available_providers():
        raise HideNerfError(
            f"The installed onnxruntime {onnxruntime.__version__} is made for the CPU alone; for an NVIDIA GPU "
            "uninstall it and: pip install 'hidenerf[cuda]'"
        )
    return onnxruntime


def load_libraries(onnxruntime: Any) -> None:
    """Load CUDA's and cuDNN's libraries from NVIDIA's wheels; without them ONNX Runtime looks in the system's folders.

    What is missing shows when a session opens, so neither this nor ONNX Runtime shall print it.
    """
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


def open_session(onnxruntime: Any, graph: GraphSpec, options: dict[str, str], stream: int) -> Any:
    """A session of `graph` on the GPU whose work goes to `stream`; never one that has fallen back to the CPU."""
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = ERRORS_ONLY
    provider = (PROVIDER, COMMON_OPTIONS | options | {"user_compute_stream": str(stream)})
    try:
        session = onnxruntime.InferenceSession(str(graph.path), session_options, providers=[provider])
    except Exception as error:  # ONNX Runtime raises its own types, one for each status code
        raise HideNerfError(
            f"{graph.path}: ONNX Runtime does not load it for the GPU ({error}); export the bundle again."
        ) from None
    if session.get_providers()[0] != PROVIDER:
        raise HideNerfError(
            f"ONNX Runtime {onnxruntime.__version__} cannot start on the GPU, its CUDA or cuDNN libraries are missing "
            "or of another version; install them with: pip install 'hidenerf[cuda]'"
        )
    session.disable_fallback()
    return session


class OnnxRuntimeCuda:
    """See `Backend`. All calls from one thread: ONNX Runtime captures its graphs anew for another.

    Errors on opening: onnxruntime-gpu, cuda-core or NVRTC is missing, no usable GPU, a bundle without kernel parts.
    """

    name = "onnxruntime-cuda"

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        onnxruntime = import_onnxruntime()
        cuda_core()
        nvrtc_version()
        self._device = Device()
        self._sessions: dict[str, Any] = {}
        self._bindings: dict[str, Any] = {}
        self._times = times
        try:
            load_libraries(onnxruntime)
            self._open(onnxruntime, bundle, _require_parts(bundle))
        except BaseException as error:
            self.close()
            if isinstance(error, HideNerfError) or not isinstance(error, Exception):
                raise
            # The driver's wrappers raise their own types; whatever they say, there is another backend.
            raise HideNerfError(
                f"The CUDA backend does not start ({type(error).__name__}: {error}); use --backend onnxruntime-cpu."
            ) from error

    def _open(self, onnxruntime: Any, bundle: Bundle, parts: KernelParts) -> None:
        graphs = {"source_encoder": bundle.graphs["source_encoder"], "led": bundle.graphs["led"]}
        graphs["refiner"] = parts.refiner
        tensors = [t for graph in graphs.values() for t in (*graph.inputs.values(), *graph.outputs.values())]
        self._specs = {tensor.name: tensor for tensor in tensors}
        self._addresses = {name: self._device.allocate(_bytes(spec)) for name, spec in self._specs.items()}
        for name, graph in graphs.items():
            options = ENCODER_OPTIONS if name == "source_encoder" else FRAME_OPTIONS
            self._sessions[name] = open_session(onnxruntime, graph, options, self._device.stream)
            self._bindings[name] = self._bind(self._sessions[name], graph)
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._encoder_run_options = onnxruntime.RunOptions()
        self._encoder_run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", ENCODER_ARENA)

        sizes = RendererSizes.of_model(bundle.manifest["model"])
        self._renderer = TriplaneRenderer(sizes)
        packed = pack_mlp(sizes, *_mlp(parts))
        self._operands = self._put(packed.operands)
        self._feature_weight = self._put(packed.feature_weight)
        self._merged = self._device.allocate(sizes.merged_bytes)
        self._flags = self._device.allocate(4)
        self._planes = [f"planes_{level}" for level in range(sizes.levels)]

        inputs = ("source_image", "source_camera", "secc_canonical", "secc_driving", "camera")
        outputs = ("frame", "alpha")
        self._host = {
            name: self._device.host_array(self._specs[name].shape, self._specs[name].dtype)
            for name in (*inputs, *outputs)
        }
        self._host_flags = self._device.host_array((1,), np.int32)
        self._encoded = self._warned = False
        self._face: _Face | None = None
        # cuDNN chooses its algorithms and ONNX Runtime captures its graphs now, and what cannot run says so now.
        for name in ("source_camera", "camera"):
            self._host[name][:] = canonical_camera()
        self._encode(inputs[:3])
        self._run_frame(inputs[3:])

    def _bind(self, session: Any, graph: GraphSpec) -> Any:
        binding = session.io_binding()
        for specs, bind in ((graph.inputs, binding.bind_input), (graph.outputs, binding.bind_output)):
            for name, spec in specs.items():
                bind(name, self._device.kind, 0, spec.dtype.type, list(spec.shape), self._addresses[name])
        return binding

    def _put(self, array: NDArray[Any]) -> int:
        """A copy of an array on the device."""
        array = np.ascontiguousarray(array)
        address = self._device.allocate(array.nbytes)
        self._device.upload(address, array)
        self._device.synchronize()
        return address

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """See `Backend.encode_source`. Errors also: the source's features exceed FP16."""
        arrays = {"source_image": source_image, "source_camera": source_camera, "secc_canonical": secc_canonical}
        for name, array in arrays.items():
            self._set(name, array)
        self._device.use()
        self._encoded = self._warned = False
        with self._times.measure("source_encoder"):
            self._encode(arrays)
        if self._host_flags[0] & PLANES_OUT_OF_RANGE:
            raise HideNerfError(
                "The source's features exceed FP16's range (65504); run with --backend onnxruntime-cpu."
            )
        self._encoded = True

    def _encode(self, inputs: Iterable[str]) -> None:
        device = self._device
        self._upload(inputs)
        self._run("source_encoder", self._encoder_run_options)
        device.clear(self._flags, 4)
        planes = [self._addresses[name] for name in self._planes]
        half = self._specs[self._planes[0]].dtype == np.float16
        self._renderer.merge_planes(planes, half, self._feature_weight, self._merged, self._flags, device.stream)
        device.download(self._host_flags, self._flags)
        device.synchronize()

    def render(self, secc_driving: Float, camera: Float) -> tuple[NDArray[np.uint8], Float]:
        """See `Backend.render`."""
        self._require_source()
        self._set("secc_driving", secc_driving)
        self._set("camera", camera)
        return self._render(("secc_driving", "camera"))

    def set_face(self, face_model: FaceModel, neutral: Float) -> None:
        """See `SeccBackend.set_face`."""
        self._device.use()
        if self._face is None or self._face.model is not face_model:
            self._face = _Face(self, face_model, self._specs["secc_driving"].shape[-1])
        self._device.upload(self._face.neutral, np.ascontiguousarray(neutral, np.float32))
        self._device.synchronize()

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

    def _render(self, inputs: Iterable[str], face: "_Face | None" = None) -> tuple[NDArray[np.uint8], Float]:
        self._device.use()
        self._run_frame(inputs, face)
        for index, stage in enumerate(STAGES):
            self._times.add(stage, self._device.seconds_between(index, index + 1))
        if self._host_flags[0] & NON_FINITE_DEFORMATION and not self._warned:
            self._warned = True
            print("The deformation is not finite in places: those points are left empty.", file=sys.stderr)
        return self._host["frame"].copy(), self._host["alpha"].copy()

    def _run_frame(self, inputs: Iterable[str], face: "_Face | None" = None) -> None:
        device = self._device
        device.mark(0)
        self._upload(inputs)
        if face is not None:
            face.draw(self._addresses["secc_driving"], device.stream)
        device.clear(self._flags, 4)
        device.mark(1)
        self._run("led", self._run_options)
        device.mark(2)
        at = self._addresses
        self._renderer.render(
            at["deformation"],
            at["camera"],
            self._merged,
            self._operands,
            at["rendered"],
            at["rendered_alpha"],
            self._flags,
            device.stream,
            self._specs["rendered"].dtype == np.float16,
        )
        device.mark(3)
        self._run("refiner", self._run_options)
        device.mark(4)
        for name in ("frame", "alpha"):
            device.download(self._host[name], at[name])
        device.download(self._host_flags, self._flags)
        device.mark(5)
        device.synchronize()

    def _set(self, name: str, value: NDArray[Any]) -> None:
        expected = self._specs[name].shape
        if value.shape != expected:
            raise HideNerfError(f"{name} has shape {list(value.shape)} where the bundle needs {list(expected)}.")
        np.copyto(self._host[name], value, casting="same_kind")

    def _upload(self, names: Iterable[str]) -> None:
        for name in names:
            self._device.upload(self._addresses[name], self._host[name])

    def _run(self, graph: str, options: Any) -> None:
        try:
            self._sessions[graph].run_with_iobinding(self._bindings[graph], options)
        except Exception as error:  # ONNX Runtime raises its own types, one for each status code
            raise HideNerfError(
                f"The graph {graph} fails on the GPU ({error}); run with --backend onnxruntime-cpu."
            ) from None

    def close(self) -> None:
        """See `Backend.close`."""
        self._bindings.clear()
        self._sessions.clear()
        self._device.close()


class _Face:
    """A face model on the device: draws the SECC of an expression."""

    def __init__(self, backend: OnnxRuntimeCuda, model: FaceModel, size: int) -> None:
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


def _require_parts(bundle: Bundle) -> KernelParts:
    if bundle.kernel_parts is None:
        raise HideNerfError(
            f"{bundle.folder}: this bundle was made before the CUDA backend and lacks its parts; {EXPORT_AGAIN}."
        )
    return bundle.kernel_parts


def _mlp(parts: KernelParts) -> list[NDArray[Any]]:
    try:
        with np.load(parts.mlp_path, allow_pickle=False) as archive:
            return [archive[name] for name in MLP_NAMES]
    except (OSError, ValueError, KeyError) as error:
        raise HideNerfError(f"{parts.mlp_path}: not the renderer's weights ({error}); {EXPORT_AGAIN}.") from None


def _bytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * spec.dtype.itemsize
