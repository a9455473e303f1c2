"""`hidenerf-export` as its users start it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hidenerf.commands.export import main
from hidenerf.export import bundle_writer
from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import Weights
from tests.support.exported import island_counts, tiny_graphs, whole
from tests.support.exported_presets import Exported
from tests.support.tiny import tiny_model

EXPORT = [sys.executable, "-m", "hidenerf.commands.export"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(tiny_model(), path)
    return path


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny checkpoint's graphs were exported before."""
    monkeypatch.setattr(bundle_writer, "graph_modules", lambda _: list(tiny_graphs().values()))
    monkeypatch.setattr(
        bundle_writer,
        "export_graph",
        lambda graph, precision: (whole(graph.name, precision.value), island_counts(graph.name)),
    )


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*EXPORT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)


def refuse(*arguments: object) -> str:
    """The sentence of a refusal by subprocess."""
    result = run(*arguments)
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def refuse_here(*arguments: object) -> str:
    """The same without a new process, where the imports of one would take seconds."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 2, (result.output, result.exception)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def test_help_names_every_option() -> None:
    result = run("--help")
    assert result.returncode == 0
    for option in ("CHECKPOINT", "--output", "--fp16", "--random-init", "--preset", "--face-model"):
        assert option in result.stdout
    assert run("-h").stdout == result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--fp61"], "--fp61"),
        (["--preset", "huge"], "huge"),
        (["--random-init", "one"], "one"),
        (["a.safetensors", "b.safetensors"], "b.safetensors"),
        (["--output"], "--output"),
    ],
)
def test_a_misspelt_option_is_one_sentence(arguments: list[str], named: str) -> None:
    assert named in refuse(*arguments)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(tmp_path: Path, seed: int) -> None:
    assert str(seed) in refuse_here("--random-init", seed, "-o", tmp_path / "bundle")


@pytest.mark.parametrize("option", [["--random-init", "1"], ["--preset", "base"]])
def test_a_checkpoint_takes_neither_seed_nor_preset(checkpoint: Path, tmp_path: Path, option: list[str]) -> None:
    assert "checkpoint" in refuse_here(checkpoint, *option, "-o", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_no_such_checkpoint(tmp_path: Path) -> None:
    assert "nowhere.safetensors" in refuse(tmp_path / "nowhere.safetensors", "-o", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_its_config_is_named(tmp_path: Path) -> None:
    import safetensors.torch

    model = tiny_model()
    metadata = {
        "format": "hidenerf-checkpoint",
        "version": "1",
        "config": json.dumps(model.config.to_dict() | {"mlp_width": 24}),
    }
    safetensors.torch.save_file(model.state_dict(), tmp_path / "x.safetensors", metadata)
    message = refuse(tmp_path / "x.safetensors", "-o", tmp_path / "bundle")
    assert "renderer.first.weight" in message
    assert "[16, 26]" in message
    assert "[24, 26]" in message
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 not ours")
    assert "model.pt" in refuse_here(tmp_path / "model.pt", "-o", tmp_path / "bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_a_face_model_that_is_none(tmp_path: Path) -> None:
    assert "nowhere.npz" in refuse_here("--face-model", tmp_path / "nowhere.npz", "-o", tmp_path / "bundle")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert "other.npz" in refuse_here("--face-model", tmp_path / "other.npz", "-o", tmp_path / "bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["other.npz"]


def test_outputs_that_are_no_bundle_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refuse_here("-o", tmp_path / "file")
    (tmp_path / "thesis.tex").write_text("years of work")
    assert str(tmp_path) in refuse_here("-o", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "thesis.tex"]


def test_an_output_that_cannot_be_made_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(bundle_writer, "graph_modules", lambda _: pytest.fail("the export has begun"))
    assert "file" in refuse_here("-o", tmp_path / "file" / "bundle")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("fp16", [False, True])
def test_a_checkpoint_becomes_a_bundle(checkpoint: Path, tmp_path: Path, fp16: bool) -> None:
    folder = tmp_path / "bundle"
    result = CliRunner().invoke(main, [str(checkpoint), "-o", str(folder), *(["--fp16"] if fp16 else [])])
    assert result.exit_code == 0, result.output
    bundle = open_bundle(folder)
    assert bundle.trained
    assert bundle.manifest.checkpoint == Weights(sha256_of(checkpoint), "tiny.safetensors")
    assert bundle.precision == ("fp16" if fp16 else "fp32")
    assert str(folder) in result.output
    assert re.search(r"\d+% remain", result.output)
    assert "noise" not in result.output


@pytest.mark.slow
@pytest.mark.usefixtures("quick_export")
def test_a_checkpoint_inside_the_bundle_that_it_replaces_is_not_deleted(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    assert CliRunner().invoke(main, [str(checkpoint), "-o", str(folder)]).exit_code == 0
    inside = folder / "model.safetensors"
    inside.write_bytes(checkpoint.read_bytes())
    result = CliRunner().invoke(main, [str(inside), "-o", str(folder)])
    assert inside.read_bytes() == checkpoint.read_bytes()
    assert result.exit_code in (0, 2)


@pytest.mark.slow
def test_untrained_weights_of_a_preset(exported_preset: Callable[[str], Exported]) -> None:
    exported = exported_preset("demo")
    bundle = open_bundle(exported.bundle)
    assert not bundle.trained
    assert bundle.manifest.checkpoint == Weights(seed=0)
    assert bundle.preset == "demo"
    assert (bundle.image_size, bundle.precision) == (256, "fp32")
    assert "noise, not a face" in exported.printed
    remain = re.search(r"\((\d+)% remain\)", exported.printed)
    assert remain is not None
    assert int(remain[1]) <= 45


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Interrupted while the first graph is being exported: its folder is there under another name."""
    process = subprocess.Popen(
        [*EXPORT, "-o", str(tmp_path / "bundle")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 1200
        while not any(tmp_path.iterdir()):
            assert time.monotonic() < deadline, "nothing was begun"
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=1200)
    finally:
        process.kill()
    # Where the interrupt passed through an `exec` of PyTorch's, Python itself ends by the signal: also 130 in a shell.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert "Interrupted" in errors
    assert list(tmp_path.iterdir()) == []
