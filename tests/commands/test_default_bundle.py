"""The default bundle: what `hidenerf-run` takes without `--bundle`."""

import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hidenerf.commands import default_bundle
from hidenerf.commands.run import main
from hidenerf.runtime.bundle import ParityState, open_bundle
from tests.support.bundles import damage, set_parity

# `hidenerf-export` of the small untrained model, whose bundle was exported before. The gate is the real one.
EXPORT = """
import shutil, sys
from hidenerf.commands.export import main
from hidenerf.export import bundle_writer
ready = sys.argv.pop(1)
bundle_writer.write_bundle = lambda model, folder, **_: shutil.copytree(ready, folder)
sys.argv += ["--random-init", "0"]
main()
"""


@pytest.fixture
def ready(tmp_path: Path, bundle_fp32: Path) -> Path:
    """What the export writes, before its gate."""
    folder = Path(shutil.copytree(bundle_fp32, tmp_path / "ready"))
    set_parity(folder, None)
    return folder


@pytest.fixture
def cached(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the default bundle goes; the working folder has none."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    folder = tmp_path / "cache" / "bundle"
    monkeypatch.setattr(default_bundle, "cached_bundle_path", lambda: folder)
    monkeypatch.setattr(default_bundle, "EXPORT", [sys.executable, "-c", EXPORT, str(ready)])
    return folder


def run(*options: str) -> Result:
    arguments = ["--backend", "onnxruntime-cpu", "-o", "out.png", "--frames", "1", *options]
    return CliRunner().invoke(main, arguments)


def test_the_export_is_the_command_with_its_gate() -> None:
    assert [sys.executable, "-m", "hidenerf.commands.export"] == default_bundle.EXPORT


@pytest.mark.slow
def test_a_default_bundle_is_exported_compared_and_kept(cached: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert f"No bundle given: exporting the default one to {cached}." in result.stderr
    assert "on 2 frames: passed" in capfd.readouterr().err
    assert open_bundle(cached).parity is ParityState.PASSED
    again = run()
    assert again.exit_code == 0, again.output
    assert "exporting" not in again.output
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_quiet_prints_nothing_while_exporting(cached: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = run("--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert capfd.readouterr() == ("", "")
    assert open_bundle(cached).parity is ParityState.PASSED


@pytest.mark.slow
def test_a_default_bundle_that_fails_is_refused_unless_allowed(
    cached: Path, ready: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(ready, "led")
    refused = run("--quiet")
    assert refused.exit_code == 2
    assert not Path("out.png").exists()
    assert refused.stdout == ""
    (sentence,) = refused.stderr.splitlines()
    assert sentence.startswith(f"Error: {cached}: parity with the model it was exported from failed: ")
    assert "--allow-failed-parity" in sentence
    assert capfd.readouterr().err.startswith("The bundle failed parity: ")
    assert open_bundle(cached).parity is ParityState.FAILED
    assert run().exit_code == 2, "the next run does not forget"
    allowed = run("--allow-failed-parity")
    assert allowed.exit_code == 0, allowed.output
    assert Path("out.png").is_file()
    assert "Parity with the PyTorch model: failed" in allowed.stderr


@pytest.mark.parametrize("place", ["cache", "working folder"])
def test_a_bundle_without_a_verdict_is_refused_unless_allowed(cached: Path, ready: Path, place: str) -> None:
    shutil.copytree(ready, cached if place == "cache" else "bundle")
    refused = run()
    assert refused.exit_code == 2
    assert "never compared with the model it was exported from" in refused.stderr
    assert not Path("out.png").exists()
    assert run("--allow-failed-parity").exit_code == 0


def test_an_export_that_fails_is_an_error(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_bundle, "EXPORT", [sys.executable, "-c", "raise SystemExit(2)"])
    result = run()
    assert result.exit_code == 2
    assert "The default bundle could not be exported; give one with --bundle." in result.stderr
    assert not cached.exists()


def test_without_the_exporter_a_sentence_says_what_to_install(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else object())
    result = run()
    assert result.exit_code == 2
    assert "pip install 'hidenerf[export]'" in result.stderr
    assert not cached.exists()
