import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch, mirrored_camera
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS, SeccChoice
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import make_pair
from hidenerf.training.data.synthetic.replay import PairReplay

CPU = torch.device("cpu")


@pytest.mark.slow
def test_draws_are_the_pairs_of_the_seed_either_way_round_and_mirrored(small_config: ModelConfig) -> None:
    """Every pair that was drawn is one of `make_pair`'s; sources, mirror images and entries are drawn evenly."""
    model = load_head_mesh().face_model
    with PairReplay(small_config, CPU, capacity=32, workers=1, seed=5) as replay:
        replay.warm_up(32)
        drawn = [replay.sample(16) for _ in range(12)]
        made, speed = replay.pairs_made, replay.pairs_per_second
        workers = list(replay._workers)
    print(f"{speed:.0f} pairs/s at S=64 on one core")
    assert made >= 32
    assert speed > 0
    assert not any(worker.is_alive() for worker in workers)

    batch = Batch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    pairs = [make_pair(model, number, seed=5) for number in range(made + 200)]
    known = torch.tensor(np.array([(pair.source_camera, pair.camera) for pair in pairs]))
    views = torch.cat([known, torch.stack([mirrored_camera(both) for both in known])])
    ways = {}
    for row, (source, target) in enumerate(zip(batch.source_camera, batch.camera, strict=True)):
        forwards = ((views[:, 0] - source).abs().amax(1) + (views[:, 1] - target).abs().amax(1)).argmin()
        backwards = ((views[:, 1] - source).abs().amax(1) + (views[:, 0] - target).abs().amax(1)).argmin()
        offset = min(
            (views[i] - v).abs().max()
            for i, v in ((forwards, torch.stack([source, target])), (backwards, torch.stack([target, source])))
        )
        assert offset < 1e-6
        swapped = not torch.allclose(views[forwards], torch.stack([source, target]), atol=1e-6)
        ways[row] = (int(backwards if swapped else forwards), swapped)
    entries = {number % len(pairs) for number, _ in ways.values()}
    assert len(entries) >= 14
    assert 0.35 < np.mean([number >= len(pairs) for number, _ in ways.values()]) < 0.65
    # A camera seen twice does not tell the ways round.
    telling = [swapped for number, swapped in ways.values() if not torch.equal(*known[number % len(pairs)])]
    assert 0.35 < np.mean(telling) < 0.65

    for row in range(4):
        number, swapped = ways[row]
        pair = pairs[number % len(pairs)]
        if swapped:
            pair = replace(
                pair,
                source_camera=pair.camera,
                camera=pair.source_camera,
                source_expression=pair.expression,
                expression=pair.source_expression,
            )
        expected = render_pairs(small_config, CPU, [pair])
        flip = number >= len(pairs)
        for name in ("source_image", "target", "mask", "region", "source_mask"):
            picture = getattr(expected, name)[0]
            assert torch.equal(getattr(batch, name)[row], picture.flip(-1) if flip else picture), name
        assert torch.equal(batch.secc_driving[row, 1:], expected.secc_driving[0, 1:].flip(-1)) or not flip
        assert torch.equal(batch.secc_driving[row], expected.secc_driving[0]) or flip


@pytest.mark.slow
def test_workers_draw_the_seccs_that_were_chosen(small_config: ModelConfig) -> None:
    """Posed ones, of either picture and mirrored or not, lie inside the heads of their pictures but for necks that
    fade; others do not.
    """

    def least_inside(choice: SeccChoice) -> float:
        with PairReplay(small_config, CPU, capacity=24, workers=1, seed=3, seccs=choice) as replay:
            replay.warm_up(24)
            batch = replay.sample(64)
        shares = []
        for face, mask in ((batch.secc_driving, batch.mask), (batch.secc_canonical, batch.source_mask)):
            drawn = face.amax(1, keepdim=True) > 0
            covered = torch.nn.functional.interpolate(mask, size=drawn.shape[-2:], mode="area") > 0.25
            shares.append((drawn & covered).sum((1, 2, 3)) / drawn.sum((1, 2, 3)))
        return float(torch.cat(shares).min())

    assert least_inside(DEFAULT_SECCS._replace(posed=True)) > 0.94
    assert least_inside(DEFAULT_SECCS) < 0.9


def test_a_worker_that_dies_is_an_error_and_nothing_is_left(small_config: ModelConfig) -> None:
    with PairReplay(small_config, CPU, capacity=8, workers=1, seed=0) as replay:
        replay._workers[0].kill()
        with pytest.raises(HideNerfError, match="ended with code -9"):
            replay.warm_up(10**6)
        with pytest.raises(HideNerfError, match="ended with code -9"):
            replay.sample(1)


def test_what_cannot_work_is_said(small_config: ModelConfig) -> None:
    with pytest.raises(HideNerfError, match="room for 3 training pairs; give a capacity of at least 4"):
        PairReplay(small_config, CPU, capacity=3, workers=1, seed=0)
    with pytest.raises(HideNerfError, match="made by 0 workers; give at least 1"):
        PairReplay(small_config, CPU, capacity=8, workers=0, seed=0)
    replay = PairReplay(small_config, CPU, capacity=8, workers=1, seed=0)
    with pytest.raises(HideNerfError, match="call warm_up first"):
        replay.sample(1)


def test_workers_do_without_torch() -> None:
    code = "import sys, hidenerf.training.data.synthetic.geometry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
