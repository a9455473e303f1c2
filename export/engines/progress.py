"""Progress of a build, from TensorRT's progress monitor, which can also cancel the build.

TensorRT 8.6 has none. There the bar follows the log: it shows for which part of the network's layers kernels have been
timed.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

logger = logging.getLogger(__name__)

BAR_STEPS = 1000


class Phases:
    """The phases of one build, each a step of its parent phase, and how much of the whole is done."""

    def __init__(self) -> None:
        self._active: dict[str, tuple[str | None, int, int]] = {}
        self._furthest = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins."""
        self._active[name] = (parent, max(steps, 1), 0)

    def step(self, name: str, index: int) -> None:
        """Step `index` of a phase is done, counted from 0."""
        if name in self._active:
            parent, steps, _ = self._active[name]
            self._active[name] = (parent, steps, min(index + 1, steps))

    def finish(self, name: str) -> None:
        """A phase ends."""
        self._active.pop(name, None)

    def done(self) -> float:
        """The part done, from 0 to 1; never falls. Steps of the outermost phase, with the part of the current one."""
        outermost = [name for name, (parent, _, _) in self._active.items() if parent is None]
        if outermost:
            self._furthest = max(self._furthest, self._part(outermost[0]))
        return self._furthest

    def _part(self, name: str) -> float:
        _, steps, done = self._active[name]
        children = [self._part(child) for child, (parent, _, _) in self._active.items() if parent == name]
        return min((done + max(children, default=0.0)) / steps, 1.0)


def progress_monitor(trt: Any, cancelled: Callable[[], bool], advance: Callable[[float], None]) -> Any:
    """An `IProgressMonitor` of the module `trt`.

    cancelled: once it returns True, the build ends at its next step.
    advance: is called with the part done, from 0 to 1.

    TensorRT may call the monitor from several threads. Python runs one of them at a time.
    """
    phases = Phases()

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            advance(phases.done())
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


# TensorRT's log, at its most verbose: "--------------- Timing Runner: conv1 + relu1 (CaskConvolution[0x80000009])".
_TIMING = re.compile(r"-{5,} Timing Runner: (?P<layer>.+) \([^()]*\)\s*$")
# Between layers of a fused one.
_FUSED = re.compile(r" \+ |\.\.\.|, ")


class TimedLayers:
    """Which layers the log of a build has named as being timed."""

    def __init__(self, layers: int) -> None:
        """layers: of the network. The log names those that are left after fusing, as "a + b"."""
        self._layers = max(layers, 1)
        self._named: set[str] = set()

    def read(self, message: str) -> bool:
        """Read a message; whether it names a layer for the first time."""
        found = _TIMING.search(message)
        if found is None or "Reformat" in found["layer"]:
            return False
        before = len(self._named)
        self._named.update(_FUSED.split(found["layer"]))
        return len(self._named) > before

    def done(self) -> float:
        """The part of the layers that was timed, from 0 to 1; never falls."""
        return min(len(self._named) / self._layers, 1.0)


@contextlib.contextmanager
def following_log(
    logger: Any, layers: int, cancelled: Callable[[], bool], advance: Callable[[float], None]
) -> Iterator[None]:
    """Meanwhile, follow a build by TensorRT's log, for a TensorRT without a progress monitor.

    logger: of `error_logger`.
    layers: how many the network has.
    cancelled: once it returns True, this process ends at the next message: nothing else ends such a build.
    advance: is called with the part done, from 0 to 1.
    """
    timed = TimedLayers(layers)

    def listen(message: str) -> None:
        if cancelled():
            os._exit(1)
        if timed.read(message):
            advance(timed.done())

    logger.listener = listen
    try:
        yield
    finally:
        logger.listener = None


@contextlib.contextmanager
def build_bar(label: str) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the part done; it draws a bar with the time left on stderr.

    The bar is drawn only on a terminal, and only if notes are logged: not with `--quiet`.
    """
    if not sys.stderr.isatty() or not logger.isEnabledFor(logging.INFO):
        yield lambda _: None
        return
    # The bar is cleared in the end; the line on what was built takes its place.
    with click.progressbar(length=BAR_STEPS, label=label, file=sys.stderr) as bar:
        yield lambda part: bar.update(round(part * BAR_STEPS) - bar.pos)
    click.echo("\x1b[1A\x1b[2K", nl=False, err=True)
