"""SourceAligner's kernels on the host, against hidenerf.model.alignment in FP64, and its table of maps by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.export.custom_ops import align_source_shapes
from hidenerf.model import alignment
from hidenerf.model.alignment import SURFACE, Alignment, SourceView, align, sample, source_projection
from hidenerf.model.refinement import SourceSamples, in_frame, refiner_inputs
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.kernels import source_aligner
from hidenerf.runtime.kernels.source_aligner import (
    BLOCKS,
    PARTS,
    SCRATCH_PICTURES,
    OwnPixels,
    SourceAligner,
    SourceMap,
    StemInput,
    aligner_definitions,
    sampling_table,
    sampling_table_last,
    scratch_numbers,
    stem_channels,
)
from tests.support.host_gpu import EmulatedKernels, HostDevice
from tests.support.kernels.align_scenes import Scene, scene
from tests.support.kernels.emulated import build

STREAM = HostDevice.stream
# Channels of the rendered picture.
RENDERED = 5


def expected_alignment(shown: Scene) -> Alignment:
    """In FP64."""
    source = SourceView(shown.source.projection.double(), shown.source.surface.double())
    return align(source, shown.place.double(), shown.alpha.double(), shown.face_sight.double())


def array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor[0].numpy(), np.float32)


class Run:
    """An aligner on host memory that has aligned a scene."""

    def __init__(self, shown: Scene, *, pictured: bool = True, fp16: bool = False) -> None:
        self.device = device = HostDevice()
        size, image_size = shown.alpha.shape[-1], shown.face_sight.shape[-1]
        self.shape = stem_channels(RENDERED, pictured), size, size
        self.kind = np.float16 if fp16 else np.float32
        stem = np.full(self.shape, np.nan, self.kind)
        self.stem = StemInput(device.allocate_copy(stem), RENDERED, pictured, stem.itemsize)
        self.rendered = np.random.default_rng(9).random((RENDERED, size, size), np.float32)
        scratch = np.full(scratch_numbers(size, image_size), np.nan, np.float32)
        self.aligner = SourceAligner(size, image_size, device.allocate_copy(scratch))
        tensors = shown.place, shown.alpha, *shown.source, shown.face_sight
        place, alpha, projection, surface, face_sight = (device.allocate_copy(array(one)) for one in tensors)
        rendered = device.allocate_copy(self.rendered)
        self.aligner.align(place, alpha, rendered, projection, surface, face_sight, self.stem, STREAM)

    def stem_input(self) -> NDArray[np.float64]:
        return self.read(self.stem.address, self.shape, self.kind)

    def read(self, address: int, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[np.float64]:
        """A tensor on the device."""
        found: NDArray[Any] = np.empty(shape, dtype)
        self.device.download(found, address)
        return found.astype(np.float64)


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    monkeypatch.setattr(EmulatedKernels, "folder", emulated_kernels, raising=False)
    monkeypatch.setattr(source_aligner, "Kernels", EmulatedKernels)


@pytest.mark.parametrize(("size", "pictured", "fp16"), [(8, True, False), (16, False, True), (64, True, True)])
def test_the_stem_reads_what_was_rendered_the_guides_and_zeros(size: int, pictured: bool, fp16: bool) -> None:
    """The source picture's three channels come with the picture; nothing else is left as it was."""
    shown = scene(size, 4 * size)
    expected = expected_alignment(shown)
    assert 0.1 < expected.shown.mean() < 0.9
    run = Run(shown, pictured=pictured, fp16=fp16)
    found = run.stem_input()
    rounding = 2**-11 if fp16 else 0
    np.testing.assert_allclose(found[:RENDERED], 2.0 * run.rendered - 1, atol=1e-6 + rounding)
    np.testing.assert_allclose(found[RENDERED], shown.alpha[0, 0], atol=rounding)
    guides = found[RENDERED + 1 : RENDERED + 5]
    np.testing.assert_allclose(guides, expected.guides[0], atol=2e-4 + rounding)
    # 5 + 1 + 4 + 3 channels become 16, and 5 + 1 + 4 become 16, too.
    later = 3 if pictured else 0
    assert np.isnan(found[RENDERED + 5 : RENDERED + 5 + later]).all()
    assert (found[RENDERED + 5 + later :] == 0).all()
    assert len(found) == 16


