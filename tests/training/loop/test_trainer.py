"""The training step: it learns, averages, follows its schedule, skips what is not finite, and repeats itself."""

import math

import pytest
import torch
from torch import Tensor, nn

from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.config import LossWeights, TrainingConfig
from hidenerf.training.loop.losses import resized
from hidenerf.training.loop.network import training_forward
from hidenerf.training.loop.trainer import PhaseClock, Trainer, learning_rate_factor, recalibrate
from tests.support.tiny import TINY
from tests.support.tiny_training import CPU, Pairs, tiny_batch, tiny_trainer


def run(trainer: Trainer, pairs: Pairs, steps: int) -> list[dict[str, float]]:
    clock = PhaseClock(torch.device("cpu"))
    return [{name: float(value) for name, value in trainer.train_step(pairs, clock).items()} for _ in range(steps)]


@pytest.mark.slow
def test_one_batch_is_learned() -> None:
    trainer = tiny_trainer(60, learning_rate=3e-3)
    terms = run(trainer, Pairs(same=True), 60)
    for name in ("absolute_refined", "absolute_rendered", "perceptual_refined", "perceptual_rendered"):
        assert terms[-1][name] < 0.6 * terms[0][name], name
    for name in ("alpha_refined", "alpha_rendered"):
        assert terms[-1][name] < 0.7 * terms[0][name], name


def test_the_gradient_reaches_every_parameter() -> None:
    trainer = tiny_trainer()
    run(trainer, Pairs(), 1)
    without = [
        name
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert without == []


def test_where_the_target_is_not_trusted_it_teaches_nothing() -> None:
    """Other colours and another mask there give the same losses, and with no trust at all there is no loss."""
    trainer, batch = tiny_trainer(), tiny_batch()
    trusted = torch.zeros_like(batch.mask)
    trusted[:, :, 8:20] = 1
    other = batch._replace(target=torch.where(trusted > 0, batch.target, 1 - batch.target))
    other = other._replace(mask=torch.where(trusted > 0, batch.mask, 1 - batch.mask))

    def terms(given: Batch) -> dict[str, float]:
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            shown, at_rest = training_forward(trainer.model, given, None, 1)
            images = {"refined": shown.frame, "rendered": shown.rendered[:, :3]}
            truths = {"refined": given.target, "rendered": resized(given.target, shown.rendered.shape[-1])}
            trainer._loss(given, shown, at_rest, images, truths, found)
        return {name: float(value) for name, value in found.items()}

    alike = [name for name in terms(batch) if name.startswith(("mse", "absolute", "alpha", "sharpness"))]
    assert len(alike) >= 6
    expected, found, whole = (
        terms(given) for given in (batch._replace(trusted=trusted), other._replace(trusted=trusted), other)
    )
    assert [found[name] for name in alike] == pytest.approx([expected[name] for name in alike], rel=1e-4)
    assert whole["alpha_refined"] > 1.2 * found["alpha_refined"]
    nothing = terms(batch._replace(trusted=torch.zeros_like(trusted)))
    assert [nothing[name] for name in nothing if name.endswith(("refined", "rendered"))] == pytest.approx(
        [0.0] * sum(name.endswith(("refined", "rendered")) for name in nothing), abs=1e-6
    )


def test_a_term_with_weight_zero_pulls_no_parameter() -> None:
    """Only the deformation's norm is left, which the refiner cannot change."""
    none = dict.fromkeys(LossWeights.__dataclass_fields__, 0.0) | {"deformation": 1.0}
    trainer = tiny_trainer(losses=none)
    run(trainer, Pairs(), 1)
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in trainer.model.refiner.parameters())
    assert trainer.model.deformation.head.weight.grad is not None
    assert trainer.model.deformation.head.weight.grad.abs().max() > 0


def test_the_same_seed_gives_the_same_losses() -> None:
    assert run(tiny_trainer(), Pairs(), 2) == run(tiny_trainer(), Pairs(), 2)
    assert run(tiny_trainer(seed=1), Pairs(), 1) != run(tiny_trainer(), Pairs(), 1)


def test_the_ema_follows_the_weights_by_its_decay() -> None:
    trainer = tiny_trainer(ema_decay=0.5)
    weight, ema = trainer.model.refiner.head.weight, trainer.ema.refiner.head.weight
    before = ema.clone()
    torch.testing.assert_close(before, weight)
    run(trainer, Pairs(), 1)  # the decay begins at 0.1, so that the first weights are soon forgotten
    after = before + 0.9 * (weight.detach() - before)
    torch.testing.assert_close(ema, after)
    trainer.step = 100
    run(trainer, Pairs(), 1)
    torch.testing.assert_close(ema, 0.5 * after + 0.5 * weight.detach())
    assert not ema.requires_grad


