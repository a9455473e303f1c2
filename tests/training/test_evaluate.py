"""The evaluation: trivial pictures, responses and poses whose figures are known, and the page."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.model.hidenerf import Output
from hidenerf.training.evaluate import (
    POSE_TURNS,
    Evaluation,
    best_turn,
    candidates,
    picture_figures,
    turned_target,
)
from hidenerf.training.evaluate_cli import main
from hidenerf.training.people import make_held_out_pair
from hidenerf.training.replay import render_pairs
from hidenerf.training.report import markdown, table
from tests.model.tiny import TINY, tiny_model
from tests.training.tiny_training import tiny_batch

CPU = torch.device("cpu")


def silent(_: str) -> None:
    pass


class Oracle(nn.Module):
    """Stands where a model stands, and draws from the driving SECC alone: its picture is the SECC."""

    config = TINY

    def forward(
        self, source: Tensor, source_camera: Tensor, canonical: Tensor, driving: Tensor, camera: Tensor
    ) -> Output:
        del source, source_camera, canonical, camera
        alpha = torch.ones(len(driving), 1, TINY.render_size, TINY.render_size)
        return Output(driving, alpha.expand(-1, 3, -1, -1), alpha, alpha)


def test_figures_of_the_truth_itself() -> None:
    batch = tiny_batch(2)
    figures = picture_figures(batch.target, batch.mask, batch)[1]
    assert figures["silhouette IoU"] == 1
    assert figures["SSIM"] == pytest.approx(1, abs=1e-5)
    assert figures["PSNR masked"] == figures["PSNR mouth+eyes"] == pytest.approx(100)
    assert figures["gradient energy"] == pytest.approx(1)


def test_a_target_without_a_region_has_no_figure_for_it() -> None:
    batch = tiny_batch(2)
    batch.region[0] = 0
    figures = picture_figures(batch.target * 0.5, batch.mask, batch)
    assert math.isnan(figures[0]["PSNR mouth+eyes"])
    assert not math.isnan(figures[1]["PSNR mouth+eyes"])


def test_trivial_pictures_by_hand() -> None:
    batch = tiny_batch(1)
    source = torch.zeros(1, 3, 32, 32)
    source[:, :, :16] = 0.8
    half = torch.zeros(1, 1, 32, 32)
    half[:, :, :16] = 1
    batch = batch._replace(source_image=source, source_mask=half)
    alpha = torch.full((1, 1, 16, 16), 0.25)
    found = candidates(batch, Output(torch.full((1, 3, 32, 32), 1.5), alpha.expand(-1, 3, -1, -1), alpha, alpha))
    assert found["refined"][0].unique().tolist() == [1.0]
    assert found["refined"][1].unique().tolist() == [0.25]
    assert torch.equal(found["the source itself"][0], source)
    assert torch.equal(found["the source itself"][1], half)
    inside = batch.mask.bool().expand(-1, 3, -1, -1)
    mean = found["mean colour in the true mask"][0]
    assert mean[inside].unique().tolist() == pytest.approx([0.8])
    assert mean[~inside].unique().tolist() == [0.0]
    assert found["mean colour everywhere"][0].unique().tolist() == pytest.approx([0.4])


def test_the_best_turn_lies_between_the_turns_or_just_beyond() -> None:
    turns = np.array(POSE_TURNS)
    mismatch = np.stack([(turns - 1.25) ** 2 + 7, np.abs(turns + 3), 3 * (turns + 30) ** 2, -turns])
    assert best_turn(mismatch).tolist() == pytest.approx([1.25, -3.0, -6.0, 6.0])


@pytest.mark.parametrize("axis", ["yaw", "roll"])
def test_poses_of_turned_heads_are_found(axis: str) -> None:
    pairs = [make_held_out_pair(Evaluation(tiny_model(), CPU, silent).face_model, index) for index in (0, 2)]
    evaluation = Evaluation(tiny_model(), CPU, silent)
    frames = render_pairs(TINY, CPU, [turned_target(pair, axis, 3.0) for pair in pairs]).target
    found = dict(zip(("yaw", "pitch", "roll"), evaluation.poses(pairs, frames), strict=True))
    assert found[axis].tolist() == pytest.approx([3.0, 3.0], abs=0.5)
    for other in found.keys() - {axis}:
        assert np.abs(found[other]).max() < 1.5


def test_a_picture_that_follows_the_driving_secc_alone_responds_to_what_the_secc_shows() -> None:
    evaluation = Evaluation(Oracle(), CPU, silent)  # type: ignore[arg-type]
    found = evaluation.expressions({"jaw": ("jawOpen",), "nothing": ()}, 1)
    assert found.keys() == {"jaw"}
    assert found["jaw"]["gain"] != 0


def test_every_table_of_a_tiny_model_in_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One person, three actions; an untrained model is no better than the source's mean colour."""
    monkeypatch.setattr("hidenerf.training.evaluate.FREE_VIEW_YAWS", (0, 30))
    monkeypatch.setattr("hidenerf.training.evaluate.POSE_TURNS", (-4.0, 0.0, 4.0))
    whole = Evaluation.expressions
    monkeypatch.setattr(
        Evaluation, "expressions", lambda self, chosen, count: whole(self, dict(list(chosen.items())[:3]), count)
    )
    save_checkpoint(tiny_model(), tmp_path / "checkpoint.safetensors")
    out = tmp_path / "out"
    arguments = [str(tmp_path / "checkpoint.safetensors"), "--out", str(out), "--people", "2", "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "evaluation.md", "samples.png"]
    tables = json.loads((out / "evaluation.json").read_text())
    assert tables["people"] == {"pairs": 2, "expressions": 1, "views": 1, "cross": 1}
    figures = tables["reconstruction"]
    assert figures["refined"]["SSIM masked"] < figures["mean colour in the true mask"]["SSIM masked"]
    assert figures["mean colour in the true mask"]["silhouette IoU"] == 1
    assert set(tables["free_view"]) == {"+0", "+30"}
    assert 0 <= tables["cross"]["pose error"] <= 8 * math.sqrt(3)
    page = (out / "evaluation.md").read_text()
    assert page == markdown(tables, "checkpoint.safetensors")
    assert "2 pairs of two pictures of one person" in page


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "no such checkpoint" in result.output
    assert not (tmp_path / "out").exists()


def test_a_table_leaves_a_dash_where_there_is_no_figure() -> None:
    page = table({"one": {"a": 0.12345, "b": 2.0}, "other": {"b": 1.0}}, "what")
    assert page.splitlines() == [
        "| what | a | b |",
        "| --- | --- | --- |",
        "| one | 0.123 | 2.000 |",
        "| other | – | 1.000 |",
    ]
