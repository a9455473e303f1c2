"""ONNX Runtime on an NVIDIA GPU, with our kernels between its graphs on one stream.

LED's encoder and decoder and the refiner are ONNX Runtime sessions; RaySamples, TriplaneRender, AlignSource and SECCs
are our kernels, and so are LED and the refiner of a bundle that has launch plans of them. A frame is one CUDA graph
(`gpu.py`).

The sessions are opened without ONNX Runtime's own CUDA graphs, because replaying one within a capture ends the process
(ONNX Runtime pull request 32081). From the third run on, a run on our stream is plain launches: memory and algorithms
have settled. `Device.capture` handles the callbacks that a run leaves on the stream. Where the capture fails, or its
frames differ from those of the launches, the sessions are opened again, each with a CUDA graph of its own.
"""

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.base import Float, Frame
from hidenerf.runtime.backends.gpu import SOURCE_INPUTS, GpuBackend, GpuFace
from hidenerf.runtime.backends.onnxruntime_session import open_session
from hidenerf.runtime.backends.planned_graphs import PlannedRefiner, place_among_maps, planned_led
from hidenerf.runtime.bundle import (
    FACE_SIGHT,
    IN_FRAME,
    LED_DECODER,
    LED_ENCODER,
    LOOKED_UP,
    LOOKUP_FEATURES,
    POINTS,
    Bundle,
    GraphSpec,
    KernelParts,
)
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.compile import cuda_core, nvrtc_version
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.kernels.launch import NON_FINITE_DEFORMATION, PLANES_OUT_OF_RANGE
from hidenerf.runtime.kernels.packing import pack_mlp
from hidenerf.runtime.kernels.plan_executor import PlanExecutor
from hidenerf.runtime.kernels.ray_sampler import RaySampler, SampleSizes
from hidenerf.runtime.kernels.renderer import TriplaneRenderer
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.kernels.source_aligner import (
    SURFACE,
    OwnPixels,
    SourceAligner,
    SourceMap,
    StemInput,
    sampling_table,
    sampling_table_last,
    scratch_numbers,
)
from hidenerf.runtime.manifest import EXPORT_AGAIN
from hidenerf.runtime.profiling import StageTimes

logger = logging.getLogger(__name__)

PROVIDER = "CUDAExecutionProvider"
INSTALL = "install it with: pip install 'hidenerf[cuda]'"
FATAL_ONLY = 4
# "align" is empty for models without an aligned identity path.
STAGES = ("upload", "led", "triplane_render", "align", "refiner", "download")
# Inputs of the refiner of a model with an aligned identity path (`model.refinement.RefinerInputs`).
STEM_INPUT, DETAIL_INPUT, ENLARGER_INPUT, OWN, SHOWN = "stem_input", "detail_input", "enlarger_input", "own", "shown"
# The canonical points composited.
PLACE = "place"
# Arrays of the kernels' weights: the renderer's MLP, and the aligner's.
MLP_NAMES = ("weight_1", "bias_1", "weight_2", "bias_2")
ABSENT = "absent"

# Provider options. The sessions of a frame run thousands of times, so cuDNN tries every algorithm; the encoder runs
# once per source.
FRAME_OPTIONS = {"prefer_nhwc": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}
OWN_GRAPH_OPTIONS = FRAME_OPTIONS | {"enable_cuda_graph": "1"}
ENCODER_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
# ONNX Runtime's memory arena. It is shrunk after the encoder, which needs many times the memory of a frame, and after
# the first run of a frame's session, whose search for algorithms needs workspaces that the chosen ones do not need.
ARENA = "gpu:0"


