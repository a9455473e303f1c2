"""`Generation`: what differs between TensorRT 8.6, 10, 11 and TensorRT-RTX, all of it in this table (docs/engines.md).

Nothing else in hidenerf asks for a library's version. Of 8.6 the names were checked against its real Python module, of
the others as tests/export/engines/test_api.py says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.api import Context, Context86, CudaEngine, CudaEngine86


@dataclass(frozen=True)
class Generation:
    """One line of libraries that are spelt alike.

    name: as sidecars write it.
    newest_opset: the newest that the ONNX parser reads; such a parser knows no local functions. None: as exported.
    strongly_typed: precisions are the graph's. Otherwise the builder chooses, within limits set for every layer, and
        the engine has to be looked into afterwards.
    progress_monitor: whether the builder tells how far it is and can be cancelled.
    parser_names_nodes: whether the parser's errors have a node's name, and not its number alone.
    sized_memory: whether contexts take the size of their working memory, and an allocation strategy.
    times_kernels: whether building times kernels, which a timing cache saves.
    """

    name: str
    newest_opset: int | None = None
    strongly_typed: bool = True
    progress_monitor: bool = True
    parser_names_nodes: bool = True
    sized_memory: bool = True
    times_kernels: bool = True

    def working_memory(self, engine: CudaEngine) -> int:
        """Bytes of working memory that a context of `engine` needs."""
        return engine.device_memory_size_v2 if self.sized_memory else cast("CudaEngine86", engine).device_memory_size

    def create_context(self, trt: Any, engine: CudaEngine) -> Context | None:
        """A context without working memory; None where the library fails. trt: its module."""
        if self.sized_memory:
            return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        return cast("CudaEngine86", engine).create_execution_context_without_device_memory()

    def give_memory(self, context: Context, address: int, size: int) -> None:
        """Give a context its working memory, on the GPU, bytes."""
        if self.sized_memory:
            context.set_device_memory(address, size)
        else:
            cast("Context86", context).device_memory = address

    def failing_node(self, error: Any, nodes: Sequence[tuple[str, str]]) -> tuple[str, str]:
        """Name and operator of the node that an `IParserError` is about; empty where it is about none.

        nodes: name and operator of all nodes, in the graph's order.
        """
        if self.parser_names_nodes:
            return error.node_name(), error.node_operator()
        number = error.node()
        return nodes[number] if 0 <= number < len(nodes) else ("", "")


TENSORRT_8_6 = Generation(
    "8.6",
    newest_opset=17,
    strongly_typed=False,
    progress_monitor=False,
    parser_names_nodes=False,
    sized_memory=False,
)
# 10.1 is the first whose contexts take the size of their memory, and whose parser knows IPluginV3.
TENSORRT_10 = Generation("10")
TENSORRT_11 = replace(TENSORRT_10, name="11")
# Ahead of time it chooses no kernels.
TENSORRT_RTX = Generation("rtx", times_kernels=False)
GENERATIONS = (TENSORRT_8_6, TENSORRT_10, TENSORRT_11, TENSORRT_RTX)

# What a Jetson's JetPack brings; JetPack 5 has 8.5.2, JetPack 4.6 has 8.2.
JETPACKS = "on a Jetson take JetPack 6.0, which has 8.6, or 6.1 and newer with 10.3"


def generation_of(backend: str, version: str) -> Generation:
    """The generation of an installed library.

    backend: "tensorrt" or "tensorrt-rtx".
    version: such as "10.12.0.36".
    Errors: a version that hidenerf does not run on. The sentence has no end: the caller adds how to install another.
    """
    if backend == "tensorrt-rtx":
        return TENSORRT_RTX
    numbers = tuple(map(int, version.split(".")[:2]))
    if numbers == (8, 6):
        return TENSORRT_8_6
    if numbers < (10, 1):
        why = "is too old" if numbers < (8, 6) else "is not supported"
        raise HideNerfError(f"TensorRT {version} {why}, 8.6 or 10.1 and newer is needed; {JETPACKS}")
    return TENSORRT_10 if numbers[0] == 10 else TENSORRT_11
