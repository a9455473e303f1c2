"""`hidenerf-export` with its gate. The export itself is tested in tests/commands/test_export.py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hidenerf.commands.export import main
from hidenerf.export import bundle_writer
from hidenerf.runtime.bundle import MANIFEST_NAME, PARITY_REPORT, ParityState, open_bundle, require_parity
from hidenerf.runtime.errors import HideNerfError
from tests.support.bundles import damage, set_parity


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, bundle_fp32: Path) -> list[Path]:
    """Where bundles were written: copies of one that was exported before, since exporting is slow."""
    folders: list[Path] = []

    def copy(_model: Any, folder: Path, *, parity_waived: bool, **_: Any) -> None:
        folders.append(folder)
        shutil.copytree(bundle_fp32, folder)
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        manifest["parity"] = {"waived": True} if parity_waived else None
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest))

    monkeypatch.setattr(bundle_writer, "write_bundle", copy)
    return folders


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_new_bundle_carries_its_verdict(written: list[Path], tmp_path: Path) -> None:
    result = run("-o", tmp_path / "bundle", "--random-init", 0)
    assert result.exit_code == 0, result.output
    assert "FP32 on onnxruntime-cpu against PyTorch FP32 on 2 frames: passed" in result.stderr
    entry = open_bundle(tmp_path / "bundle").manifest["parity"]
    assert (entry["passed"], entry["failed"], entry["frames"]) == (True, None, 2)
    assert (entry["precision"], entry["backend"]) == ("fp32", "onnxruntime-cpu")
    assert entry["frame_psnr"] == "inf" or entry["frame_psnr"] >= entry["thresholds"]["frame_psnr"]
    assert (tmp_path / "bundle" / PARITY_REPORT).is_file()
    assert written == [tmp_path / "bundle"]


def test_a_bundle_that_is_not_the_model_says_so(
    written: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = bundle_writer.write_bundle

    def copy_and_damage(model: Any, folder: Path, **how: Any) -> None:
        copy(model, folder, **how)
        damage(folder, "led")

    monkeypatch.setattr(bundle_writer, "write_bundle", copy_and_damage)
    result = run("-o", tmp_path / "bundle", "--random-init", 0)
    assert result.exit_code == 1
    assert "FAILED" in result.stderr
    assert "--allow-failed-parity" in result.stderr
    assert open_bundle(tmp_path / "bundle").failed_parity is not None
    assert len(written) == 1


@pytest.mark.usefixtures("written")
def test_the_gate_can_be_left_out(tmp_path: Path) -> None:
    result = run("-o", tmp_path / "bundle", "--no-parity")
    assert result.exit_code == 0
    assert "arity" not in result.output
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.parity is ParityState.WAIVED
    require_parity(bundle)


@pytest.mark.usefixtures("written")
def test_engines_alone_are_not_gated(tmp_path: Path, bundle_fp32: Path) -> None:
    result = run(bundle_fp32, "-o", tmp_path / "bundle")
    assert "arity" not in result.output


@pytest.mark.usefixtures("written")
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
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.parity is ParityState.NEVER_COMPARED
    with pytest.raises(HideNerfError, match="never compared"):
        require_parity(bundle)


def test_an_export_that_fails_is_not_followed_by_a_gate(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere.safetensors", "-o", tmp_path / "bundle")
    assert result.exit_code == 2
    assert "nowhere.safetensors" in result.stderr
    assert "arity" not in result.output


def test_help_is_the_exports_and_needs_none_of_the_heavy_packages() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in ("torch", "onnx", "polygraphy", "onnxruntime"))
    code = f"import sys; {blocked}; from hidenerf.commands.export import main; main(['--help'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for option in ("CHECKPOINT", "--fp16", "--face-model", "--no-parity"):
        assert option in result.stdout
