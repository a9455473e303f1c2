"""The plugin library as `hidenerf-export` asks for it: built, kept, described, and one sentence where it cannot be."""

import dataclasses
from pathlib import Path

import pytest

from hidenerf.export.engines import plugin
from hidenerf.export.engines.plugin import (
    check_plugin,
    describe_plugin,
    find_plugin,
    plugin_library,
    plugin_library_or_none,
)
from hidenerf.model.config import PRESETS
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import read_verified
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.log_lines import log_lines
from tests.support.plugin.library import only_for
from tests.support.plugin.sizes import OTHER, SMALL, VERSION


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HIDENERF_PLUGIN", raising=False)
    monkeypatch.setenv("HIDENERF_KERNEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_library_says_what_it_was_built_for(library: Path) -> None:
    found = describe_plugin(library)
    assert found.tensorrt == "10.12.0"
    assert found.sms == (75,)
    assert found.renderers == (SMALL, OTHER)
    assert check_plugin(library, [OTHER], "10.16.1") == found


def test_a_library_is_built_once_and_again_when_damaged(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDENERF_KERNEL_CACHE", str(library.parent))
    whole, content = library.read_bytes(), read_verified(library)
    assert content is not None
    built = []

    def build(folder: Path, *_: object) -> Path:
        built.append(folder)
        (folder / "again").write_bytes(content)
        return folder / "again"

    monkeypatch.setattr(plugin, "_build", build)
    assert plugin_library([SMALL, OTHER], VERSION) == library
    assert not built
    library.write_bytes(whole[:-1])
    assert plugin_library([SMALL, OTHER], VERSION) == library
    assert len(built) == 1
    assert library.read_bytes() == whole
    assert plugin_library([SMALL], VERSION) != library
    assert plugin_library([SMALL, OTHER], "10.13.0") != library
    assert [p.suffix for p in library.parent.iterdir()] == [".so"] * 3


def test_a_library_for_something_else_is_refused_with_the_fix(library: Path) -> None:
    with pytest.raises(HideNerfError, match=r"built for TensorRT 10\.12\.0, and this is 11\.4\.0.*-DTENSORRT_VERSION="):
        check_plugin(library, [SMALL], "11.4.0")
    unknown = dataclasses.replace(SMALL, octaves=5)
    with pytest.raises(HideNerfError, match=r"not built for this model.*RENDERERS=9,6,5,2,16,16,24,5\."):
        check_plugin(library, [unknown], VERSION)


def test_a_file_that_is_no_library_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.so").write_bytes(b"\x7fELF and nothing")
    with pytest.raises(HideNerfError, match=r"other\.so is no plugin library of this hidenerf"):
        describe_plugin(tmp_path / "other.so")
    # Of a version before AlignSource, and no description at all.
    older = b'{"tensorrt": "10.12.0", "cuda": "13.0", "architectures": "86", "renderers": "9,6,5,2,16,16,24,3"}\0'
    for garbled in (older, b'{"renderers": "1,2,3"}\0', b'{"renderers": 5}\0', b"{]\0", b'{"tensorrt": "10.12"'):
        (tmp_path / "other.so").write_bytes(b"\x7fELF hidenerf-plugin " + garbled)
        with pytest.raises(HideNerfError, match=r"other\.so is no plugin library of this hidenerf"):
            describe_plugin(tmp_path / "other.so")
    with pytest.raises(HideNerfError, match="cannot be read"):
        describe_plugin(tmp_path / "missing.so")


def test_an_unknown_tensorrt_or_sm_is_one_sentence(
    library: Path,  # noqa: ARG001
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(HideNerfError, match=r"not built \([^\n]* has no tag of TensorRT 10\.99\.0\); see \S+\.log\.$"):
        plugin_library([SMALL], "10.99.0")
    only_for(monkeypatch, 33)
    with pytest.raises(HideNerfError, match=r"not built \(nvcc [\d.]+ does not know sm_33\); see"):
        plugin_library([SMALL], VERSION)
    assert [path.name for path in cache.iterdir()] == ["plugin-build.log"]


def test_a_repository_that_cannot_be_reached_is_one_sentence(
    library: Path,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENSORRT_REPOSITORY", str(tmp_path / "nothing"))
    with pytest.raises(HideNerfError, match=r"headers are not installed, and \S+nothing cannot be reached\); see"):
        plugin_library([SMALL], "10.98.0")


@pytest.mark.parametrize("missing", ["nvcc", "cmake", "c++"])
def test_without_a_tool_the_engine_is_built_without_the_plugin(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXX", "CUDACXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(plugin.shutil, "which", lambda name, **_: None if name == missing else f"/bin/{name}")
    with log_lines() as said:
        assert plugin_library_or_none([SMALL], VERSION) is None
    name = {"nvcc": "nvcc", "cmake": "CMake", "c++": "C++ compiler"}[missing]
    assert len(said) == 1
    assert f"there is no {name}; install" in said[0]
    assert said[0].endswith("The engine is built without it, with TensorRT's own GridSample.")


def test_a_library_of_the_user_s_is_taken_if_it_fits(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_build", lambda *_: pytest.fail("built"))
    monkeypatch.setenv("HIDENERF_PLUGIN", str(library))
    assert find_plugin([SMALL], "10.3.0") == library
    with pytest.raises(HideNerfError, match=r"built for TensorRT 10\.12\.0, and this is 11\.4\.0"):
        find_plugin([SMALL], "11.4.0")
    monkeypatch.setenv("HIDENERF_PLUGIN", str(library.with_name("nothing.so")))
    with pytest.raises(HideNerfError, match=r"nothing\.so cannot be read"):
        find_plugin([SMALL], VERSION)


def test_engines_can_be_built_without_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_tools", lambda: pytest.fail("looked for tools"))
    monkeypatch.setenv("HIDENERF_PLUGIN", "none")
    with log_lines() as said:
        assert find_plugin([SMALL], VERSION) is None
    assert said == ["HIDENERF_PLUGIN is none: the engine is built without the plugin, with TensorRT's own GridSample."]


def test_a_model_that_the_kernels_do_not_take_is_refused() -> None:
    with pytest.raises(HideNerfError, match="the model has 8 and 2"):
        plugin_library([dataclasses.replace(SMALL, channels=8)], VERSION)


def test_a_cache_that_cannot_be_written_is_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_tools", lambda: plugin._Tools("cmake", "true"))
    cache.write_text("a file where the folder should be")
    with pytest.raises(HideNerfError, match=r"cannot be kept in .*HIDENERF_KERNEL_CACHE"):
        plugin_library([SMALL], VERSION)


def test_cmake_builds_the_presets_by_default() -> None:
    presets = [RendererSizes.of_model(config.to_dict()) for config in PRESETS.values()]
    default = ";".join(plugin._text(sizes) for sizes in presets)
    assert f'set(HIDENERF_RENDERERS "{default}" CACHE' in (plugin.SOURCES / "CMakeLists.txt").read_text()
