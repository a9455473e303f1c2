"""CUDA graphs of training steps: about 3000 kernels are launched without Python, which would limit the speed.

A step is a generator that yields the name of each phase before the phase begins. `run_phases` runs it eagerly.
`RecordedPhases` captures each phase as a graph and replays the graphs on other batches.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from hidenerf.training.data.batch import Batch

# Loss terms by name, scalars.
Terms = dict[str, Tensor]
# The phases of a step on a batch; they set loss terms and yield the phases' names.
Phases = Callable[[Batch, Terms], Iterator[str]]


def run_phases(phases: Phases, batch: Batch, mark: Callable[[str], None]) -> Terms:
    """Run the phases on a batch; returns the loss terms. mark: called with the name of each phase before it begins."""
    terms: Terms = {}
    for name in phases(batch, terms):
        mark(name)
    return terms


class RecordedPhases:
    """Phases captured as CUDA graphs, for batches of one shape; their results are gradients and loss terms.

    All tensors that the phases use, except the batch, must stay at the same addresses. The phases must have run eagerly
    before, so that their kernels are compiled and chosen.

    phases: to capture.
    batch: a batch of that shape.
    parameters: whose gradients the phases set.
    generator: of the random numbers in the phases.
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
            # thread_local: the thread that makes pairs uses the GPU at the same time.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                following = next(work, None)
            self._graphs.append((name, graph))
            name = following
        self._gradients = [(parameter, parameter.grad) for parameter in parameters]

    def __call__(self, batch: Batch, mark: Callable[[str], None]) -> Terms:
        """Replay the phases on a batch; returns the loss terms, valid until the next call. mark: see `run_phases`."""
        for own, given in zip(self._batch, batch, strict=True):
            own.copy_(given)
        for name, graph in self._graphs:
            mark(name)
            graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._terms
