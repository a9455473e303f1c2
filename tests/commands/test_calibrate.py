"""`hidenerf-calibrate` on a small untrained bundle, and what the exporter makes of its plan."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from hidenerf.calibration.parity.gate import gate
from hidenerf.calibration.precision.calibrate import MEASURED
from hidenerf.calibration.precision.ranges import RANGE_METHODS
from hidenerf.commands import export as export_cli
from hidenerf.commands.calibrate import METHOD_NAMES, main
from hidenerf.export import bundle_writer
from hidenerf.export.bundle_writer import write_bundle
from hidenerf.export.graph_modules import graph_modules
from hidenerf.export.precision_plan import read_plan
from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.bundle import ParityState, open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import Weights
from hidenerf.runtime.metrics import psnr
from hidenerf.runtime.video.pictures import read_picture
from tests.support.bundles import graphs_of, write_untrained
from tests.support.tiny import TINY, TINY_ALIGNED

BUDGET = 38.0


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def plan_path(bundle_fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    result = run(bundle_fp32, "-o", path, "--frames", 2, "--min-psnr", BUDGET)
    assert result.exit_code == 0, result.output
    assert f"hidenerf-export --precision {path}" in result.stdout
    return path


@pytest.fixture(scope="module")
def content(plan_path: Path) -> dict[str, Any]:
    return dict(json.loads(plan_path.read_text()))


@pytest.fixture(scope="module")
def bundle_int8(bundle_fp32: Path, plan_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with graphs_of(bundle_fp32):
        return write_untrained(TINY, tmp_path_factory.mktemp("bundle") / "int8", precision=read_plan(plan_path))


@pytest.mark.slow
def test_the_plan_says_what_it_is_for_and_why(content: dict[str, Any], plan_path: Path) -> None:
    assert content["checkpoint"] == {"random_init": 0}
    assert content["budget"] == {"min_psnr": BUDGET}
    (pair,) = content["calibration"]["pairs"]
    assert (pair["frames"], pair["held_out"], pair["motion_frames"]) == ([0, 124], [62], 125)
    assert content["calibration"]["motions"][0]["sha256"] == sha256_of(demo_motion_path())
    assert content["reached"]["frames"] == 3
    assert content["reached"]["plan"]["worst_psnr"] >= BUDGET
    assert {entry["precision"] for entry in content["layers"]} >= {"int8", "fp16"}
    for entry in content["layers"]:
        assert len(entry["reason"]) > 20
        if entry["precision"] == "int8":
            assert entry["activation_range"] <= entry["activation_max"]
            assert entry["activation_scale"] * 127 >= entry["activation_range"]
    heads = {e["layer"]: e["precision"] for e in content["layers"] if e["layer"].endswith("head")}
    assert heads == {"deformation.head": "fp16", "refiner.head": "fp16"}
    assert content["cost"]["plan"] < content["cost"]["fp16"] < content["cost"]["fp32"]
    assert content["islands"] == []
    assert read_picture(plan_path.with_suffix(".png")).shape == (640, 960, 3)


def test_the_share_is_that_of_the_layers(content: dict[str, Any]) -> None:
    for graphs, share in ((("led", "renderer_refiner"), "per_frame"), (("source_encoder",), "source_encoder")):
        layers = [entry for entry in content["layers"] if entry["graph"] in graphs]
        int8 = sum(entry["gflops"] for entry in layers if entry["precision"] == "int8")
        assert content["share"][share] == pytest.approx(int8 / sum(e["gflops"] for e in layers), abs=0.05)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(bundle_fp32: Path, plan_path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    assert run(bundle_fp32, "-o", again, "--frames", 2, "--min-psnr", BUDGET).exit_code == 0
    assert again.read_bytes() == plan_path.read_bytes()
    assert again.with_suffix(".png").read_bytes() == plan_path.with_suffix(".png").read_bytes()


def test_the_exported_bundle_records_the_plan_and_has_its_layers(
    bundle_int8: Path, plan_path: Path, content: dict[str, Any]
) -> None:
    bundle = open_bundle(bundle_int8)
    assert bundle.precision == "int8"
    entry = bundle.manifest.precision
    assert entry.plan is not None
    assert entry.plan.sha256 == sha256_of(plan_path)
    assert (bundle_int8 / entry.plan.file).read_bytes() == plan_path.read_bytes()
    assert bundle.kernel_parts is not None
    paths = {name: spec.path for name, spec in bundle.graphs.items()} | {"refiner": bundle.kernel_parts.refiner.path}
    for name, path in paths.items():
        planned = "renderer_refiner" if name == "refiner" else name
        expected = [e for e in content["layers"] if e["graph"] == planned and e["precision"] == "int8"]
        weights = [n for n in onnx.load(path).graph.node if n.op_type == "DequantizeLinear" and "_weight_" in n.name]
        assert len(weights) == len(expected)


def test_the_exported_frames_are_as_good_as_the_plan_says(
    bundle_fp32: Path, bundle_int8: Path, content: dict[str, Any]
) -> None:
    frames: list[list[np.ndarray]] = []
    for folder in (bundle_fp32, bundle_int8):
        with Animator(folder, "onnxruntime-cpu") as animator:
            animator.set_source(demo_source_path())
            motion = list(animator.open_driver(demo_motion_path()))
            frames.append([animator.render(motion[i].expression, motion[i].camera)[0] for i in (0, 62, 124)])
    worst = min(psnr(a, b, 255.0) for a, b in zip(*frames, strict=True))
    assert worst == pytest.approx(content["reached"]["plan"]["worst_psnr"], abs=0.01)


@pytest.mark.usefixtures("small_demo")
def test_an_export_by_the_plan_passes_through_the_parity_gate(plan_path: Path, tmp_path: Path) -> None:
    arguments = ["-o", str(tmp_path / "bundle"), "--precision", str(plan_path), "--random-init", "0"]
    result = CliRunner().invoke(export_cli.main, arguments)
    assert result.exit_code in (0, 1), result.output
    assert "INT8 on onnxruntime-cpu against PyTorch FP32 on 2 frames: " in result.stderr
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.parity is (ParityState.PASSED if result.exit_code == 0 else ParityState.FAILED)


def test_an_export_of_an_aligned_model_by_its_plan_passes_the_gate(bundle_aligned: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    result = run(bundle_aligned, "-o", path, "--frames", 2, "--min-psnr", BUDGET)
    assert result.exit_code == 0, result.output
    assert read_plan(path).scales["renderer_refiner"]
    with graphs_of(bundle_aligned):
        write_untrained(TINY_ALIGNED, tmp_path / "bundle", precision=read_plan(path))
    assert gate(tmp_path / "bundle", None)


@pytest.mark.slow
def test_a_plan_for_another_model_is_refused_and_nothing_written(
    plan_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = random_model(TINY, 1)

    def export(checkpoint: Weights) -> None:
        face_model, plan = load_face_model(default_face_model_path()), read_plan(plan_path)
        arguments: dict[str, Any] = {"face_model": face_model, "precision": plan}
        write_bundle(other, tmp_path / "bundle", checkpoint=checkpoint, **arguments)

    with pytest.raises(HideNerfError, match="seed 0, and not for untrained weights from seed 1"):
        export(Weights(seed=1))
    # The same seed on paper, but other weights: the graph tells. This one, since the encoder's export takes longest.
    monkeypatch.setattr(bundle_writer, "graph_modules", lambda model: graph_modules(model)[1:])
    with pytest.raises(HideNerfError, match="another graph led"):
        export(Weights(seed=0))
    assert list(tmp_path.iterdir()) == []


def test_the_exporters_command_line(plan_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def refused(*arguments: object) -> str:
        result = CliRunner().invoke(export_cli.main, [str(argument) for argument in arguments])
        assert result.exit_code == 2
        assert list(tmp_path.iterdir()) == []
        return result.stderr

    assert "--int8 needs calibration data" in refused("--int8")
    assert "no such precision plan" in refused("--precision", "nowhere.json")
    assert "not for untrained weights from seed 7" in refused("--precision", plan_path, "--random-init", 7)
    assert "not readable as JSON" in refused("--precision", demo_motion_path())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-s", "nowhere.png"], "nowhere.png: no such file"),
        (["-d", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["-d", "camera:0"], "camera:0: a camera cannot be repeated"),
        (["--min-psnr", "99"], "FP16 alone reaches"),
        (["--ranges", "guess"], "guess"),
        (["--frames", "0"], "--frames"),
    ],
)
def test_user_errors_are_one_sentence_and_exit_code_2(
    bundle_fp32: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run(bundle_fp32, "-o", tmp_path / "plan.json", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_fp32_model_is_refused(bundle_fp16: Path, tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    assert "this bundle is FP16, and a plan is made from FP32" in run(bundle_fp16, "-o", output).stderr
    assert "no such bundle or checkpoint" in run(tmp_path / "nowhere", "-o", output).stderr
    assert "must end in .json" in run(bundle_fp16, "-o", tmp_path / "plan.txt").stderr
    assert list(tmp_path.iterdir()) == []


def test_method_names_are_those_there_are() -> None:
    assert (MEASURED, *RANGE_METHODS) == METHOD_NAMES
