"""Self-reenactment of real clips: which frames are drawn, and means and errors over clips by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hidenerf.training.data.clips.pairs import read_clips
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.metrics import psnr
from hidenerf.training.evaluation.real_clips import evaluate_clips, shown_frames
from hidenerf.training.evaluation.scores import Metrics
from tests.support.clips import write_clip_file
from tests.support.tiny import TINY, tiny_model


def test_frames_are_spread_over_a_clip_without_its_first() -> None:
    assert shown_frames(9, 3) == [1, 4, 8]
    assert shown_frames(3, 16) == [1, 2]
    assert shown_frames(1, 16) == [0]


def test_a_clip_is_drawn_from_its_first_frame(tmp_path: Path) -> None:
    """The row of the source held still is what its own pixels say; every clip counts once, a still has no error."""
    size = TINY.image_size
    for seed, frames in ((0, 5), (1, 1)):
        write_clip_file(tmp_path / f"{seed}.npz", frames, size, seed)
    clips = read_clips(tmp_path, TINY)
    tables = evaluate_clips(HeldOutEvaluation(tiny_model(), torch.device("cpu")), clips, 2, Metrics())
    assert list(tables.by_file) == ["0.npz", "1.npz"]
    assert set(tables.table) == {"refined", "the source itself"}
    pictures = [torch.from_numpy(clips[0].frame(index).read().picture.copy()) for index in (0, 1, 4)]
    first, *others = (picture.permute(2, 0, 1)[None] / 255 for picture in pictures)
    masks = [torch.from_numpy(clips[0].frame(index).read().mask > 127)[None, None].float() for index in (1, 4)]
    expected = np.mean([psnr(first, truth, mask).item() for truth, mask in zip(others, masks, strict=True)])
    held = [tables.by_file[name]["the source itself"]["PSNR masked"] for name in tables.by_file]
    assert held[0] == pytest.approx(expected, abs=1e-3)
    # The still is its own source.
    assert held[1] == pytest.approx(100)
    assert tables.table["the source itself"]["PSNR masked"] == pytest.approx(np.mean(held))
    error = tables.standard_error["the source itself"]["PSNR masked"]
    assert error == pytest.approx(abs(held[0] - held[1]) / 2)
    assert tables.by_file["0.npz"]["refined"]["SSIM"] < 1