def import_onnxruntime() -> Any:
    """Import ONNX Runtime. Errors: it is not installed, or was built for the CPU alone."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise HideNerfError(f"Running on an NVIDIA GPU needs onnxruntime-gpu; {INSTALL}") from None
    if PROVIDER not in onnxruntime.get_available_providers():
        raise HideNerfError(
            f"The installed onnxruntime {onnxruntime.__version__} is made for the CPU alone; for an NVIDIA GPU "
            "uninstall it and run: pip install 'hidenerf[cuda]'"
        )
    return onnxruntime


def load_libraries(onnxruntime: Any) -> None:
    """Load the CUDA and cuDNN libraries of NVIDIA's wheels; otherwise ONNX Runtime looks in the system's folders.

    A missing library is reported when a session opens, so this silences what preloading prints.
    """
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


def provider_options(graph: GraphSpec) -> dict[str, str]:
    """Options of a graph's session on the GPU.

    TF32 would discard the precision FP32 graphs exist for. FP16 graphs need the option: without it ONNX Runtime lets
    no convolution use tensor cores.
    """
    fp16 = any(tensor.dtype == np.float16 for tensor in (*graph.inputs.values(), *graph.outputs.values()))
    common = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}
    return common | {"use_tf32": "1" if fp16 else "0"}


def open_gpu_session(onnxruntime: Any, graph: GraphSpec, options: dict[str, str]) -> Any:
    """Open a session on the GPU; never one that has fallen back to the CPU.

    onnxruntime: the package, with its libraries loaded.
    graph: whose file to load.
    options: provider options beyond those of `provider_options`.
    Errors: ONNX Runtime does not load the file, or CUDA and cuDNN do not fit it.
    """
    session = open_session(onnxruntime, graph, PROVIDER, provider_options(graph) | options)
    if session.get_providers()[0] != PROVIDER:
        raise HideNerfError(
            f"ONNX Runtime {onnxruntime.__version__} cannot start on the GPU, its CUDA or cuDNN libraries are missing "
            "or of another version; install them with: pip install 'hidenerf[cuda]'"
        )
    session.disable_fallback()
    return session


class OnnxRuntimeCudaBackend(GpuBackend):
    """See `Backend`. All calls must come from one thread: ONNX Runtime captures its CUDA graphs per thread.

    Errors on opening: onnxruntime-gpu, cuda-core or NVRTC is missing, no usable GPU, a bundle without kernel parts.
    """

    name = "onnxruntime-cuda"
    stages = STAGES

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        onnxruntime = import_onnxruntime()
        cuda_core()
        nvrtc_version()
        super().__init__(bundle, times, Device())
        self._sessions: dict[str, Any] = {}
        self._bindings: dict[str, Any] = {}
        self._warned = False
        with self._closing_on_error():
            load_libraries(onnxruntime)
            self._open(onnxruntime, bundle, _require_parts(bundle))

    @classmethod
    def load_graphs(cls, bundle: Bundle) -> dict[str, Any]:
        """See `Backend.load_graphs`. In these TriplaneRender is ONNX Runtime's operators and not our kernel."""
        onnxruntime = import_onnxruntime()
        load_libraries(onnxruntime)
        return {name: open_gpu_session(onnxruntime, graph, {}) for name, graph in bundle.graphs.items()}

    @property
    def frame_precision(self) -> str:
        """See `Backend.frame_precision`. Our kernel multiplies in FP16, also between FP32 graphs."""
        return "fp16" if self._bundle.precision == "fp32" else self._bundle.precision

    def _open(self, onnxruntime: Any, bundle: Bundle, parts: KernelParts) -> None:
        encoder = bundle.graphs["source_encoder"]
        planned = parts.refiner_plan is not None
        led = _led_parts(bundle, parts)
        self._frame_graphs = [*([] if parts.led_plan else led), *([] if planned else [parts.refiner])]
        # A plan has maps of its own between LED's inputs and its output.
        graphs = [encoder, bundle.graphs["led"], *([] if parts.led_plan else led), parts.refiner]
        tensors = [t for graph in graphs for t in (*graph.inputs.values(), *graph.outputs.values())]
        if planned:
            # The plan has these maps, with channels last.
            tensors = [tensor for tensor in tensors if not tensor.name.startswith(IN_FRAME)]
        if bundle.takes_face_sight:
            tensors.append(bundle.graphs["renderer_refiner"].inputs[FACE_SIGHT])
        self._allocate(tensors)
        self._onnxruntime = onnxruntime
        self._open_session(encoder, ENCODER_OPTIONS)
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._shrinking_run_options = onnxruntime.RunOptions()
        self._shrinking_run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", ARENA)
        for graph in self._frame_graphs:
            self._open_session(graph, FRAME_OPTIONS)
            self._run(graph.name, self._shrinking_run_options)

        self._led: PlanExecutor | None = None
        if parts.led_plan is not None:
            self._led = planned_led(self._device, bundle, parts.led_plan, self._addresses)
        else:
            self._sampler = RaySampler(SampleSizes.of_model(bundle.manifest.model.config))
        sizes = RendererSizes.of_model(bundle.manifest.model.config)
        self._aligned = bool(sizes.place)
        self._refiner: PlannedRefiner | None = None
        if planned:
            absent = _weights(parts, [ABSENT])[0] if self._aligned else None
            self._refiner = PlannedRefiner(self._device, bundle, parts, self._addresses, absent)
        if self._aligned:
            self._open_aligner(parts, encoder)
        self._renderer = TriplaneRenderer(sizes)
        packed = pack_mlp(sizes, *_weights(parts, MLP_NAMES))
        self._operands = self._device.allocate_copy(packed.operands)
        self._feature_weight = self._device.allocate_copy(packed.feature_weight)
        self._merged = self._device.allocate(sizes.merged_bytes)
        self._planes = [f"planes_{level}" for level in range(sizes.levels)]
        self._flags = self._device.allocate(4)
        self._host_flags = self._device.host_array((1,), np.int32)
        self._downloads.append((self._host_flags, self._flags))
        self._warm_up()

    def _open_aligner(self, parts: KernelParts, encoder: GraphSpec) -> None:
        """Compile the kernels that sample the source, and list the maps that they sample."""
        device, at = self._device, self._addresses
        size, image_size = self._specs["rendered"].shape[-1], self._specs["frame"].shape[0]
        at[PLACE] = device.allocate(12 * size * size)
        scratch = device.allocate(4 * scratch_numbers(size, image_size))
        self._aligner = SourceAligner(size, image_size, scratch)
        number_bytes = self._specs[STEM_INPUT].dtype.itemsize
        self._stem = StemInput(at[STEM_INPUT], self._specs["rendered"].shape[1], OWN in at, number_bytes)
        if self._refiner is not None:
            table, blocks = sampling_table_last(self._refiner.of_frame)
        else:
            table, blocks = sampling_table(self._maps_of_session(parts, encoder), number_bytes)
        self._map_blocks = len(blocks)
        self._map_tables = device.allocate_copy(table.view(np.uint8)), device.allocate_copy(blocks.view(np.uint8))

    def _maps_of_session(self, parts: KernelParts, encoder: GraphSpec) -> list[SourceMap]:
        """The maps that the aligner samples for the refiner's session, and what they are elsewhere."""
        at = self._addresses
        listed = (name.removeprefix(IN_FRAME) for name in parts.refiner.inputs if name.startswith(IN_FRAME))
        names = sorted(listed, key=place_among_maps)
        (constants,) = _weights(parts, [ABSENT])
        absent = self._device.allocate_copy(np.asarray(constants, np.float32))
        maps = []
        for name in names:
            channels, _, side = encoder.outputs[name].shape[1:]
            maps.append(SourceMap(at[name], at[IN_FRAME + name], absent, channels, side))
            absent += 4 * channels
        return maps

    def _open_session(self, graph: GraphSpec, options: dict[str, str]) -> None:
        """Open a graph's session in place of the current one, and bind it to the tensors' addresses."""
        self._drop_session(graph.name)
        stream = {"user_compute_stream": str(self._device.stream)}
        session = open_gpu_session(self._onnxruntime, graph, options | stream)
        self._sessions[graph.name] = session
        binding = self._bindings[graph.name] = session.io_binding()
        for specs, bind in ((graph.inputs, binding.bind_input), (graph.outputs, binding.bind_output)):
            for name, spec in specs.items():
                bind(name, self._device.kind, 0, spec.dtype.type, list(spec.shape), self._addresses[name])

    def _drop_session(self, graph: str) -> None:
        """Close a graph's session, if it is open.

        A frame's runs do not wait, so ONNX Runtime still has page-locked memory to free when they end. If closing the
        session frees it, that happens in a callback on the stream, where CUDA forbids it, and the process ends. A last
        run that waits avoids this.
        """
        if graph in self._bindings and graph in (spec.name for spec in self._frame_graphs):
            with contextlib.suppress(HideNerfError):
                self._device.use()
                self._run(graph, self._onnxruntime.RunOptions())
                self._device.synchronize()
        self._bindings.pop(graph, None)
        self._sessions.pop(graph, None)

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        """See `Backend.encode_source`. Errors: also features that exceed FP16's range."""
        super().encode_source(source_image, source_camera, secc_canonical)
        self._warned = False
        if self._host_flags[0] & PLANES_OUT_OF_RANGE:
            self._encoded = False
            raise HideNerfError(
                "The source's features exceed FP16's range (65504); run with --backend onnxruntime-cpu."
            )

    def _encode(self) -> None:
        device = self._device
        self._upload(SOURCE_INPUTS)
        self._run("source_encoder", self._shrinking_run_options)
        device.clear(self._flags, 4)
        planes = [self._addresses[name] for name in self._planes]
        fp16 = self._specs[self._planes[0]].dtype == np.float16
        self._renderer.merge_planes(planes, fp16, self._feature_weight, self._merged, self._flags, device.stream)
        for planned in (self._led, self._refiner):
            if planned is not None:
                planned.enqueue_source(device.stream)
        device.download(self._host_flags, self._flags)
        device.synchronize()

    def _render(self, inputs: tuple[str, ...], face: GpuFace | None) -> Frame:
        result = super()._render(inputs, face)
        if self._host_flags[0] & NON_FINITE_DEFORMATION and not self._warned:
            self._warned = True
            logger.warning("The deformation is not finite in places: those points are left empty.")
        return result

    def _enqueue(self, stage: str) -> None:
        if stage == "align":
            if self._aligned:
                self._align()
            return
        if stage == "led":
            self._run_led()
            return
        if stage == "refiner" and self._refiner is not None:
            self._refiner.enqueue(self._device.stream)
            return
        if stage != "triplane_render":
            self._run(stage, self._run_options)
            return
        device, at = self._device, self._addresses
        device.clear(self._flags, 4)
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
            at.get(PLACE, 0),
        )

    def _run_led(self) -> None:
        """Enqueue LED's plan; or its encoder, our kernel, which writes what the decoder reads, and the decoder."""
        if self._led is not None:
            self._led.enqueue(self._device.stream)
            return
        at, half = self._addresses, self._specs[LOOKUP_FEATURES].dtype == np.float16
        self._run(LED_ENCODER, self._run_options)
        results = at[POINTS], at[LOOKED_UP]
        self._sampler.sample(at["camera"], at[LOOKUP_FEATURES], *results, half, self._device.stream)
        self._run(LED_DECODER, self._run_options)

    def _align(self) -> None:
        """Enqueue the sampling of the source where its picture shows what the rays met."""
        at, stream = self._addresses, self._device.stream
        frame = at[PLACE], at["rendered_alpha"], at["rendered"]
        known = at["source_projection"], at["source_surface"], at[FACE_SIGHT]
        self._aligner.align(*frame, *known, self._stem, stream)
        if self._refiner is not None:
            self._aligner.sample_maps_last(*self._map_tables, self._map_blocks, stream)
        else:
            self._aligner.sample_maps(*self._map_tables, self._map_blocks, self._stem.number_bytes, stream)
        if self._stem.pictured:
            to = OwnPixels(at[OWN], at[SHOWN], at[DETAIL_INPUT], at.get(ENLARGER_INPUT, 0))
            self._aligner.sample_pictures(at["source_pixels"], at["source_pixels_small"], to, self._stem, stream)

    def _prepare_uncaptured(self) -> bool:
        for graph in self._frame_graphs:
            self._open_session(graph, OWN_GRAPH_OPTIONS)
        return bool(self._frame_graphs)

    def _run(self, graph: str, options: Any) -> None:
        try:
            self._sessions[graph].run_with_iobinding(self._bindings[graph], options)
        except Exception as error:  # ONNX Runtime raises its own types, one for each status code
            raise HideNerfError(
                f"The graph {graph} fails on the GPU ({error}); run with --backend onnxruntime-cpu."
            ) from None

    def close(self) -> None:
        """See `Backend.close`."""
        for graph in list(self._sessions):
            self._drop_session(graph)
        super().close()


