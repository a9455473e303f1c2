"""Options that several commands share, and the decorator that makes a function one of our commands."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hidenerf import __version__
from hidenerf.commands.console import logging_to_stderr, show_any_character
from hidenerf.commands.errors import fail, user_errors
from hidenerf.commands.signals import ending_signals
from hidenerf.runtime.errors import HideNerfError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)
HELP_WIDTH = 100

# Scripts with the names of before still run: --out of hidenerf-train, -eval and -clips.
_OLD_NAMES = {"out": "output"}
_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": HELP_WIDTH,
    "show_default": True,
    "token_normalize_func": lambda name: _OLD_NAMES.get(name, name),
}


class _Command(click.Command):
    """A command whose help and errors any terminal shows."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        show_any_character()
        return super().main(*args, **kwargs)


class _Group(_Command, click.Group):
    """A group of commands, as `_Command`."""


def command(name: str | None = None, *, extra: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """Decorator: a function with options becomes a command with `--help`, `--version`, `--verbose` and `--quiet`.

    Errors that a user can mend end as one sentence with exit code 2, and log records go to stderr.
    name: None is the function's. extra: the extra of hidenerf that brings the packages which the command imports.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def body(*, verbose: bool, quiet: bool, **arguments: Any) -> None:
            if verbose and quiet:
                fail("--verbose and --quiet exclude each other; give one of them.")
            level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
            with logging_to_stderr(level), user_errors(extra), ending_signals():
                function(**arguments)

        made = click.command(name, cls=_Command, context_settings=_SETTINGS)(body)
        # Applied to a command, these come after its own options.
        click.option("--verbose", is_flag=True, help="Also print details, with the module that each comes from.")(made)
        click.option("--quiet", is_flag=True, help="Print nothing but errors.")(made)
        return _version(made)

    return decorate


def command_group(*commands: click.Command) -> Callable[[Callable[[], None]], click.Group]:
    """Decorator: a function without options becomes a command with these subcommands, and `--help` and `--version`."""

    def decorate(function: Callable[[], None]) -> click.Group:
        made = _version(click.group(cls=_Group, context_settings=_SETTINGS)(function))
        for one in commands:
            made.add_command(one)
        return made

    return decorate


_version = click.version_option(version=__version__, message="%(prog)s %(version)s")

source = click.option(
    "-s", "--source", type=PATH, help="Portrait, or a prepared source (.npz).  [default: a shipped one]"
)
driving = click.option(
    "-d", "--driving", type=PATH, help="Clip, take or motion file, as for hidenerf-run.  [default: a shipped motion]"
)
face = click.option(
    "--face", type=click.IntRange(1), metavar="N", help="Which face of the source, counted from the left."
)
driving_face = click.option(
    "--driving-face", type=click.IntRange(1), metavar="N", help="Which face of the clip, counted from the left."
)
face_landmarker = click.option(
    "--face-landmarker", type=PATH, help="MediaPipe's face_landmarker.task; found or downloaded if left out."
)
matting = click.option(
    "--matting", type=PATH, help="Matting network (.onnx) that cuts the person out; a small one ships."
)
device = click.option("--device", type=click.Choice(["cuda", "cpu"]), help="[default: a GPU if there is one]")


def output(help: str, default: str | None = None) -> Decorator:
    """`-o/--output`: what the command writes. default: None makes the option required."""
    settings: dict[str, Any] = {"required": True} if default is None else {"default": default}
    return click.option("-o", "--output", type=PATH, help=help, **settings)


def backend(help: str) -> Decorator:
    """`--backend`: a name of `BACKEND_NAMES`, `auto` by default."""
    # Here, since it imports NumPy: hidenerf-clips has to set the number of NumPy's threads before.
    from hidenerf.runtime.backends import BACKEND_NAMES

    return click.option("--backend", type=click.Choice(BACKEND_NAMES), default="auto", help=help)


def preset(help: str) -> Decorator:
    """`--preset`: a name of `hidenerf.model.config.PRESETS`, `demo` by default."""
    return click.option("--preset", default="demo", help=help)


def require_file(option: str, path: Path | None, folder: bool = False) -> None:
    """Raise `HideNerfError` if `path`, the value of `option`, is no file; None passes. folder: folders pass too."""
    if path is None:
        return
    try:
        found = path.is_file() or (folder and path.is_dir())
    except OSError:
        # A name that the file system refuses.
        found = False
    if not found:
        raise HideNerfError(f"{option} {path}: no such file; check the path.")


def require_repeatable(option: str, path: Path) -> None:
    """Raise `HideNerfError` if `path`, the value of `option`, is a camera, or if there is no such file or folder."""
    if str(path).startswith("camera:"):
        raise HideNerfError(f"{option} {path}: a camera cannot be repeated, as is necessary here; give a file.")
    require_file(option, path, folder=True)
