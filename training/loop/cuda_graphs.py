"""Steps recorded as CUDA graphs: some 3000 kernels then start without Python, which would be the slowest part.

A step's work is written as a generator that yields the name of each phase before it begins. `run_phases` just runs it;
`RecordedPhases` runs it once while recording, each phase as a graph of its own, and repeats it with other data after.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from hidenerf.training.data.batch import Batch

Terms = dict[str, Tensor]
Phases = Callable[[Batch, Terms], Iterator[str]]


def run_phases(phases: Phases, batch: Batch, mark: Callable[[str], None]) -> Terms:
    """Run the phases on a batch; returns the terms that they note."""
    terms: Terms = {}
    for name in phases(batch, terms):
        mark(name)
    return terms


class RecordedPhases:
    """The phases on batches of one shape; the parameters' gradients and the terms are what they leave behind.

    All that the work depends on besides the batch must stay in the same memory. Its kernels must have run before.
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
            # Other threads may go on to use the GPU: the pairs come from one.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                following = next(work, None)
            self._graphs.append((name, graph))
            name = following
        self._gradients = [(parameter, parameter.grad) for parameter in parameters]

    def __call__(self, batch: Batch, mark: Callable[[str], None]) -> Terms:
        """Run the phases on this batch; the terms are overwritten by the next call."""
        for own, given in zip(self._batch, batch, strict=True):
            own.copy_(given)
        for name, graph in self._graphs:
            mark(name)
            graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._terms