def _require_parts(bundle: Bundle) -> KernelParts:
    if bundle.kernel_parts is None:
        raise HideNerfError(
            f"{bundle.folder}: this bundle was made before the CUDA backend and lacks its parts; {EXPORT_AGAIN}."
        )
    surface = bundle.graphs["source_encoder"].outputs.get("source_surface")
    refiner = bundle.kernel_parts.refiner.inputs
    if surface is not None and (
        surface.shape[1] != SURFACE or not bundle.takes_face_sight or STEM_INPUT not in refiner
    ):
        raise HideNerfError(
            f"{bundle.folder}: this bundle is older than the way the CUDA backend samples the source; {EXPORT_AGAIN}."
        )
    return bundle.kernel_parts


def _led_parts(bundle: Bundle, parts: KernelParts) -> tuple[GraphSpec, GraphSpec]:
    if parts.led_encoder is None or parts.led_decoder is None:
        raise HideNerfError(
            f"{bundle.folder}: this bundle is older than the CUDA backend's kernel between the parts of LED; "
            f"{EXPORT_AGAIN}."
        )
    return parts.led_encoder, parts.led_decoder


def _weights(parts: KernelParts, names: Sequence[str]) -> list[NDArray[Any]]:
    try:
        with np.load(parts.weights_path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (OSError, ValueError, KeyError) as error:
        raise HideNerfError(f"{parts.weights_path}: not the kernels' weights ({error}); {EXPORT_AGAIN}.") from None
