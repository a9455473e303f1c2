"""SourceAligner's kernels on the host, against hidenerf.model.alignment in FP64, and its table of maps by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.model import alignment
from hidenerf.model.alignment import SURFACE, Alignment, SourceView, align, sample, source_projection
from hidenerf.model.refinement import in_frame
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.kernels import source_aligner
from hidenerf.runtime.kernels.source_aligner import (
    BLOCKS,
    PARTS,
    SCRATCH_PICTURES,
    SourceAligner,
    SourceMap,
    aligner_definitions,
    sampling_table,
    scratch_numbers,
)
from tests.support.host_gpu import EmulatedKernels, HostDevice
from tests.support.kernels.align_scenes import Scene, scene
from tests.support.kernels.emulated import build

STREAM = HostDevice.stream


def expected_alignment(shown: Scene) -> Alignment:
    """In FP64."""
    source = SourceView(shown.source.projection.double(), shown.source.surface.double())
    return align(source, shown.place.double(), shown.alpha.double(), shown.face_sight.double())


def array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor[0].numpy(), np.float32)


class Run:
    """An aligner on host memory that has aligned a scene."""

    def __init__(self, shown: Scene) -> None:
        self.device = device = HostDevice()
        size, image_size = shown.alpha.shape[-1], shown.face_sight.shape[-1]
        self.guides = device.allocate(16 * size * size)
        scratch = np.full(scratch_numbers(size, image_size), np.nan, np.float32)
        self.aligner = SourceAligner(size, image_size, device.allocate_copy(scratch))
        tensors = shown.place, shown.alpha, *shown.source, shown.face_sight
        place, alpha, projection, surface, face_sight = (device.allocate_copy(array(one)) for one in tensors)
        self.aligner.align(place, alpha, projection, surface, face_sight, self.guides, STREAM)

    def read(self, address: int, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[np.float64]:
        """A tensor on the device."""
        found: NDArray[Any] = np.empty(shape, dtype)
        self.device.download(found, address)
        return found.astype(np.float64)


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    monkeypatch.setattr(EmulatedKernels, "folder", emulated_kernels, raising=False)
    monkeypatch.setattr(source_aligner, "Kernels", EmulatedKernels)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_guides_are_the_models(size: int) -> None:
    shown = scene(size, 4 * size)
    expected = expected_alignment(shown)
    assert 0.1 < expected.shown.mean() < 0.9
    run = Run(shown)
    np.testing.assert_allclose(run.read(run.guides, (4, size, size)), expected.guides[0], atol=2e-4)


@pytest.mark.parametrize("fp16", [False, True])
def test_maps_of_every_scale_are_in_the_frame(fp16: bool) -> None:
    """Below, at and above the rendered picture's size, and more channels than a thread takes."""
    shown = scene(16, 64)
    expected, run = expected_alignment(shown), Run(shown)
    kind = np.float16 if fp16 else np.float32
    generator = np.random.default_rng(0)
    values = [generator.normal(size=(c, h, h)).astype(kind) for c, h in ((3, 4), (17, 8), (16, 16), (40, 32), (5, 64))]
    maps = [
        SourceMap(run.device.allocate_copy(one), run.device.allocate(one.nbytes), one.shape[0], one.shape[-1])
        for one in values
    ]
    parts, blocks = sampling_table(maps, values[0].itemsize)
    tables = [run.device.allocate_copy(table.view(np.uint8)) for table in (parts, blocks)]
    run.aligner.sample_maps(tables[0], tables[1], len(blocks), fp16, STREAM)
    for one, given in zip(maps, values, strict=True):
        found = run.read(one.sampled, given.shape, kind)
        in_double = in_frame(torch.from_numpy(given.astype(np.float64))[None], expected.at(one.size))
        np.testing.assert_allclose(found, in_double[0], atol=4e-3 if fp16 else 2e-3)


def test_the_source_picture_is_in_the_frame() -> None:
    shown = scene(16, 64)
    expected, run = expected_alignment(shown), Run(shown)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    small = torch.nn.functional.avg_pool2d(picture, 4)
    own, own_shown, own_small = (run.device.allocate(4 * n) for n in (3 * 64**2, 64**2, 3 * 16**2))
    pictures = run.device.allocate_copy(array(picture)), run.device.allocate_copy(array(small))
    run.aligner.sample_pictures(*pictures, own, own_shown, own_small, STREAM)
    here, there = expected.at(16), expected.at(64)
    np.testing.assert_allclose(run.read(own, (3, 64, 64)), sample(picture.double(), there.grid)[0], atol=1e-3)
    np.testing.assert_allclose(run.read(own_shown, (1, 64, 64)), there.shown[0], atol=2e-4)
    of_small = here.shown * (2 * sample(small.double(), here.grid) - 1)
    np.testing.assert_allclose(run.read(own_small, (3, 16, 16)), of_small[0], atol=1e-3)


def test_nothing_is_shown_where_no_ray_ends() -> None:
    projection = source_projection(torch.from_numpy(canonical_camera())[None])
    source = SourceView(projection, torch.zeros(1, SURFACE, 8, 8))
    run = Run(Scene(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), source, torch.zeros(1, 4, 32, 32)))
    assert np.abs(run.read(run.guides, (4, 8, 8))).max() == 0


def test_a_table_by_hand() -> None:
    """3 channels of 64² in FP16: 2 and 1; each part has 32 blocks of 128 pixels. 2 channels of 4²: a block each."""
    parts, blocks = sampling_table([SourceMap(1000, 9000, 3, 64), SourceMap(2000, 8000, 2, 4)], 2)
    step, small = 2 * 64**2 * 2, 4**2 * 2
    expected = [(1000, 9000, 2, 64), (1000 + step, 9000 + step, 1, 64)]
    expected += [(2000, 8000, 1, 4), (2000 + small, 8000 + small, 1, 4)]
    assert parts.tolist() == np.array(expected, PARTS).tolist()
    of_large = [(part, 128 * block) for part in range(2) for block in range(32)]
    assert blocks.tolist() == np.array([*of_large, (2, 0), (3, 0)], BLOCKS).tolist()
    # The largest maps: 8 channels.
    assert sampling_table([SourceMap(0, 0, 9, 256)], 2)[0]["channels"].tolist() == [8, 1]
    # As `MapPart` and `MapBlock` lie in memory.
    assert (PARTS.itemsize, BLOCKS.itemsize) == (24, 8)


@pytest.mark.parametrize("size", [8, 16, 24, 32, 64, 96, 128])
def test_reaches_are_those_of_the_model(size: int, emulated_kernels: Path) -> None:
    """Of the three boxes and the band: shares of R as `model.alignment` rounds them, halves to even."""
    library = build("kernels/align_source_emulated.cpp", emulated_kernels, *aligner_definitions(size))
    boxes = [max(1, round(size * share)) for _, share in alignment._BOXES]
    assert [library.reach(box) for box in range(4)] == [*boxes, round(size * alignment._BAND)]


def test_scratch_is_as_large_as_the_kernels_need(emulated_kernels: Path) -> None:
    library = build("kernels/align_source_emulated.cpp", emulated_kernels, *aligner_definitions(8))
    assert library.scratch_pictures() == SCRATCH_PICTURES
    assert scratch_numbers(8, 32) == 26 * 8**2 + 3 * (2**2 + 4**2 + 8**2 + 16**2 + 32**2)
