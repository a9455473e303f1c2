"""CUDA graphs of training steps: some 3000 kernels start without Python, which would otherwise be the slowest part.

A step is written as a generator that yields the name of each phase before it begins. `run_phases` runs it eagerly.
`RecordedPhases` captures each phase as a graph of its own and replays the graphs on other batches.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from hidenerf.training.data.batch import Batch

Terms = dict[str, Tensor]
Phases = Callable[[Batch, Terms], Iterator[str]]


def run_phases(phases: Phases, batch: Batch, mark: Callable[[str], None]) -> Terms:
    """Run the phases on a batch. mark: called with the name of each. Returns the loss terms that they set."""
    terms: Terms = {}
    for name in phases(batch, terms):
        mark(name)
    return terms


class RecordedPhases:
    """Phases captured as CUDA graphs for batches of one shape; their results are gradients and loss terms.

    Everything that the work depends on besides the batch must stay in the same memory, and its kernels must have run
    before.
    """

    def __init__(
        self, phases: Phases, batch: Batch, parameters: Sequence[nn.Parameter], generator: torch.Generator
    ) -> None:
        self._batch = Batch(*(tensor.clone() for tensor in batch))
        self._terms: Terms = {}
        self._graphs: list[tuple[str, torch.cuda.CUDAGraph]] = []
        for parameter in parameters:
            parameter.grad = None
        work = phases(self._batch, self._terms)
        name = next(work, None)
        pool = torch.cuda.graph_pool_handle()
        while name is not None:
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(generator)
            # Other threads may use the GPU meanwhile; one of them makes the pairs.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                following = next(work, None)
            self._graphs.append((name, graph))
            name = following
        self._gradients = [(parameter, parameter.grad) for parameter in parameters]

    def __call__(self, batch: Batch, mark: Callable[[str], None]) -> Terms:
        """Replay the phases on this batch; returns the loss terms, which the next call overwrites."""
        for own, given in zip(self._batch, batch, strict=True):
            own.copy_(given)
        for name, graph in self._graphs:
            mark(name)
            graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._terms
