"""Two processes over gloo train as one with both batches' mean gradient."""

import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from hidenerf.training.loop.processes import Processes, joined_processes
from hidenerf.training.loop.trainer import PhaseClock, Trainer
from tests.support.tiny_training import Pairs, tiny_trainer


def two_steps(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (Path(folder) / "port").read_text()}
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    with joined_processes("cpu") as processes:
        assert processes.broadcast(5.0 + rank) == 5.0
        parameter = torch.nn.Parameter(torch.zeros(2, 3))
        parameter.grad = torch.full((2, 3), 1.0 + 2 * rank)
        processes.average_gradients([parameter])
        trainer = Trainer(tiny_trainer().model.config, tiny_trainer().config, processes)
        pairs = Pairs()
        pairs.drawn = 10 * rank
        for _ in range(2):
            trainer.train_step(pairs, PhaseClock(processes.device))
        weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
        torch.save({"gradient": parameter.grad, "weights": weights}, f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_share_their_gradients(tmp_path: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    torch.multiprocessing.spawn(two_steps, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(one["gradient"], torch.full((2, 3), 2.0))
    assert torch.equal(one["weights"], other["weights"])


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes("cpu") as processes:
        assert processes == Processes(torch.device("cpu"), 0, 1)
        assert processes.broadcast(3.0) == 3.0
