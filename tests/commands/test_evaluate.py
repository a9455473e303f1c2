"""`hidenerf-eval` of a tiny model."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hidenerf.commands.evaluate import main
from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.training.evaluation.evaluate import Evaluation
from tests.support.clips import write_clip_file
from tests.support.tiny import TINY, tiny_model
from tests.support.training_networks import write_channel_means

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that evaluates a tiny model with some options; two views, few turns, three expressions."""
    monkeypatch.setattr("hidenerf.training.evaluation.evaluate.FREE_VIEW_YAWS", (0, 30))
    monkeypatch.setattr("hidenerf.training.evaluation.goals.GOAL_YAWS", (30,))
    monkeypatch.setattr("hidenerf.training.evaluation.pose_error.POSE_TURNS", (-4.0, 0.0, 4.0))
    # A tracker that is not to be had, without looking for one on the net.
    monkeypatch.setenv("HIDENERF_FACE_LANDMARKER", str(tmp_path / "none.task"))
    whole = Evaluation.expressions
    monkeypatch.setattr(
        Evaluation, "expressions", lambda self, chosen, count: whole(self, dict(list(chosen.items())[:3]), count)
    )
    save_checkpoint(tiny_model(), tmp_path / "checkpoint.safetensors")

    def evaluate(*options: str) -> tuple[dict[str, Any], str]:
        out = tmp_path / "out"
        arguments = [str(tmp_path / "checkpoint.safetensors"), "--output", str(out), "--device", "cpu", *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "evaluation.md", "samples.png"]
        page = (out / "evaluation.md").read_text()
        tables = json.loads((out / "evaluation.json").read_text())
        for part in (tables["reconstruction"], tables.get("cross", {}), *tables.get("free_view", {}).values()):
            for figure in part["refined"].values() if part else ():
                assert f"| {figure if isinstance(figure, int) else f'{figure:.3f}'} |" in page
        assert page in result.output
        return tables, page

    return evaluate


def test_every_table_of_a_tiny_model_in_one_page(evaluated: Any, tmp_path: Path) -> None:
    """Two pairs; an untrained model is no better than the source's mean colour."""
    recognition = write_channel_means(tmp_path / "recognition.onnx", 112)
    inception = write_channel_means(tmp_path / "inception.onnx", 299)
    tables, page = evaluated("--people", "2", "--recognition", str(recognition), "--inception", str(inception))
    assert tables["people"] == {"pairs": 2, "expressions": 1, "views": 1, "cross": 1}
    figures = tables["reconstruction"]
    assert figures["refined"]["SSIM masked"] < figures["mean colour in the true mask"]["SSIM masked"]
    assert figures["mean colour in the true mask"]["silhouette IoU"] == 1
    assert set(tables["free_view"]) == {"+0", "+30", "all"}
    assert 0 <= tables["cross"]["refined"]["pose error"] <= 8 * math.sqrt(3)
    assert "2 pairs of two pictures of one person" in page

    assert figures["the source itself"]["CSIM"] == pytest.approx(1)
    assert -1 <= figures["refined"]["CSIM"] < 1
    assert set(figures["the truth itself"]) == {"CSIM"}
    assert "CSIM" not in figures["rendered, enlarged"]
    assert tables["cross"]["the driver's own picture"]["CSIM"] < 1
    assert figures["refined"]["FID pictures"] == 2
    assert figures["refined"]["FID"] > 0
    # One picture has no covariance.
    assert "FID" not in tables["cross"]["refined"]
    assert "FID" not in tables["free_view"]["+30"]["refined"]
    assert tables["free_view"]["all"]["refined"]["FID pictures"] == 2
    assert "FID is of 2 pictures at least, fewer than the 3 dimensions" in page

    assert [text.split(" is left out")[0] for text in tables["left_out"]] == [
        "What a face tracker finds (AUCON, PRMSE, AVD)"
    ]
    assert "none.task: no such file" in page
    reached = {goal["figure"]: goal for goal in tables["goals"]}
    assert reached["SSIM masked"]["reached"] == figures["refined"]["SSIM masked"]
    assert reached["SSIM masked"]["flat_colour"] == figures["mean colour in the true mask"]["SSIM masked"]
    assert not reached["SSIM masked"]["met"]


