"""`hidenerf-parity` on small untrained bundles."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hidenerf.commands.parity import main
from hidenerf.commands.run import main as run_main
from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.bundle import GRAPH_NAMES, PARITY_REPORT, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import MANIFEST_NAME
from hidenerf.runtime.video.pictures import read_picture
from tests.support.bundles import damage, verdict_in
from tests.support.tiny import TINY


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_fresh_bundle_passes(request: pytest.FixtureRequest, tmp_path: Path, precision: str) -> None:
    bundle = Path(shutil.copytree(request.getfixturevalue(f"bundle_{precision}"), tmp_path / "bundle"))
    result = run(bundle, "--frames", 4)
    assert result.exit_code == 0, result.output
    (note,) = [line for line in result.stderr.splitlines() if " against " in line]
    assert note.endswith(" frames of demo_motion.npz on demo_source.npz")
    assert "4 of" in note
    assert f"{precision.upper()} on onnxruntime-cpu" in note
    assert "Passed" in result.stdout
    verdict = verdict_in(bundle)
    assert verdict.passed is True
    assert verdict.frame_psnr is not None
    assert verdict.frame_psnr >= (60.0 if precision == "fp32" else 45.0)
    content = json.loads((bundle / str(verdict.report)).read_text())
    assert len(content["frames"]) == 4
    assert content["source"]["name"] == "demo_source.npz"
    assert len(content["driving"]["sha256"]) == 64
    size = open_bundle(bundle).image_size
    assert read_picture(bundle / content["worst_frame"]["picture"]).shape == (size, 3 * size, 3)


@pytest.mark.parametrize("graph", GRAPH_NAMES)
def test_one_damaged_convolution_fails_with_exit_code_1(own_bundle: Path, graph: str) -> None:
    damage(own_bundle, graph)
    result = run(own_bundle, "--frames", 2)
    assert result.exit_code == 1, result.output
    failed = {line.split()[0] for line in result.stdout.splitlines() if line.endswith("FAILED")}
    assert failed - {"PSNR", "flicker", "whole_frame"} == {graph}
    assert "FAILED (" in result.stdout
    verdict = verdict_in(own_bundle)
    assert verdict.passed is False
    assert json.loads((own_bundle / str(verdict.report)).read_text())["passed"] is False


def test_a_checkpoints_bundle(own_bundle: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights.safetensors"
    save_checkpoint(random_model(TINY, 0), checkpoint)
    manifest = json.loads((own_bundle / MANIFEST_NAME).read_text())
    manifest["checkpoint"] = {"sha256": sha256_of(checkpoint), "name": checkpoint.name}
    (own_bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
    refused = run(own_bundle)
    assert refused.exit_code == 2
    assert "--checkpoint" in refused.stderr
    assert run(own_bundle, "--checkpoint", checkpoint, "--frames", 1).exit_code == 0


@pytest.mark.slow
def test_a_real_portrait_and_clip(own_bundle: Path, shared_data: Path, face_landmarker: Path) -> None:
    portrait, clip = shared_data / "src_astronaut.png", shared_data / "drv_d0.mp4"
    result = run(own_bundle, "-s", portrait, "-d", clip, "--face-landmarker", face_landmarker, "--frames", 3)
    assert result.exit_code == 0, result.output
    content = json.loads((own_bundle / "parity/report.json").read_text())
    assert content["source"] == {"name": portrait.name, "sha256": sha256_of(portrait)}
    assert content["motion_frames"] == 78
    assert [frame["index"] for frame in content["frames"]] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-s", "nowhere.png"], "nowhere.png: no such file"),
        (["-d", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["-d", "camera:0"], "camera:0: a camera cannot be repeated"),
        (["--checkpoint", "nowhere.safetensors"], "leave out --checkpoint"),
        (["--frames", "0"], "--frames"),
        (["--backend", "abacus"], "abacus"),
        (["--reference-backend", "onnxruntime-cpu"], "give a bundle as --reference"),
        (["--reference", "nowhere"], "nowhere: no such bundle"),
        (["-o", "report.pdf"], "must end in .html"),
        (["--farmes", "3"], "--farmes"),
    ],
)
def test_user_errors_are_one_sentence_and_exit_code_2(own_bundle: Path, arguments: list[str], message: str) -> None:
    before = sorted(own_bundle.iterdir()), (own_bundle / MANIFEST_NAME).read_bytes()
    result = run(own_bundle, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert (sorted(own_bundle.iterdir()), (own_bundle / MANIFEST_NAME).read_bytes()) == before


@pytest.mark.slow
def test_a_bundle_that_is_read_only_gets_its_report_elsewhere(own_bundle: Path, tmp_path: Path) -> None:
    files = sorted(own_bundle.rglob("*"))
    before = {path: path.read_bytes() for path in files if path.is_file()}
    mounted = subprocess.run(
        ["mount", "--bind", "-o", "ro", str(own_bundle), str(own_bundle)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting read-only is not permitted here")
    try:
        refused = run(own_bundle, "--frames", 2)
        assert refused.exit_code == 2
        assert (
            f"{own_bundle}: this folder is not writable; name a folder for the report with --report." in refused.stderr
        )
        folder = tmp_path / "new" / "report"
        result = run(own_bundle, "--frames", 2, "--report", folder)
    finally:
        subprocess.run(["umount", str(own_bundle)], check=True)
    assert result.exit_code == 0, result.output
    assert f"Report written to {folder}." in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "worst_frame.png"]
    content = json.loads((folder / "report.json").read_text())
    assert content["passed"] is True
    assert content["worst_frame"]["picture"] == "worst_frame.png"
    assert {path: path.read_bytes() for path in files if path.is_file()} == before


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = run(folder)
        assert result.exit_code == 2
        assert str(folder) in result.stderr


def test_a_changed_bundle_is_refused(own_bundle: Path) -> None:
    with (own_bundle / "led.onnx").open("ab") as stream:
        stream.write(b"\0")
    result = run(own_bundle)
    assert result.exit_code == 2
    assert "led.onnx was changed" in result.stderr


@pytest.mark.parametrize("package", ["torch", "flip_evaluator"])
def test_a_missing_package_is_named_with_its_extra(own_bundle: Path, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from hidenerf.commands.parity import main; main()"
    result = subprocess.run([sys.executable, "-c", code, str(own_bundle)], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert package in result.stderr
    assert "pip install 'hidenerf[export,cpu]'" in result.stderr
    assert "Traceback" not in result.stderr


def run_bundle(bundle: Path, output: Path, *arguments: str) -> Result:
    command = ["--bundle", str(bundle), "--backend", "onnxruntime-cpu", "-o", str(output), "--frames", "1"]
    return CliRunner().invoke(run_main, [*command, *arguments])


def test_a_bundle_that_failed_is_refused_unless_told(own_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    assert run_bundle(own_bundle, output).exit_code == 0, "without a verdict it runs"
    output.unlink()
    damage(own_bundle, "renderer_refiner")
    assert run(own_bundle, "--frames", 2).exit_code == 1

    refused = run_bundle(own_bundle, output)
    assert refused.exit_code == 2
    assert not output.exists()
    (sentence,) = [line for line in refused.stderr.splitlines() if line.startswith("Error: ")]
    frame_psnr = verdict_in(own_bundle).frame_psnr
    assert f"{frame_psnr:.1f} dB where 60 dB is asked" in sentence
    assert "--allow-failed-parity" in sentence
    with pytest.raises(HideNerfError, match="dB where 60 dB is asked"):
        Animator(own_bundle)
    Animator(own_bundle, allow_failed_parity=True).close()

    allowed = run_bundle(own_bundle, output, "--allow-failed-parity")
    assert allowed.exit_code == 0, allowed.output
    assert output.is_file()
    assert "Parity with the PyTorch model: failed" in allowed.stderr


def test_a_verdict_is_replaced_by_that_of_another_run(own_bundle: Path) -> None:
    graph = (own_bundle / "led.onnx").read_bytes()
    damage(own_bundle, "led")
    assert run(own_bundle, "--frames", 1).exit_code == 1
    manifest = json.loads((own_bundle / MANIFEST_NAME).read_text())
    (own_bundle / "led.onnx").write_bytes(graph)
    manifest["files"]["led.onnx"] = sha256_of(own_bundle / "led.onnx")
    (own_bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
    assert run(own_bundle, "--frames", 1).exit_code == 0
    assert open_bundle(own_bundle).failed_parity is None


def test_the_page_shows_the_worst_frame(own_bundle: Path) -> None:
    damage(own_bundle, "renderer_refiner")
    run(own_bundle, "--frames", 4)
    page = (own_bundle / PARITY_REPORT).read_text(encoding="utf-8")
    worst = json.loads((own_bundle / "parity/report.json").read_text())["worst_frame"]["index"]
    assert f"<b>Frame {worst}</b>" in page
    assert "Failed: " in page


@pytest.mark.slow
def test_another_bundle_as_reference(own_bundle: Path, bundle_fp32: Path, bundle_fp16: Path, tmp_path: Path) -> None:
    before = (own_bundle / MANIFEST_NAME).read_bytes()
    page = tmp_path / "page.html"
    result = run(own_bundle, "--reference", bundle_fp16, "--frames", 2, "--backend", "onnxruntime-cpu", "-o", page)
    assert result.exit_code == 0, result.output
    assert f"FP32 on onnxruntime-cpu against {bundle_fp16.name}, FP16 on onnxruntime-cpu" in result.stderr
    assert "frames ≥ 45 dB" in result.stdout
    assert f"reference: {bundle_fp16.name}, FP16 on onnxruntime-cpu" in page.read_text(encoding="utf-8")
    assert (own_bundle / MANIFEST_NAME).read_bytes() == before
    assert not (own_bundle / "parity").exists()

    damage(own_bundle, "led")
    assert run(own_bundle, "--reference", bundle_fp32, "--frames", 1).exit_code == 1


def test_bundles_of_different_models_are_refused(own_bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(own_bundle, tmp_path / "other"))
    manifest = json.loads((other / MANIFEST_NAME).read_text())
    manifest["model"]["mlp_width"] = 24
    (other / MANIFEST_NAME).write_text(json.dumps(manifest))
    result = run(own_bundle, "--reference", other)
    assert result.exit_code == 2
    assert "different models (mlp_width)" in result.stderr


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("side", ["--backend", "--reference-backend"])
def test_what_cannot_run_here_is_one_sentence(own_bundle: Path, backend: str, side: str) -> None:
    arguments = ["--reference", own_bundle] if side == "--reference-backend" else []
    before = (own_bundle / MANIFEST_NAME).read_bytes()
    result = run(own_bundle, *arguments, side, backend, "--frames", 1)
    if result.exit_code in (0, 1):
        pytest.skip(f"{backend} runs on this machine")
    assert result.exit_code == 2, result.output
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert (own_bundle / MANIFEST_NAME).read_bytes() == before