@pytest.mark.parametrize("rendered", range(1, 40))
def test_the_stem_has_as_many_channels_as_the_kernels_and_the_graph_say(rendered: int, emulated_kernels: Path) -> None:
    library = build("kernels/align_source_emulated.cpp", emulated_kernels, *aligner_definitions(8))
    for pictured in (False, True):
        shapes = align_source_shapes((1, rendered, 8, 8), 32, picture=pictured, enlarged=False)
        assert library.channels_of_stem(rendered, int(pictured)) == stem_channels(rendered, pictured)
        assert shapes["stem_input"][1] == stem_channels(rendered, pictured)


@pytest.mark.parametrize("fp16", [False, True])
def test_maps_of_every_scale_are_in_the_frame(fp16: bool) -> None:
    """Below, at and above the rendered picture's size, and more channels than a thread takes."""
    shown = scene(16, 64)
    expected, run = expected_alignment(shown), Run(shown, fp16=fp16)
    kind = np.float16 if fp16 else np.float32
    generator = np.random.default_rng(0)
    values = [generator.normal(size=(c, h, h)).astype(kind) for c, h in ((3, 4), (17, 8), (16, 16), (40, 32), (5, 64))]
    absent = [generator.normal(size=len(one)).astype(np.float32) for one in values]
    maps = [
        SourceMap(
            run.device.allocate_copy(one),
            run.device.allocate(one.nbytes),
            run.device.allocate_copy(constants),
            one.shape[0],
            one.shape[-1],
        )
        for one, constants in zip(values, absent, strict=True)
    ]
    parts, blocks = sampling_table(maps, values[0].itemsize)
    tables = [run.device.allocate_copy(table.view(np.uint8)) for table in (parts, blocks)]
    run.aligner.sample_maps(tables[0], tables[1], len(blocks), values[0].itemsize, STREAM)
    for one, given, constants in zip(maps, values, absent, strict=True):
        found = run.read(one.sampled, given.shape, kind)
        source, elsewhere = (torch.from_numpy(array.astype(np.float64)) for array in (given[None], constants))
        in_double = in_frame(source, elsewhere, expected.at(one.size))
        np.testing.assert_allclose(found, in_double[0], atol=4e-3 if fp16 else 2e-3)


def test_maps_with_channels_last_are_in_the_frame() -> None:
    """Of every scale, and of several vectors of channels."""
    shown = scene(16, 64)
    expected, run = expected_alignment(shown), Run(shown, fp16=True)
    generator = np.random.default_rng(0)
    values = [generator.normal(size=(h, h, c)).astype(np.float16) for c, h in ((8, 4), (24, 8), (40, 32), (16, 64))]
    absent = [generator.normal(size=one.shape[-1:]).astype(np.float32) for one in values]
    allocate, copy = run.device.allocate, run.device.allocate_copy
    maps = [
        SourceMap(copy(one), allocate(one.nbytes), copy(constants), one.shape[-1], one.shape[0])
        for one, constants in zip(values, absent, strict=True)
    ]
    parts, blocks = sampling_table_last(maps)
    run.aligner.sample_maps_last(copy(parts.view(np.uint8)), copy(blocks.view(np.uint8)), len(blocks), STREAM)
    for one, given, constants in zip(maps, values, absent, strict=True):
        found = run.read(one.sampled, given.shape, np.float16)
        source = torch.from_numpy(given.astype(np.float64).transpose(2, 0, 1)[None])
        in_double = in_frame(source, torch.from_numpy(constants.astype(np.float64)), expected.at(one.size))
        np.testing.assert_allclose(found.transpose(2, 0, 1), in_double[0], atol=4e-3)


