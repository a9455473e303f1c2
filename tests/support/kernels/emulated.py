"""The kernels' headers compiled for the host (emulation.hpp) and called on NumPy arrays."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.kernels.compile import FOLDER
from hidenerf.runtime.kernels.packing import pack_mlp
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.scenes import Scene
from tests.support.made_once import make_once

SUPPORT = Path(__file__).parents[1]


def build(source: str, folder: Path, *definitions: tuple[str, int]) -> ctypes.CDLL:
    """A library of one of the .cpp files under tests/support; skips where there is no C++ compiler.

    folder: the fixture `emulated_kernels`. definitions: the macros the source is compiled for.
    """
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: the kernels cannot be emulated")
    name = "-".join([Path(source).stem, *(str(value) for _, value in definitions)])
    return ctypes.CDLL(str(make_once(folder / f"{name}.so", lambda library: _compile(source, library, definitions))))


def _compile(source: str, library: Path, definitions: tuple[tuple[str, int], ...]) -> None:
    flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas", f"-I{FOLDER}"]
    # Shared memory is static variables here. Libraries of other sizes have their own, and not the first one's.
    flags.append("-fno-gnu-unique")
    defined = [f"-D{name}={value}" for name, value in definitions]
    subprocess.run(["g++", *flags, *defined, str(SUPPORT / source), "-o", str(library)], check=True)


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def pointers(arrays: list[NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins at a multiple of 16 bytes, as device memory does."""
    space = np.empty(array.nbytes + 16, np.uint8)
    start = -space.ctypes.data % 16
    copy = space[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class EmulatedRenderer:
    """One scene's weights and planes, packed by the kernels; outputs are poisoned before every run.

    place: [3, R, R], this output of the last run; empty if the sizes are without it.
    """

    def __init__(self, sizes: RendererSizes, scene: Scene, folder: Path) -> None:
        self.sizes, self.scene = sizes, scene
        self.library = build("kernels/renderer_emulated.cpp", folder, *sizes.definitions())
        self.flags = np.zeros(1, np.int32)
        packed = pack_mlp(sizes, *[t.double().numpy() for t in scene.mlp])
        self.operands, self.direct_operands = aligned(packed.operands), aligned(packed.direct_operands)
        self.planes = [np.ascontiguousarray(p.numpy()) for p in scene.planes]
        self.merged = aligned(np.full(sizes.merged_bytes // 2, np.nan, np.float16))
        weight = aligned(packed.feature_weight)
        self.library.merge(pointers(self.planes), pointer(weight), pointer(self.merged), pointer(self.flags))

    def _inputs(self) -> list[ctypes.c_void_p]:
        self._kept = [np.ascontiguousarray(t.numpy()) for t in (self.scene.deformation, self.scene.camera)]
        return [pointer(array) for array in self._kept]

    def _outputs(self, kind: type[np.floating]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        size = self.sizes.render_size
        self.place = np.full((3 * self.sizes.place, size, size), np.nan, np.float32)
        rendered = np.full((self.sizes.rendered, size, size), np.nan, kind)
        return rendered, np.full((size, size), np.nan, np.float32)

    def _place(self) -> list[NDArray[np.float32]]:
        return [self.place] if self.sizes.place else []

    def render(self, fp16: bool = False) -> tuple[NDArray[Any], NDArray[np.float32]]:
        rendered, alpha = self._outputs(np.float16 if fp16 else np.float32)
        run = self.library.render_fp16 if fp16 else self.library.render_fp32
        tail = [pointer(a) for a in (self.merged, self.operands, rendered, alpha, self.flags, *self._place())]
        run(*self._inputs(), *tail)
        return rendered, alpha

    def render_direct(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        bordered = []
        for plane in self.planes:
            side, channels = plane.shape[-1] + 2, self.sizes.channels
            to = aligned(np.full((3, side, side, channels), np.nan, np.float16))
            self.library.border(pointer(plane), pointer(to), channels, plane.shape[-1], pointer(self.flags))
            bordered.append(to)
        rendered, alpha = self._outputs(np.float32)
        tail = [pointer(a) for a in (self.direct_operands, rendered, alpha, self.flags, *self._place())]
        self.library.render_direct(*self._inputs(), pointers(bordered), *tail)
        return rendered, alpha
