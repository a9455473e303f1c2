"""Steps recorded as CUDA graphs against the same steps run one kernel at a time."""

import pytest
import torch

from hidenerf.training.data.batch import Batch
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.cuda_graphs import run_phases
from hidenerf.training.loop.feature_losses import FaceNet, IdentityLoss, MobileNetLoss
from hidenerf.training.loop.processes import Processes
from hidenerf.training.loop.trainer import PhaseClock, Trainer
from tests.support.mobilenet import mobilenet_tensors
from tests.support.tiny import TINY
from tests.support.tiny_training import Pairs, tiny_batch

STEPS = 24


def test_phases_run_in_order_after_their_names_are_marked() -> None:
    done: list[str] = []

    def phases(batch: Batch, terms: dict[str, torch.Tensor]):  # type: ignore[no-untyped-def]
        yield "one"
        done.append("work of one")
        yield "two"
        terms["loss"] = batch.mask.sum()

    terms = run_phases(phases, tiny_batch(1), done.append)
    assert done == ["one", "work of one", "two"]
    assert terms["loss"] == tiny_batch(1).mask.sum()


class OnGpu(Pairs):
    def sample(self, batch_size: int) -> Batch:
        return Batch(*(tensor.cuda() for tensor in super().sample(batch_size)))


def losses(recorded: bool, networks: bool) -> list[dict[str, float]]:
    """Terms of each step, with discriminators from the tenth on, some with R1. networks: whether losses have some."""
    settings = {"steps": STEPS, "batch_size": 2, "adversarial_start": 0.4, "r1_interval": 3}
    weights = {"adversarial": 0.05, "identity": 0.1 * networks}
    config = TrainingConfig.from_dict({**settings, "losses": weights})
    device = torch.device("cuda")
    torch.manual_seed(0)
    identity = IdentityLoss(FaceNet(4, ((6, 2), (8, 2)))).eval().requires_grad_(False)
    perceptual = MobileNetLoss(mobilenet_tensors()).eval().requires_grad_(False)
    given = {"perceptual": perceptual, "identity": identity} if networks else {}
    trainer = Trainer(TINY, config, Processes(device), **given)
    if not recorded:
        trainer._recorder = None
    clock, pairs = PhaseClock(device), OnGpu()
    return [{k: float(v) for k, v in trainer.train_step(pairs, clock).items()} for _ in range(STEPS)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
@pytest.mark.parametrize("networks", [False, True])
def test_recorded_steps_are_the_same_steps(networks: bool) -> None:
    """Sums in another order differ in BF16, and training carries that on."""
    found, expected = losses(True, networks), losses(False, networks)
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for step, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one == pytest.approx(other, rel=0.02 if step < 10 else 0.1, abs=1e-3), step
    assert found[-1]["absolute_refined"] < 0.9 * found[0]["absolute_refined"]