def test_a_table_of_maps_with_channels_last_by_hand() -> None:
    parts, blocks = sampling_table_last([SourceMap(1000, 9000, 500, 24, 8), SourceMap(2000, 8000, 512, 8, 4)])
    assert parts.tolist() == np.array([(1000, 9000, 500, 3, 8), (2000, 8000, 512, 1, 4)], PARTS).tolist()
    # 8 · 8 · 3 vectors, and 4 · 4.
    assert blocks.tolist() == np.array([(0, 0), (0, 128), (1, 0)], BLOCKS).tolist()


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("enlarged", [False, True])
def test_the_source_picture_is_in_the_frame(enlarged: bool, fp16: bool) -> None:
    """As the frame takes it, and as the stem, the detail convolution and an enlarger read it."""
    shown = scene(16, 64)
    expected, run = expected_alignment(shown), Run(shown, fp16=fp16)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    small = torch.nn.functional.avg_pool2d(picture, 4)
    side = 32 if enlarged else 64
    of_enlarger = run.device.allocate(4 * 16 * 32**2) if enlarged else 0
    own, own_shown, detail = (run.device.allocate(4 * n) for n in (3 * 64**2, 64**2, 4 * side**2))
    to = OwnPixels(own, own_shown, detail, of_enlarger)
    pictures = run.device.allocate_copy(array(picture)), run.device.allocate_copy(array(small))
    run.aligner.sample_pictures(*pictures, to, run.stem, STREAM)
    here, there = expected.at(16), expected.at(64)
    own_small = here.shown * (2 * sample(small.double(), here.grid) - 1)
    samples = SourceSamples(expected.guides, own_small, sample(picture.double(), there.grid), there.known)
    assert there.known.min() < -0.3
    inputs = refiner_inputs(torch.from_numpy(run.rendered)[None], shown.alpha, samples, enlarged=enlarged, multiple=8)
    rounding = 2**-11 if fp16 else 0
    np.testing.assert_allclose(run.stem_input(), inputs.stem_input[0], atol=1e-3 + rounding)
    np.testing.assert_allclose(run.read(to.own, (3, 64, 64)), samples.own[0], atol=1e-3)  # type: ignore[index]
    np.testing.assert_allclose(run.read(to.shown, (1, 64, 64)), there.shown[0], atol=2e-4)
    read = {"detail_input": (to.detail_input, (4, side, side))}
    read |= {"enlarger_input": (to.enlarger_input, (16, 32, 32))} if enlarged else {}
    for name, (address, shape) in read.items():
        found = run.read(address, shape, run.kind)
        np.testing.assert_allclose(found, inputs._asdict()[name][0], atol=2e-3 + rounding, err_msg=name)


def test_nothing_is_shown_where_no_ray_ends() -> None:
    projection = source_projection(torch.from_numpy(canonical_camera())[None])
    source = SourceView(projection, torch.zeros(1, SURFACE, 8, 8))
    run = Run(Scene(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), source, torch.zeros(1, 4, 32, 32)))
    assert np.abs(run.stem_input()[RENDERED + 1 : RENDERED + 5]).max() == 0


def test_a_table_by_hand() -> None:
    """3 channels of 64² in FP16: 2 and 1; each part has 32 blocks of 128 pixels. 2 channels of 4²: a block each."""
    parts, blocks = sampling_table([SourceMap(1000, 9000, 500, 3, 64), SourceMap(2000, 8000, 512, 2, 4)], 2)
    step, small = 2 * 64**2 * 2, 4**2 * 2
    # Constants are FP32.
    expected = [(1000, 9000, 500, 2, 64), (1000 + step, 9000 + step, 508, 1, 64)]
    expected += [(2000, 8000, 512, 1, 4), (2000 + small, 8000 + small, 516, 1, 4)]
    assert parts.tolist() == np.array(expected, PARTS).tolist()
    of_large = [(part, 128 * block) for part in range(2) for block in range(32)]
    assert blocks.tolist() == np.array([*of_large, (2, 0), (3, 0)], BLOCKS).tolist()
    # The largest maps: 8 channels.
    assert sampling_table([SourceMap(0, 0, 0, 9, 256)], 2)[0]["channels"].tolist() == [8, 1]
    # As `MapPart` and `MapBlock` lie in memory.
    assert (PARTS.itemsize, BLOCKS.itemsize) == (32, 8)


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
