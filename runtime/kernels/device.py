"""One GPU: memory that stays where it is, one stream and its graphs, page-locked host arrays, marks to measure time."""

import ctypes
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.launch import current_architecture

# Of the driver's enumerations.
_NON_BLOCKING_STREAM = 1
_OUT_OF_MEMORY = 2
_EXTERNAL_EVENT = 1


class Device:
    """The first GPU. Everything asynchronous runs on `stream`, in the order in which it was asked for.

    kind: ONNX Runtime's name for where the memory is. Errors: no usable GPU, too old a GPU, its memory is full.
    """

    kind = "cuda"

    def __init__(self) -> None:
        self.architecture = current_architecture()
        self._driver = importlib.import_module("cuda.bindings.driver")
        self._context = self._checked(self._driver.cuCtxGetCurrent())
        self.stream = int(self._checked(self._driver.cuStreamCreate(_NON_BLOCKING_STREAM)))
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
        """Make this GPU the calling thread's."""
        self._checked(self._driver.cuCtxSetCurrent(self._context))

    def allocate(self, size: int) -> int:
        """Address of `size` bytes of zeros, a multiple of 256."""
        address = int(self._checked(self._driver.cuMemAlloc(max(size, 1))))
        self._memory.append(address)
        self.clear(address, max(size, 1))
        return address

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A page-locked array of zeros, which copies asynchronously."""
        kind = np.dtype(dtype)
        size = max(math.prod(shape) * kind.itemsize, 1)
        address = int(self._checked(self._driver.cuMemHostAlloc(size, 0)))
        self._host_memory.append(address)
        array = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))
        array[:] = 0
        return array[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)

    def clear(self, address: int, size: int) -> None:
        """Zeros; asynchronous."""
        self._checked(self._driver.cuMemsetD8Async(address, 0, size, self.stream))

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """A contiguous host array to the device; asynchronous, so the array must stay as it is."""
        self._checked(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self.stream))

    def download(self, array: NDArray[Any], address: int) -> None:
        """From the device into a contiguous host array; asynchronous."""
        self._checked(self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self.stream))

    def mark(self, index: int) -> None:
        """Remember as mark `index` when the stream has come this far."""
        while len(self._marks) <= index:
            self._marks.append(self._checked(self._driver.cuEventCreate(0)))
        if self._capturing:
            # A plain record would leave no trace in the graph.
            self._checked(self._driver.cuEventRecordWithFlags(self._marks[index], self.stream, _EXTERNAL_EVENT))
        else:
            self._checked(self._driver.cuEventRecord(self._marks[index], self.stream))

    def seconds_between(self, first: int, second: int) -> float:
        """Time on the device between two marks that it has reached."""
        elapsed = self._driver.cuEventElapsedTime(self._marks[first], self._marks[second])
        return float(self._checked(elapsed)) / 1000.0

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        self._checked(self._driver.cuStreamSynchronize(self.stream))

    def capture(self, work: Callable[[], None]) -> Any:
        """What `work` asks of the stream, as one CUDA graph for `launch`; nothing of it runs now.

        `work` has run before, so that nothing is left to allocate or to load. Errors: it does what a graph cannot hold.
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
        """Ready to launch, without the host's callbacks.

        ONNX Runtime's `Concat` and `Split` copy small tables from page-locked buffers, and give these back to its
        arena in a callback on the stream. A launched graph reads them again, so they must stay, and a callback that ran
        again would give them back twice. Without its callbacks they live as long as the session. (ONNX Runtime's own
        remedy is its pull request 32121.)
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
        """The nodes that a query of the driver's gives, which must be told how many there are."""
        found = query(of)
        self._checked(found[:1])
        found = query(of, int(found[-1]))
        self._checked(found[:1])
        return list(found[1] or ())

    def launch(self, graph: Any) -> None:
        """Run a captured graph; asynchronous."""
        self._checked(self._driver.cuGraphLaunch(graph, self.stream))

    def close(self) -> None:
        """Free everything; host arrays must not be used any more."""
        if self.stream == 0:
            return
        self._driver.cuCtxSetCurrent(self._context)
        self._driver.cuStreamSynchronize(self.stream)
        for graph in self._graphs:
            self._driver.cuGraphExecDestroy(graph)
        for mark in self._marks:
            self._driver.cuEventDestroy(mark)
        for address in self._memory:
            self._driver.cuMemFree(address)
        for address in self._host_memory:
            self._driver.cuMemFreeHost(address)
        self._driver.cuStreamDestroy(self.stream)
        self.stream = 0
        for owned in (self._graphs, self._marks, self._memory, self._host_memory):
            owned.clear()