@pytest.mark.skipif(importlib.util.find_spec("flip_evaluator") is None, reason="flip-evaluator is not installed")
def test_parts_that_are_not_asked_for_are_neither_evaluated_nor_on_the_page(evaluated: Any) -> None:
    tables, page = evaluated("--people", "1", "--parts", "reconstruction")
    assert tables["people"] == {"pairs": 1, "cross": 0, "views": 0, "expressions": 0}
    assert tables.keys() == {"left_out", "people", "reconstruction", "goals"}
    assert 0 < tables["reconstruction"]["refined"]["ꟻLIP"] < 1
    assert "Free view" not in page
    assert "CSIM and ID distance are left out: no face-recognition network was given" in page
    assert "FID is left out" in page


@pytest.mark.slow
def test_hosts_with_nothing_but_torch_can_evaluate_all_parts(tmp_path: Path) -> None:
    """What a GPU machine may lack is loaded only where it is used, and the page says what is left out for it."""
    script = """
import sys
for name in ("av", "scipy", "mediapipe", "pooch", "onnxruntime", "flip_evaluator", "onnx"):
    sys.modules[name] = None
from hidenerf.commands.evaluate import main
main()
"""
    save_checkpoint(tiny_model(), tmp_path / "checkpoint.safetensors")
    out = tmp_path / "out"
    options = [str(tmp_path / "checkpoint.safetensors"), "--output", str(out), "--people", "1", "--device", "cpu"]
    command = [sys.executable, "-c", script, *options]
    # Tiny networks run fastest in one thread.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, env=environment)
    assert result.returncode == 0, result.stderr
    tables = json.loads((out / "evaluation.json").read_text())
    assert tables["people"] == {"pairs": 1, "cross": 1, "views": 1, "expressions": 1}
    assert set(tables["free_view"]) == {"-45", "-30", "-15", "+0", "+15", "+30", "+45", "all"}
    assert {"jawOpen", "blink"} <= tables["expressions"].keys()
    assert len(tables["actions"]) > 30
    left_out = [re.split(" (?:is|are) left out: ", sentence) for sentence in tables["left_out"]]
    assert [what for what, _ in left_out] == [
        "ꟻLIP",
        "CSIM and ID distance",
        "FID",
        "What a face tracker finds (AUCON, PRMSE, AVD)",
    ]
    assert "run: pip install flip-evaluator." in left_out[0][1]
    assert "run: pip install 'hidenerf[track]'." in left_out[3][1]
    page = (out / "evaluation.md").read_text()
    assert all(f"- {sentence}\n" in page for sentence in tables["left_out"])
    for part in ("Goals", "Self-reenactment", "Cross-identity reenactment", "Free view", "Expressions"):
        assert f"\n## {part}" in page
    assert (out / "samples.png").stat().st_size > 1000


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "none.safetensors"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "no such checkpoint" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--parts", "cross,faces"], r"--parts cross,faces: there is no part faces; give"),
        (["--parts", ","], "--parts ,: this names no part"),
        (["--parts", "clips"], r"--parts clips: no clips are given; add --clips FOLDER"),
        (["--parts", "portraits"], r"--parts portraits: no portraits are given; add --portraits FOLDER"),
        (["--clips", "no-such-folder"], r"no-such-folder: no such folder; give one that hidenerf-clips filled"),
        (["--recognition", "none.onnx"], r"none\.onnx: no such file \(--recognition\)"),
        (["--inception", "none.onnx"], r"none\.onnx: no such file \(--inception\)"),
        (["--face-landmarker", "none.task"], r"none\.task: no such file \(--face-landmarker\)"),
    ],
)
def test_what_is_asked_for_and_not_to_be_had_is_an_error(tmp_path: Path, options: list[str], sentence: str) -> None:
    save_checkpoint(tiny_model(), tmp_path / "checkpoint.safetensors")
    arguments = [str(tmp_path / "checkpoint.safetensors"), "-o", str(tmp_path / "out"), "--device", "cpu", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert re.search(sentence, result.output)
    assert not (tmp_path / "out").exists()


def test_real_clips_are_a_part_of_their_own(tmp_path: Path) -> None:
    """Two clips: means with errors and every clip on the page, no synthetic people, and samples of the clips."""
    save_checkpoint(tiny_model(), tmp_path / "checkpoint.safetensors")
    for seed in (0, 1):
        write_clip_file(tmp_path / "clips" / f"{seed}.npz", size=TINY.image_size, seed=seed)
    out = tmp_path / "out"
    options = ["--clips", str(tmp_path / "clips"), "--parts", "clips", "--frames", "2"]
    arguments = [str(tmp_path / "checkpoint.safetensors"), "-o", str(out), "--device", "cpu", *options]
    result = CliRunner().invoke(main, arguments, env={"HIDENERF_FACE_LANDMARKER": str(tmp_path / "none.task")})
    assert result.exit_code == 0, result.output
    tables, page = json.loads((out / "evaluation.json").read_text()), (out / "evaluation.md").read_text()
    assert set(tables) == {"left_out", "people", "clips", "goals"}
    assert set(tables["clips"]["by_file"]) == {"0.npz", "1.npz"}
    mean = tables["clips"]["table"]["refined"]["SSIM masked"]
    error = tables["clips"]["standard_error"]["refined"]["SSIM masked"]
    assert f"| {mean:.3f} ± {error:.3f} |" in page
    assert "| 1.npz: the source itself |" in page
    assert "2 prepared clips" in page
    assert "ynthetic" not in page
    assert (out / "samples.png").exists()


def test_portraits_are_compared_with_themselves(tmp_path: Path) -> None:
    """By the colours' means as a recogniser: own pose, two turns and the shipped motion, errors over two people."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")
    save_checkpoint(tiny_model(), tmp_path / "checkpoint.safetensors")
    for seed in (0, 1):
        write_clip_file(tmp_path / "portraits" / f"{seed}.npz", frames=1, size=TINY.image_size, seed=seed)
    out = tmp_path / "out"
    arguments = [str(tmp_path / "checkpoint.safetensors"), "-o", str(out), "--device", "cpu", "--parts", "portraits"]
    arguments += ["--portraits", str(tmp_path / "portraits")]
    environment = {"HIDENERF_FACE_LANDMARKER": str(tmp_path / "none.task")}
    refused = CliRunner().invoke(main, arguments, env=environment)
    assert refused.exit_code == 2
    assert "--portraits: there is nothing to score them with; give --recognition, or " in refused.output
    recognition = write_channel_means(tmp_path / "recognition.onnx", 150)
    result = CliRunner().invoke(main, [*arguments, "--recognition", str(recognition)], env=environment)
    assert result.exit_code == 0, result.output
    tables = json.loads((out / "evaluation.json").read_text())["portraits"]
    rows = ["own pose", "yaw ±15°", "yaw ±30°", "shipped motion"]
    assert list(tables["table"]) == rows
    assert set(tables["table"]["own pose"]) == {"CSIM", "ID distance"}
    singles = [tables["by_file"][name]["yaw ±30°"]["ID distance"] for name in ("0.npz", "1.npz")]
    assert tables["table"]["yaw ±30°"]["ID distance"] == pytest.approx(sum(singles) / 2)
    assert tables["standard_error"]["yaw ±30°"]["ID distance"] == pytest.approx(abs(singles[0] - singles[1]) / 2)
    assert "2 portraits" in (out / "evaluation.md").read_text()
