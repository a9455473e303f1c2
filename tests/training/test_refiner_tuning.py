"""The refine network trained alone: what it is given, that it learns, and that nothing else changes."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from hidenerf.model.checkpoint import load_checkpoint, save_checkpoint
from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import random_model
from hidenerf.training.config import TrainingConfig
from hidenerf.training.heads import load_head_mesh
from hidenerf.training.pair_rendering import render_pairs
from hidenerf.training.people import make_pair
from hidenerf.training.refiner_tuning import RefinerPairs, RefinerTuning, main, refiner_pairs
from tests.model.tiny import tiny_model
from tests.training.tiny_training import tiny_batch


def tiny_pairs(count: int = 4) -> RefinerPairs:
    """What the tiny model makes of smooth squares."""
    batch, model = tiny_batch(count), tiny_model()
    with torch.no_grad():
        output = model(batch.source_image, batch.source_camera, batch.secc_canonical, batch.secc_driving, batch.camera)
    pictures = batch.source_image, batch.target, batch.mask, batch.region
    source_image, *truths = ((255 * one).round().to(torch.uint8) for one in pictures)
    return RefinerPairs(source_image, output.rendered.half(), output.rendered_alpha.half(), *truths)


def test_it_learns_and_only_refiner_and_id_encoder_change() -> None:
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    config = TrainingConfig(steps=40, batch_size=4, learning_rate=5e-3, average=0.5)
    tuning = RefinerTuning(model, tiny_pairs(), config)
    terms = [tuning.step() for _ in range(config.steps)]
    assert terms[-1]["absolute_refined"] < 0.7 * terms[0]["absolute_refined"]
    after = tuning.tuned().state_dict()
    changed = {name.split(".")[0] for name, values in after.items() if not torch.equal(values, before[name])}
    assert changed == {"refiner", "id_encoder"}


def test_the_tuned_model_draws_what_was_learned() -> None:
    """In evaluation mode and single precision, with the average's own statistics."""
    pairs = tiny_pairs()
    config = TrainingConfig(steps=60, batch_size=4, learning_rate=5e-3, average=0.5)
    tuning = RefinerTuning(tiny_model(), pairs, config)
    terms = [tuning.step() for _ in range(config.steps)]
    model = tuning.tuned()
    assert not any(module.training for module in model.modules())
    some = pairs.chosen(torch.arange(4))
    with torch.no_grad():
        frame, _ = model.refiner(some.rendered, some.rendered_alpha, model.id_encoder(some.source_image))
    weight = 1 + some.mask + 5 * some.region
    error = float(((frame - some.target).abs() * weight).mean())
    assert error == pytest.approx(terms[-1]["absolute_refined"], rel=0.25)


@pytest.fixture(scope="module")
def small_checkpoint(small_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("refiner tuning") / "small.safetensors"
    save_checkpoint(random_model(replace(small_config, samples_per_ray=4), 1), path)
    return path


def test_pairs_are_those_of_the_seed_both_ways(small_checkpoint: Path) -> None:
    model = load_checkpoint(small_checkpoint)
    said: list[str] = []
    pairs = refiner_pairs(model, 2, 7, 1, said.append)
    mesh = load_head_mesh().face_model
    batch = render_pairs(model.config, torch.device("cpu"), [make_pair(mesh, number, 7) for number in (0, 1)])
    with torch.no_grad():
        output = model(batch.source_image, batch.source_camera, batch.secc_canonical, batch.secc_driving, batch.camera)
    one_way = pairs.chosen(torch.arange(2))
    assert torch.equal(one_way.source_image, batch.source_image)
    assert torch.equal(one_way.target, batch.target)
    torch.testing.assert_close(one_way.rendered, output.rendered, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one_way.rendered_alpha, output.rendered_alpha, rtol=1e-3, atol=1e-4)
    other_way = pairs.chosen(torch.arange(2, 4))
    assert torch.equal(other_way.source_image, batch.target)
    assert torch.equal(other_way.target, batch.source_image)
    assert said[-1] == "pairs: 4 of 4"


def test_the_command_writes_a_checkpoint_and_says_how_it_goes(small_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "tuned.safetensors"
    config = tmp_path / "config.json"
    config.write_text('{"batch_size": 2, "losses": {"sharpness": 2}}')
    arguments = [str(small_checkpoint), str(output), "--steps", "2", "--people", "2", "--config", str(config)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "step 2 of 2" in result.output
    assert "sharpness_refined" in result.output
    before, after = (load_checkpoint(path).state_dict() for path in (small_checkpoint, output))
    kept = "deformation.head.weight"
    assert torch.equal(before[kept].half().float(), after[kept])
    assert output.stat().st_size < 0.6 * small_checkpoint.stat().st_size
    assert not torch.equal(before["refiner.head.weight"], after["refiner.head.weight"])


def test_another_kind_of_file_is_refused_before_anything_is_done(small_checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(small_checkpoint), str(tmp_path / "tuned.pt")])
    assert result.exit_code == 2
    assert (
        result.output
        == f"Error: {tmp_path / 'tuned.pt'}: a checkpoint is a .safetensors file; give a name that ends so.\n"
    )
