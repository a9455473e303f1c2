"""The parity gate of `hidenerf-export`: however a bundle comes to be, `hidenerf-run` does not run it unchecked.

The model is the small one of tests/support/bundles.py in the place of the preset `demo`, its graphs exported before.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hidenerf.commands.export import main
from hidenerf.commands.run import main as run_main
from hidenerf.export import bundle_writer
from hidenerf.runtime.bundle import PARITY_REPORT, ParityState, open_bundle
from tests.support.bundles import damage, set_parity, verdict_in


@pytest.fixture
def damaged(small_demo: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Exports write a bundle that is not the model."""
    write = bundle_writer.write_bundle

    def write_and_damage(model: Any, folder: Path, **how: Any) -> None:
        write(model, folder, **how)
        damage(folder, "led")

    monkeypatch.setattr(bundle_writer, "write_bundle", write_and_damage)


def export(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["-o", str(folder), "--random-init", "0", *options])


def run(bundle: Path, *options: str) -> Result:
    output = bundle.parent / "out.png"
    arguments = ["--bundle", str(bundle), "--backend", "onnxruntime-cpu", "-o", str(output), "--frames", "1", *options]
    result = CliRunner().invoke(run_main, arguments)
    assert output.exists() == (result.exit_code == 0), result.output
    output.unlink(missing_ok=True)
    return result


def assert_never_compared(bundle: Path) -> None:
    """It has no verdict, is refused in one sentence, and runs with a note if the user says so."""
    assert open_bundle(bundle).parity is ParityState.NEVER_COMPARED
    refused = run(bundle)
    assert refused.exit_code == 2
    assert f"never compared with the model it was exported from; run hidenerf-parity {bundle}" in refused.stderr
    allowed = run(bundle, "--allow-failed-parity")
    assert allowed.exit_code == 0, allowed.output
    assert "never compared" in allowed.stderr


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_bundle_that_passes_runs(tmp_path: Path, precision: str) -> None:
    bundle = tmp_path / "bundle"
    result = export(bundle, *([] if precision == "fp32" else ["--fp16"]))
    assert result.exit_code == 0, result.output
    assert f"{precision.upper()} on onnxruntime-cpu against PyTorch FP32 on 2 frames: passed" in result.stderr
    verdict = verdict_in(bundle)
    assert (verdict.passed, verdict.failed, verdict.frames) == (True, None, 2)
    assert (verdict.precision, verdict.backend) == (precision, "onnxruntime-cpu")
    assert verdict.frame_psnr is not None
    assert verdict.frame_psnr >= verdict.thresholds["frame_psnr"]
    assert (bundle / PARITY_REPORT).is_file()
    ran = run(bundle)
    assert ran.exit_code == 0, ran.output
    assert "arity" not in ran.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("damaged")
def test_a_bundle_that_is_not_the_model_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    result = export(bundle)
    assert result.exit_code == 1
    assert "FAILED" in result.stderr
    assert "--allow-failed-parity" in result.stderr
    assert open_bundle(bundle).parity is ParityState.FAILED
    refused = run(bundle)
    assert refused.exit_code == 2
    assert "--allow-failed-parity" in refused.stderr
    allowed = run(bundle, "--allow-failed-parity")
    assert allowed.exit_code == 0, allowed.output
    assert "failed" in allowed.stderr


@pytest.mark.usefixtures("damaged")
def test_quiet_leaves_the_errors(tmp_path: Path) -> None:
    result = export(tmp_path / "bundle", "--quiet")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("The bundle failed parity: ")


@pytest.mark.usefixtures("small_demo")
def test_an_export_without_parity_waives_it_and_running_says_so(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    result = export(bundle, "--no-parity")
    assert result.exit_code == 0
    assert "against PyTorch" not in result.output
    assert open_bundle(bundle).parity is ParityState.WAIVED
    ran = run(bundle)
    assert ran.exit_code == 0, ran.output
    assert "Parity with the PyTorch model: waived." in ran.stderr


@pytest.mark.slow
def test_a_gate_that_lacks_a_package_leaves_the_bundle_without_a_verdict(tmp_path: Path, bundle_fp32: Path) -> None:
    script = """
import shutil, sys
sys.modules["flip_evaluator"] = None
from hidenerf.commands.export import main
from hidenerf.export import bundle_writer
ready = sys.argv.pop()
bundle_writer.write_bundle = lambda model, folder, **_: shutil.copytree(ready, folder)
main()
"""
    ready = Path(shutil.copytree(bundle_fp32, tmp_path / "ready"))
    set_parity(ready, None)
    arguments = ["-o", str(tmp_path / "bundle"), "--random-init", "0", str(ready)]
    command = [sys.executable, "-c", script, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Parity was not checked: it needs the package flip_evaluator" in result.stderr
    assert "pip install 'hidenerf[export,cpu]'" in result.stderr
    assert "--allow-failed-parity" in result.stderr
    assert_never_compared(tmp_path / "bundle")


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


@pytest.mark.usefixtures("small_demo")
def test_an_interrupted_gate_leaves_the_bundle_without_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hidenerf.calibration.parity.gate.compare", raising(KeyboardInterrupt()))
    result = export(tmp_path / "bundle")
    assert result.exit_code == 130
    assert_never_compared(tmp_path / "bundle")


@pytest.mark.slow
@pytest.mark.usefixtures("small_demo")
def test_a_full_disk_at_the_end_of_the_gate_leaves_the_bundle_without_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hidenerf.calibration.parity.gate.store_in_bundle", raising(OSError(28, "No space left")))
    result = export(tmp_path / "bundle")
    assert result.exit_code == 2
    assert "disk is full" in result.stderr
    assert_never_compared(tmp_path / "bundle")


def test_a_bundle_of_before_there_was_parity_is_refused(own_bundle: Path) -> None:
    set_parity(own_bundle, None)
    assert_never_compared(own_bundle)


@pytest.mark.slow
@pytest.mark.usefixtures("small_demo")
def test_another_export_takes_the_verdict_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle"
    assert export(bundle).exit_code == 0
    assert open_bundle(bundle).parity is ParityState.PASSED
    monkeypatch.setattr("hidenerf.calibration.parity.gate.compare", raising(KeyboardInterrupt()))
    assert export(bundle).exit_code == 130
    assert_never_compared(bundle)


def test_building_engines_is_no_verdict(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_parity(own_bundle, None)
    built: list[Path] = []
    monkeypatch.setattr("hidenerf.export.engines.builder_library.load_builder_library", lambda _: None)
    monkeypatch.setattr("hidenerf.export.engines.targets.choose_targets", lambda *_: object())
    monkeypatch.setattr("hidenerf.export.engines.writer.write_engines", lambda folder, *_: built.append(folder))
    result = CliRunner().invoke(main, [str(own_bundle), "--backend", "tensorrt"])
    assert result.exit_code == 0, result.output
    assert built == [own_bundle]
    assert_never_compared(own_bundle)


def test_an_export_that_fails_is_not_followed_by_a_gate(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "nowhere.safetensors"), "-o", str(tmp_path / "bundle")])
    assert result.exit_code == 2
    assert "nowhere.safetensors" in result.stderr
    assert "arity" not in result.output