class Broken(Pairs):
    """A target that is not a number."""

    def sample(self, batch_size: int):  # type: ignore[no-untyped-def]
        batch = super().sample(batch_size)
        return batch._replace(target=batch.target * math.nan)


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_step_with_a_broken_gradient_changes_no_weight_and_the_next_one_goes_on(adversarial: float) -> None:
    settings = {"losses": {"adversarial": adversarial}, "adversarial_start": 0.0}
    trainer = tiny_trainer(**settings)
    run(trainer, Pairs(), 1)

    def weights() -> list[Tensor]:
        return [p.detach().clone() for p in trainer.trained_parameters()]

    before = weights()
    run(trainer, Broken(), 1)
    assert float(trainer.skipped) == 1
    for one, other in zip(before, weights(), strict=True):
        assert torch.equal(one, other)
    moments = [state[kind] for state in trainer.optimizer.state.values() for kind in ("exp_avg", "exp_avg_sq")]
    assert all(torch.isfinite(moment).all() for moment in moments)
    terms = run(trainer, Pairs(), 1)[0]
    assert all(math.isfinite(value) for value in terms.values())
    assert float(trainer.skipped) == 1
    assert any(not torch.equal(one, other) for one, other in zip(before, weights(), strict=True))


def test_adversarial_training_begins_at_its_time() -> None:
    trainer = tiny_trainer(4, losses={"adversarial": 0.1}, adversarial_start=0.5)
    assert trainer.discriminators is not None
    discriminator = trainer.discriminators.networks["refined"].get_parameter("stem.weight")
    before = discriminator.detach().clone()
    terms = run(trainer, Pairs(), 4)
    assert ["adversarial_refined" in row for row in terms] == [False, False, True, True]
    assert terms[2]["discriminator_rendered"] == pytest.approx(2 * math.log(2), abs=0.2)
    assert not torch.equal(discriminator, before)


@pytest.mark.slow
def test_discriminators_learn_to_tell_pictures_apart() -> None:
    losses = {"adversarial": 1e-6}
    trainer = tiny_trainer(40, losses=losses, adversarial_start=0.0, learning_rate=1e-9)
    terms = run(trainer, Pairs(same=True), 40)
    assert terms[-1]["discriminator_refined"] < 0.5 * terms[0]["discriminator_refined"]


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig(steps=10, warm_up=0.1, final_share=0.2)
    assert learning_rate_factor(config, 0.0) == pytest.approx(0.01)
    assert learning_rate_factor(config, 0.5) == pytest.approx(0.6)
    assert learning_rate_factor(config, 1.0) == pytest.approx(0.2)
    constant = TrainingConfig(steps=10, warm_up=0.1, schedule="constant")
    assert learning_rate_factor(constant, 0.9) == 1.0


def test_progress_by_steps_and_by_seconds() -> None:
    trainer = tiny_trainer(4)
    trainer.step, trainer.seconds = 3, 1e9
    assert trainer.progress == 0.75
    timed = Trainer(TINY, TrainingConfig(seconds=10.0, batch_size=2), CPU)
    timed.step, timed.seconds = 1000, 4.0
    assert timed.progress == 0.4
    timed.seconds = 11.0
    assert timed.progress == 1.0


def test_noise_fades_out_at_the_end() -> None:
    trainer = tiny_trainer(10, jitter=0.8, perturbation=0.01, fade=0.5)
    for step, share in ((0, 1.0), (5, 1.0), (9, 0.2)):
        trainer.step = step
        run(trainer, Pairs(), 1)
        assert float(trainer.noise.jitter) == pytest.approx(0.8 * share)
        assert float(trainer.noise.perturbation) == pytest.approx(0.01 * share)


def test_recalibrated_statistics_are_those_of_the_batches() -> None:
    trainer = tiny_trainer()
    stem = trainer.ema.id_encoder.stem[1]
    assert isinstance(stem, nn.BatchNorm2d)
    seen: list[Tensor] = []
    stem.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    batches = [tiny_batch(2, seed) for seed in (1, 2)]
    recalibrate(trainer.ema, batches, trainer.autocast())
    assert stem.running_mean is not None
    assert stem.running_var is not None
    torch.testing.assert_close(stem.running_mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0))
    torch.testing.assert_close(stem.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))
    assert stem.momentum == 0.1
    assert not trainer.ema.training
    with torch.no_grad():
        assert torch.isfinite(training_forward(trainer.ema, batches[0], None)[0].frame).all()


def test_networks_that_are_not_named_stay_as_they_are() -> None:
    trainer = tiny_trainer(networks="refiner, id_encoder")
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    run(trainer, Pairs(), 2)
    recalibrate(trainer.ema, [tiny_batch(2, 1)], trainer.autocast(), trainer.config.networks)
    for state in (trainer.model.state_dict(), trainer.ema.state_dict()):
        changed = {name.split(".")[0] for name, tensor in state.items() if not torch.equal(tensor, before[name])}
        assert changed == {"refiner", "id_encoder"}


def test_a_network_that_is_not_there_is_named() -> None:
    with pytest.raises(HideNerfError, match="networks names 'led', which the model has not; choose among appearance"):
        tiny_trainer(networks="led")


def test_the_clock_gives_means_a_step_and_leaves_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 3.0, 13.0, 15.0, 16.0, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = PhaseClock(torch.device("cpu"))
    for phase in ("data", "forward", "pause", "data", "forward", "pause"):
        clock.mark(phase)
    assert clock.take() == {"data": 1500.0, "forward": 1500.0}


def test_a_run_may_begin_with_given_weights() -> None:
    trainer = Trainer(TINY, TrainingConfig(steps=10), CPU, initial=random_model(TINY, 5))
    for name, weight in random_model(TINY, 5).named_parameters():
        torch.testing.assert_close(dict(trainer.model.named_parameters())[name].data, weight.data)
        torch.testing.assert_close(dict(trainer.ema.named_parameters())[name], weight.data)
