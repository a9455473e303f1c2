"""The CUDA backend without a GPU: device memory is the host's, the kernels are emulated, sessions run on the CPU.

What is left to a real GPU is what these stand for: the driver's calls, ONNX Runtime's CUDA provider and CUDA graphs.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import DTypeLike, NDArray

from hidenerf.runtime.backends import gpu, onnxruntime_cuda
from hidenerf.runtime.bundle import GraphSpec
from hidenerf.runtime.kernels import source_aligner
from hidenerf.runtime.kernels.compile import Definitions
from hidenerf.runtime.kernels.secc_drawer import NO_WEIGHT, SIGHT_WEIGHT
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.emulated import aligned, build
from tests.support.kernels.plan_kernels import STREAM, use_emulated_plans


class HostDevice:
    """`Device` on the host's memory; host arrays are not its memory, so what is not copied does not arrive.

    forked: whether the second stream is between `fork` and `join`, outside of which nothing may be enqueued on it.
    """

    kind = "cpu"
    stream = STREAM
    side_stream = STREAM + 1
    sm = 90
    multiprocessors = 4
    forked = False

    def __init__(self) -> None:
        self.memory: dict[int, NDArray[Any]] = {}
        self.marks: list[int] = []
        self.closed = False
        HostDevice.forked = False

    def use(self) -> None:
        assert not self.closed

    def allocate(self, size: int) -> int:
        block = aligned(np.zeros(size, np.uint8))
        self.memory[block.ctypes.data] = block
        return int(block.ctypes.data)

    def allocate_copy(self, array: NDArray[Any]) -> int:
        address = self.allocate(array.nbytes)
        self.upload(address, np.ascontiguousarray(array))
        return address

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def _view(self, address: int, size: int) -> NDArray[Any]:
        assert size <= len(self.memory[address])
        return self.memory[address][:size]

    def clear(self, address: int, size: int) -> None:
        self._view(address, size)[:] = 0

    def fork(self) -> None:
        assert not HostDevice.forked
        HostDevice.forked = True

    def join(self) -> None:
        assert HostDevice.forked
        HostDevice.forked = False

    def upload(self, address: int, array: NDArray[Any], stream: int | None = None) -> None:
        assert stream is None or (stream == self.side_stream and HostDevice.forked)
        assert array.flags.c_contiguous
        self._view(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    def download(self, array: NDArray[Any], address: int) -> None:
        assert array.flags.c_contiguous
        array.reshape(-1).view(np.uint8)[:] = self._view(address, array.nbytes)

    def mark(self, index: int) -> None:
        self.marks.append(index)

    def seconds_between(self, first: int, second: int) -> float:
        assert self.marks.index(first) < self.marks.index(second)
        return 0.001

    def synchronize(self) -> None:
        assert not HostDevice.forked

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def launch(self, captured: Callable[[], None]) -> None:
        captured()

    def close(self) -> None:
        self.closed = True
        self.memory.clear()


def addresses(*values: int) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(value) for value in values]


class EmulatedTriplaneRenderer:
    """`TriplaneRenderer` with the emulated kernels."""

    folder: Path

    def __init__(self, sizes: RendererSizes) -> None:
        self.sizes = sizes
        self.library = build("kernels/renderer_emulated.cpp", self.folder, *sizes.definitions())

    def merge_planes(
        self, planes: list[int], fp16: bool, feature_weight: int, merged: int, flags: int, stream: int
    ) -> None:
        assert stream == HostDevice.stream
        merge = self.library.merge_fp16 if fp16 else self.library.merge
        merge((ctypes.c_void_p * len(planes))(*planes), *addresses(feature_weight, merged, flags))

    def render(
        self,
        deformation: int,
        camera: int,
        merged: int,
        operands: int,
        rendered: int,
        alpha: int,
        flags: int,
        stream: int,
        fp16: bool,
        place: int = 0,
    ) -> None:
        assert stream == HostDevice.stream
        run = self.library.render_fp16 if fp16 else self.library.render_fp32
        places = [place] if self.sizes.place else []
        run(*addresses(deformation, camera, merged, operands, rendered, alpha, flags, *places))


class EmulatedSeccDrawer:
    """`SeccDrawer` with the emulated kernels."""

    folder: Path

    def __init__(self, vertices: int, expressions: int, triangles: int, size: int, *, face_sight: bool = False) -> None:
        self.library = build("kernels/others_emulated.cpp", self.folder)
        self.counts = vertices, expressions, triangles
        self.shape = (4, SIGHT_WEIGHT, size) if face_sight else (3, NO_WEIGHT, size)
        self.stream = HostDevice.side_stream if face_sight else HostDevice.stream

    def vertices(self, neutral: int, basis: int, coefficients: int, vertices: int, stream: int) -> None:
        assert stream == HostDevice.stream
        count, expressions, _ = self.counts
        self.library.secc_vertices(*addresses(neutral, basis, coefficients, vertices), 3 * count, expressions)

    def screen(self, vertices: int, camera: int, screen: int, stream: int) -> None:
        assert stream == HostDevice.side_stream
        assert HostDevice.forked
        self.library.secc_screen(*addresses(vertices, camera, screen), self.counts[0])

    def draw(self, vertices: int, triangles: int, colours: int, keys: int, picture: int, stream: int) -> None:
        assert stream == self.stream
        assert HostDevice.forked == (stream == HostDevice.side_stream)
        self.library.secc_draw(*addresses(vertices, triangles, colours, keys, picture), self.counts[2], *self.shape)


class EmulatedKernels:
    """`Kernels` of align_source.cu, emulated."""

    folder: Path

    def __init__(self, source: str, definitions: Definitions = ()) -> None:
        assert source == "align_source.cu"
        self.library = build("kernels/align_source_emulated.cpp", self.folder, *definitions)

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        block: int,
        stream: int,
        arguments: Sequence[int | np.generic],
        shared: int = 0,
    ) -> None:
        assert shared == 0
        # The face sight must be there.
        assert not HostDevice.forked
        assert stream == HostDevice.stream
        assert grid[1:] == (1, 1)
        given = [ctypes.c_void_p(one) if isinstance(one, int) else ctypes.c_int(int(one)) for one in arguments]
        getattr(self.library, name)(grid[0], block, *given)


def open_cpu_session(_: Any, graph: GraphSpec, options: dict[str, str]) -> Any:
    assert options.get("user_compute_stream", str(HostDevice.stream)) == str(HostDevice.stream)
    assert "enable_cuda_graph" not in options
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph.path), session_options, providers=["CPUExecutionProvider"])


def use_host_gpu(monkeypatch: pytest.MonkeyPatch, kernels: Path) -> None:
    """From here on `OnnxRuntimeCudaBackend` runs without a GPU. kernels: the fixture `emulated_kernels`."""
    monkeypatch.setattr(EmulatedTriplaneRenderer, "folder", kernels, raising=False)
    monkeypatch.setattr(EmulatedSeccDrawer, "folder", kernels, raising=False)
    monkeypatch.setattr(onnxruntime_cuda, "import_onnxruntime", lambda: onnxruntime)
    monkeypatch.setattr(onnxruntime_cuda, "cuda_core", lambda: None)
    monkeypatch.setattr(onnxruntime_cuda, "nvrtc_version", lambda: "13.0")
    monkeypatch.setattr(onnxruntime_cuda, "Device", HostDevice)
    monkeypatch.setattr(onnxruntime_cuda, "open_gpu_session", open_cpu_session)
    monkeypatch.setattr(onnxruntime_cuda, "ARENA", "cpu:0")
    monkeypatch.setattr(onnxruntime_cuda, "TriplaneRenderer", EmulatedTriplaneRenderer)
    monkeypatch.setattr(EmulatedKernels, "folder", kernels, raising=False)
    monkeypatch.setattr(source_aligner, "Kernels", EmulatedKernels)
    monkeypatch.setattr(gpu, "SeccDrawer", EmulatedSeccDrawer)
    use_emulated_plans(monkeypatch, kernels)
