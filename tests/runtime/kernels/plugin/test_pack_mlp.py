"""The MLP packed on the device, emulated, is what `packing.pack_mlp` makes on the host."""

from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.kernels.packing import pack_mlp
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.emulated import aligned, build, pointer
from tests.support.kernels.scenes import BASE, DEMO, ODD, random_scene


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("sizes", [ODD, DEMO, BASE], ids=["odd", "demo", "base"])
def test_words_are_the_hosts(sizes: RendererSizes, kind: type[np.floating], emulated_kernels: Path) -> None:
    small = RendererSizes(**{**vars(sizes), "render_size": 9, "samples": 6, "finest": 16})
    scene = random_scene(small, 1)
    weights = [np.ascontiguousarray(t.numpy().astype(kind)) for t in scene.mlp]
    expected = pack_mlp(small, *weights).direct_operands
    library = build("plugin/pack_mlp_emulated.cpp", emulated_kernels, *small.definitions())
    assert library.words() == len(expected)
    found, flags = aligned(np.full(len(expected), 0xFFFFFFFF, np.uint32)), np.zeros(1, np.int32)
    pack = library.pack_fp16 if kind is np.float16 else library.pack_fp32
    pack(*map(pointer, [*weights, found, flags]))
    assert flags[0] == 0
    halves = slice(0, -small.outputs)
    # A third of a weight is rounded once by the host and twice by the kernel.
    np.testing.assert_allclose(
        found[halves].view(np.float16).astype(np.float32),
        expected[halves].view(np.float16).astype(np.float32),
        rtol=2**-10,
        atol=2**-24,
    )
    assert (found[halves] != expected[halves]).mean() < 0.01
    np.testing.assert_array_equal(found[-small.outputs :], expected[-small.outputs :])


def test_a_weight_beyond_fp16_is_clamped_and_said(emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 1)
    scene.weight_2[2, 3] = -1e6
    weights = [np.ascontiguousarray(t.numpy()) for t in scene.mlp]
    library = build("plugin/pack_mlp_emulated.cpp", emulated_kernels, *ODD.definitions())
    found, flags = aligned(np.zeros(library.words(), np.uint32)), np.zeros(1, np.int32)
    library.pack_fp32(*map(pointer, [*weights, found, flags]))
    assert flags[0] == 2
    halves = found[: -ODD.outputs].view(np.float16)
    assert np.isfinite(halves).all()
    assert (halves == -65504).sum() == 1
