"""The kernels of launch plans, emulated, and plans run with them on the host's memory."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.kernels import plan_executor, ray_sampler
from hidenerf.runtime.kernels.compile import Definitions
from hidenerf.runtime.kernels.plan_executor import PlanExecutor
from hidenerf.runtime.launch_plan import LaunchPlan
from hidenerf.runtime.manifest import TensorSpec
from tests.support.kernels.emulated import aligned, build

STREAM = 7
# Of FP16, in memory that nothing has written: NaN.
POISON = 0x7E


class EmulatedPlanKernels:
    """`Kernels` of a launch plan's sources, ray_samples.cu among them, emulated."""

    folder: Path

    def __init__(self, source: str, definitions: Definitions = ()) -> None:
        name = source.removesuffix(".cu")
        self.library = build(f"kernels/{name}_emulated.cpp", self.folder, *definitions)
        self.shared = dict(definitions).get("SHARED_BYTES", 0)

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        block: int,
        stream: int,
        arguments: Sequence[int | np.generic],
        shared: int = 0,
    ) -> None:
        assert stream == STREAM
        assert grid[2] == 1
        assert shared == self.shared
        # As the driver takes them: addresses of 8 bytes, and numbers of their own size.
        values = [np.array(one, np.uint64) if isinstance(one, int) else np.array(one) for one in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        getattr(self.library, f"run_{name}")(grid[0], grid[1], block, pointers)


class HostMemory:
    """`Device`'s memory on the host, poisoned."""

    sm = 90
    multiprocessors = 4

    def __init__(self) -> None:
        self.blocks: list[NDArray[Any]] = []

    def allocate(self, size: int) -> int:
        self.blocks.append(aligned(np.full(size, POISON, np.uint8)))
        return int(self.blocks[-1].ctypes.data)

    def allocate_copy(self, array: NDArray[Any]) -> int:
        self.blocks.append(aligned(np.ascontiguousarray(array)))
        return int(self.blocks[-1].ctypes.data)


def use_emulated_plans(monkeypatch: pytest.MonkeyPatch, kernels: Path) -> None:
    """From here on `PlanExecutor` and `RaySampler` run without a GPU. kernels: the fixture `emulated_kernels`."""
    monkeypatch.setattr(EmulatedPlanKernels, "folder", kernels, raising=False)
    for module in (plan_executor, ray_sampler):
        monkeypatch.setattr(module, "Kernels", EmulatedPlanKernels)


def run_plan(
    plan: LaunchPlan,
    weights: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, tuple[tuple[int, ...], type]],
    **options: Any,
) -> tuple[dict[str, NDArray[Any]], Callable[[str], NDArray[np.float16]]]:
    """A plan's outputs by name, and a function that reads a map: [height, width, channels], if nothing wrote over it.

    outputs: shape and type by name. options: of `PlanExecutor`.
    """
    memory = HostMemory()
    arrays = {name: aligned(np.ascontiguousarray(array)) for name, array in inputs.items()}
    arrays |= {name: np.full(shape, 0, kind) for name, (shape, kind) in outputs.items()}
    specs = {name: TensorSpec(name, array.shape, array.dtype) for name, array in arrays.items()}
    addresses = {name: int(array.ctypes.data) for name, array in arrays.items()}
    executor = PlanExecutor(memory, plan, weights, specs, addresses, **options)
    executor.enqueue_source(STREAM)
    executor.enqueue(STREAM)

    def read(name: str) -> NDArray[np.float16]:
        sizes = plan.maps[name]
        count = sizes.height * sizes.width * sizes.padded
        found = np.ctypeslib.as_array((ctypes.c_uint16 * count).from_address(executor.maps[name])).view(np.float16)
        assert memory.blocks
        return found.reshape(sizes.height, sizes.width, sizes.padded).copy()

    return {name: arrays[name] for name in outputs}, read
