"""`Device`: one GPU, with its memory, two streams and its CUDA graphs, page-locked host arrays, and time marks."""

import ctypes
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.launch import kernel_sm

# Values of the driver API's enumerations.
_NON_BLOCKING_STREAM = 1
_OUT_OF_MEMORY = 2
_EXTERNAL_EVENT = 1
_EVENT_WITHOUT_TIME = 2
_MULTIPROCESSOR_COUNT = 16


class Device:
    """The first GPU. What is asynchronous runs on `stream` in the order of the calls, unless it says otherwise.

    kind: ONNX Runtime's name for the memory.
    stream: the stream's handle.
    side_stream: of a second stream, for what may run beside `stream` between `fork` and `join`.
    sm: that kernels are compiled for. multiprocessors: how many the GPU has.
    Errors of every method: the GPU driver reports one, or the GPU's memory is full.
    """

    kind = "cuda"

    def __init__(self) -> None:
        """Create the stream. Errors: no usable GPU, or one that is too old."""
        self.sm = kernel_sm()
        self._driver = importlib.import_module("cuda.bindings.driver")
        self._context = self._checked(self._driver.cuCtxGetCurrent())
        attribute = self._driver.CUdevice_attribute(_MULTIPROCESSOR_COUNT)
        device = self._checked(self._driver.cuCtxGetDevice())
        self.multiprocessors = int(self._checked(self._driver.cuDeviceGetAttribute(attribute, device)))
        self.stream = int(self._checked(self._driver.cuStreamCreate(_NON_BLOCKING_STREAM)))
        self.side_stream = int(self._checked(self._driver.cuStreamCreate(_NON_BLOCKING_STREAM)))
        self._forked, self._joined = (self._checked(self._driver.cuEventCreate(_EVENT_WITHOUT_TIME)) for _ in range(2))
        self._memory: list[int] = []
        self._host_memory: list[int] = []
        self._marks: list[Any] = []
        self._graphs: list[Any] = []
        self._capturing = False

    def _checked(self, result: tuple[Any, ...]) -> Any:
        status = int(result[0])
        if status == _OUT_OF_MEMORY:
            raise HideNerfError(
                "The GPU's memory is full; close what else uses it, or run with --backend onnxruntime-cpu."
            )
        if status != 0:
            raise HideNerfError(
                f"The GPU's driver reports {getattr(result[0], 'name', status)}; run again, or with --backend "
                "onnxruntime-cpu."
            )
        return result[1] if len(result) == 2 else None

    def use(self) -> None:
        """Make this GPU current for the calling thread."""
        self._checked(self._driver.cuCtxSetCurrent(self._context))

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes of zeros. Returns their address, a multiple of 256."""
        address = int(self._checked(self._driver.cuMemAlloc(max(size, 1))))
        self._memory.append(address)
        self.clear(address, max(size, 1))
        return address

    def allocate_copy(self, array: NDArray[Any]) -> int:
        """Allocate a copy of an array, and wait for it. Returns its address."""
        array = np.ascontiguousarray(array)
        address = self.allocate(array.nbytes)
        self.upload(address, array)
        self.synchronize()
        return address

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Allocate a page-locked array of zeros, which copies asynchronously."""
        kind = np.dtype(dtype)
        size = max(math.prod(shape) * kind.itemsize, 1)
        address = int(self._checked(self._driver.cuMemHostAlloc(size, 0)))
        self._host_memory.append(address)
        array = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))
        array[:] = 0
        return array[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)

    def clear(self, address: int, size: int) -> None:
        """Set `size` bytes to zero; asynchronous."""
        self._checked(self._driver.cuMemsetD8Async(address, 0, size, self.stream))

    def upload(self, address: int, array: NDArray[Any], stream: int | None = None) -> None:
        """Copy a contiguous host array to the GPU; asynchronous, so the array must not change meanwhile.

        stream: `side_stream` for a copy on it.
        """
        stream = self.stream if stream is None else stream
        self._checked(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, stream))

    def download(self, array: NDArray[Any], address: int) -> None:
        """Copy from the GPU into a contiguous host array; asynchronous."""
        self._checked(self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self.stream))

    def fork(self) -> None:
        """What is enqueued on `side_stream` from now on waits for what is on `stream` now. `join` must follow."""
        self._checked(self._driver.cuEventRecord(self._forked, self.stream))
        self._checked(self._driver.cuStreamWaitEvent(self.side_stream, self._forked, 0))

    def join(self) -> None:
        """What is enqueued on `stream` from now on waits for what is on `side_stream` now."""
        self._checked(self._driver.cuEventRecord(self._joined, self.side_stream))
        self._checked(self._driver.cuStreamWaitEvent(self.stream, self._joined, 0))

    def mark(self, index: int) -> None:
        """Record the time at which the stream gets here as mark `index`; asynchronous."""
        while len(self._marks) <= index:
            self._marks.append(self._checked(self._driver.cuEventCreate(0)))
        if self._capturing:
            # A plain record is not captured into the graph.
            self._checked(self._driver.cuEventRecordWithFlags(self._marks[index], self.stream, _EXTERNAL_EVENT))
        else:
            self._checked(self._driver.cuEventRecord(self._marks[index], self.stream))

    def seconds_between(self, first: int, second: int) -> float:
        """Seconds between two marks that the stream has passed."""
        elapsed = self._driver.cuEventElapsedTime(self._marks[first], self._marks[second])
        return float(self._checked(elapsed)) / 1000.0

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        self._checked(self._driver.cuStreamSynchronize(self.stream))

    def capture(self, work: Callable[[], None]) -> Any:
        """Capture what `work` enqueues as one CUDA graph for `launch`, without running it.

        work: enqueues on `stream`, and between `fork` and `join` on `side_stream`. It has run before, so that nothing
            is left to allocate or to load.
        Errors: `work` does something that a graph cannot hold.
        """
        self.synchronize()
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._checked(self._driver.cuStreamBeginCapture(self.stream, mode))
        self._capturing = True
        try:
            work()
        finally:
            self._capturing = False
            ended = self._driver.cuStreamEndCapture(self.stream)
        graph = self._checked(ended)
        try:
            self._graphs.append(self._instantiate(graph))
        finally:
            self._driver.cuGraphDestroy(graph)
        return self._graphs[-1]

    def _instantiate(self, graph: Any) -> Any:
        """Make a captured graph ready to launch, without its host callbacks.

        ONNX Runtime's `Concat` and `Split` copy small tables from page-locked buffers and free these in a callback on
        the stream. Each launch reads the buffers again, so they must stay, and each callback would free them again.
        Without the callbacks they live as long as the session. (ONNX Runtime pull request 32121 fixes this there.)
        """
        driver = self._driver
        for node in self._listed(driver.cuGraphGetNodes, graph):
            if self._checked(driver.cuGraphNodeGetType(node)) != driver.CUgraphNodeType.CU_GRAPH_NODE_TYPE_HOST:
                continue
            before = self._listed(driver.cuGraphNodeGetDependencies, node)
            after = self._listed(driver.cuGraphNodeGetDependentNodes, node)
            self._checked(driver.cuGraphDestroyNode(node))
            edges = [(first, second) for first in before for second in after]
            if edges:
                firsts, seconds = (list(ends) for ends in zip(*edges, strict=True))
                self._checked(driver.cuGraphAddDependencies(graph, firsts, seconds, None, len(edges)))
        return self._checked(driver.cuGraphInstantiate(graph, 0))

    def _listed(self, query: Callable[..., tuple[Any, ...]], of: Any) -> list[Any]:
        """All nodes that a query of the GPU driver gives; the driver must be told how many there are."""
        found = query(of)
        self._checked(found[:1])
        found = query(of, int(found[-1]))
        self._checked(found[:1])
        return list(found[1] or ())

    def launch(self, graph: Any) -> None:
        """Launch a captured graph; asynchronous."""
        self._checked(self._driver.cuGraphLaunch(graph, self.stream))

    def close(self) -> None:
        """Free everything. Host arrays must not be used afterwards."""
        if self.stream == 0:
            return
        self._driver.cuCtxSetCurrent(self._context)
        for stream in (self.side_stream, self.stream):
            self._driver.cuStreamSynchronize(stream)
        for graph in self._graphs:
            self._driver.cuGraphExecDestroy(graph)
        for event in (*self._marks, self._forked, self._joined):
            self._driver.cuEventDestroy(event)
        for address in self._memory:
            self._driver.cuMemFree(address)
        for address in self._host_memory:
            self._driver.cuMemFreeHost(address)
        for stream in (self.stream, self.side_stream):
            self._driver.cuStreamDestroy(stream)
        self.stream = 0
        for owned in (self._graphs, self._marks, self._memory, self._host_memory):
            owned.clear()
