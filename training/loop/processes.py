"""Training processes: one per GPU, started by torchrun, with broadcasts and averaged gradients."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed
from torch import nn


@dataclass(frozen=True)
class Processes:
    """This process among all training processes.

    device: of this process.
    rank: 0 to count - 1; rank 0 writes files and logs.
    count: of processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    def broadcast(self, value: float) -> float:
        """Rank 0's value, on every rank. value: of this rank."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared.item())

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the parameters' gradients by their means over all processes, in one transfer."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(together)
        together /= self.count
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.reshape(gradient.shape))


@contextlib.contextmanager
def joined_processes(device: str | None) -> Iterator[Processes]:
    """Context with the process group that torchrun started; without torchrun it is this process alone.

    device: "cuda" or "cpu"; None takes a GPU if there is one. Each process takes the GPU of its local rank.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(torch.device(kind))
        return
    own = torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(own)
    torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(own, torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()
