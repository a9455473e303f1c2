"""Progress of a build, from TensorRT's progress monitor, which can also cancel the build."""

import contextlib
import logging
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
