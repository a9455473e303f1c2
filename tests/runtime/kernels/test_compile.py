"""Every kernel compiles for every SM without a GPU and keeps to its registers; what is compiled is kept."""

import dataclasses
import re
from pathlib import Path

import pytest

from hidenerf.model.config import PRESETS
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels import compile as kernels
from hidenerf.runtime.kernels.compile import FOLDER, SMS, Definitions, compile_source, nvrtc_version
from hidenerf.runtime.kernels.convolution_tiles import MEASURED_LAYERS, LayerShape, choose_tile
from hidenerf.runtime.kernels.ray_sampler import SampleSizes
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.kernels.source_aligner import aligner_definitions
from hidenerf.runtime.launch_plan import VECTOR
from tests.support.kernels.layer_shapes import LAYERS
from tests.support.log_lines import log_lines

# A block of 256 threads twice on a multiprocessor of 65 536 registers; the first version runs once.
MOST_REGISTERS = {"triplane_render.cu": 128, "triplane_render_direct.cu": 255}
pytestmark = pytest.mark.slow

SIZED = ("triplane_render.cu", "triplane_render_direct.cu", "pack_planes.cu")
ALIGNER, SAMPLER, CONVOLUTION = "align_source.cu", "ray_samples.cu", "convolution.cu"


@pytest.fixture(autouse=True)
def nvrtc() -> None:
    try:
        kernels.cuda_core()
        nvrtc_version()
    except HideNerfError as error:
        pytest.skip(f"{error}")


def resources(log: str) -> dict[str, tuple[int, int, int]]:
    """Per kernel: registers, stack bytes, spilled bytes."""
    pattern = (
        r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers"
    )
    found = re.findall(pattern, log, re.S)
    return {n: (int(registers), int(stack), int(stores) + int(loads)) for n, stack, stores, loads, registers in found}


def jobs() -> list[tuple[str, str, Definitions]]:
    sized: list[tuple[str, str, Definitions]] = []
    for source in SIZED:
        for name, config in PRESETS.items():
            sizes = RendererSizes.of_model(config.to_dict())
            sized.append((source, name, sizes.definitions()))
            if source.startswith("triplane_render"):
                sized.append((source, f"{name} with place", dataclasses.replace(sizes, place=1).definitions()))
    aligners: list[tuple[str, str, Definitions]] = [
        (ALIGNER, name, aligner_definitions(config.render_size)) for name, config in PRESETS.items()
    ]
    samplers: list[tuple[str, str, Definitions]] = [
        (SAMPLER, name, SampleSizes.of_model(config.to_dict()).definitions()) for name, config in PRESETS.items()
    ]
    sized_elsewhere = (*SIZED, ALIGNER, SAMPLER, CONVOLUTION)
    others = [path.name for path in sorted(FOLDER.glob("*.cu")) if path.name not in sized_elsewhere]
    return sized + aligners + samplers + [(name, "", ()) for name in others]


def require_within_registers(
    source: str, definitions: Definitions, sm: int, what: str, unused: tuple[str, ...] = ()
) -> None:
    """unused: kernels that are never launched with these definitions."""
    cubin = compile_source(source, definitions, sm)
    assert cubin.code.startswith(b"\x7fELF")
    found = resources(cubin.log)
    text = (FOLDER / source).read_text()
    assert len(found) == text.count("__global__") > 0, cubin.log
    for name in found.keys() - set(unused):
        registers, stack, spilled = found[name]
        assert (stack, spilled) == (0, 0), f"{name} {what} SM {sm}: {stack} stack, {spilled} spilled"
        assert registers <= MOST_REGISTERS.get(source, 128)


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize(("source", "preset", "definitions"), jobs(), ids=lambda x: x if isinstance(x, str) else "")
def test_compiles_without_spills_or_local_memory(source: str, preset: str, definitions: Definitions, sm: int) -> None:
    require_within_registers(source, definitions, sm, preset)


@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_tiles_of_layers_compile_without_spills_or_local_memory(layer: str, sm: int) -> None:
    require_tile_within_registers(LAYERS[layer], sm, 132 if sm in (80, 90, 100) else 60)


@pytest.mark.parametrize("shape", MEASURED_LAYERS, ids=str)
def test_tiles_of_measured_layers_compile_without_spills_or_local_memory(shape: LayerShape) -> None:
    require_tile_within_registers(shape, 90, 132)


def require_tile_within_registers(shape: LayerShape, sm: int, multiprocessors: int) -> None:
    tile = choose_tile(shape, sm, multiprocessors)
    # Only a layer of so few channels can be the frame's head.
    unused = ("convolution_to_frame",) if shape.outputs > VECTOR else ()
    require_within_registers(CONVOLUTION, tile.definitions(), sm, str(shape), unused)


def test_a_compile_error_is_one_sentence() -> None:
    with pytest.raises(HideNerfError, match=r"pack_planes\.cu do not compile for SM 90"):
        compile_source("pack_planes.cu", (("RENDER_SIZE", 8),), 90)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIDENERF_KERNEL_CACHE", str(tmp_path / "cache"))
    kernels._warn_once.cache_clear()
    return tmp_path / "cache"


def test_what_is_compiled_is_kept_and_found(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kernels.cached_cubin("pictures.cu", (), 90, "13000")
    (entry,) = cache.iterdir()
    monkeypatch.setattr(kernels, "compile_source", lambda *_: pytest.fail("compiled again"))
    assert kernels.cached_cubin("pictures.cu", (), 90, "13000") == first
    assert list(cache.iterdir()) == [entry]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 5000])
def test_a_damaged_entry_is_made_again(cache: Path, damage: bytes) -> None:
    first = kernels.cached_cubin("pictures.cu", (), 90, "13000")
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert kernels.cached_cubin("pictures.cu", (), 90, "13000") == first
    assert entry.read_bytes() == whole


def test_another_driver_sm_or_definition_is_another_entry(cache: Path) -> None:
    for definitions, sm, driver in (
        ((), 90, "13000"),
        ((), 90, "13010"),
        ((), 80, "13000"),
        ((("UNUSED", 1),), 90, "13000"),
    ):
        kernels.cached_cubin("pictures.cu", definitions, sm, driver)
    assert len(list(cache.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_said_once(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with log_lines() as lines:
        for _ in range(2):
            assert kernels.cached_cubin("pictures.cu", (), 90, "13000").startswith(b"\x7fELF")
    (line,) = lines
    assert "cannot be kept" in line
    assert line.endswith("name another folder in HIDENERF_KERNEL_CACHE.")
