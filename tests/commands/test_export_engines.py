"""`hidenerf-export --backend`, as its users start it."""

import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hidenerf.commands.export import main
from hidenerf.export import bundle_writer
from hidenerf.runtime.bundle import open_bundle
from tests.support.engine_builds import set_of
from tests.support.exported import island_counts, tiny_graphs, whole
from tests.support.files import contents
from tests.support.networks import bundle_of, convolution, rtx
from tests.support.tiny import tiny_model


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return bundle_of(convolution(tmp_path), tmp_path / "bundle")


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, (result.output, result.exception)
    if code:
        assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
        assert "Traceback" not in result.output
    return result.output


@pytest.mark.slow
def test_the_engines_of_a_bundle_are_built_and_then_kept(quick: Path) -> None:
    rtx()
    assert run(quick, "--backend", "tensorrt-rtx", "--sm", "86,89").count(": built ") == 6
    assert run(quick, "--backend", "tensorrt-rtx", "--sm", "86,89").count(": kept") == 6
    assert set_of(quick, 89).is_dir()
    assert not set_of(quick, 80).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sm", "86"], "--backend"),
        (["--backend", "trt"], "'trt'"),
        (["--backend", "tensorrt-rtx", "--sm", "88"], "'88' is no SM"),
        (["--backend", "tensorrt-rtx", "--sm", "87"], "Jetson Orin"),
        (["--backend", "tensorrt-rtx", "--fp16"], "leave out --fp16"),
        (["--backend", "tensorrt-rtx", "-o", "other"], "leave out --output"),
        (["--trtexec", "9.0"], "TensorRT 9.0 is not supported"),
        (["--trtexec", "8.6", "--fp16"], "leave out --fp16"),
        ([], "give a checkpoint (.safetensors), or a bundle and --backend"),
    ],
)
def test_bad_input_for_a_bundle(quick: Path, arguments: list[str], said: str) -> None:
    if "tensorrt-rtx" in arguments:
        rtx()
    before = contents(quick)
    assert said in run(quick, *arguments, code=2)
    assert contents(quick) == before


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    rtx()
    assert "manifest.json" in run(tmp_path, "--backend", "tensorrt-rtx", code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_library_is_said_before_anything_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setitem(sys.modules, backend.replace("-", "_"), None)
    message = run("--backend", backend, "-o", tmp_path / "bundle", code=2)
    assert f"pip install 'hidenerf[{backend}]'" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_export_keeps_the_engines_in_the_bundle_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model in the shipped checkpoint's place; its graphs were exported before."""
    rtx()
    monkeypatch.setattr("hidenerf.export.weights.load_checkpoint", lambda _: tiny_model())
    monkeypatch.setattr(bundle_writer, "graph_modules", lambda _: list(tiny_graphs().values()))
    monkeypatch.setattr(
        bundle_writer,
        "export_graph",
        lambda graph, precision: (whole(graph.name, precision.value), island_counts(graph.name)),
    )
    folder = tmp_path / "bundle"
    engines = ["--backend", "tensorrt-rtx", "--sm", "86"]
    assert run("--fp16", *engines, "-o", folder).count(": built ") == 3
    plans = contents(folder / "engines")
    assert run("--fp16", *engines, "-o", folder).count(": kept") == 3
    run("-o", folder)
    assert open_bundle(folder).precision == "fp32"
    assert contents(folder / "engines") == plans
    assert run(folder, *engines).count(": rebuilt, the graph changed ") == 3
    (folder / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in run("-o", folder, code=2)
    assert (folder / "thesis.tex").is_file()
    assert set_of(folder, 86).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    shutil.rmtree(folder / "engines")
    assert open_bundle(folder).precision == "fp32"


def test_graphs_for_trtexec_are_written_and_its_commands_printed(quick: Path, tmp_path: Path) -> None:
    printed = run(quick, "--trtexec", "8.6", "-o", tmp_path / "plans")
    assert [line.split()[0] for line in printed.splitlines()] == ["trtexec"] * 3
    assert len(list((tmp_path / "plans").glob("*.onnx"))) == 3
    assert "give a bundle whose graphs to write" in run("--trtexec", "8.6", code=2)
