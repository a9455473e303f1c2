"""What all commands have in common: `--help`, `--version`, `--verbose`, `--quiet` and the names of options."""

import importlib
import logging
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import hidenerf
from hidenerf.commands import options
from hidenerf.commands.console import is_quiet, print_result

COMMANDS = (
    "calibrate",
    "clips",
    "evaluate",
    "export",
    "facemodel",
    "parity",
    "run",
    "sample_sheet",
    "train",
    "tune_refiner",
)
CHECKOUT = Path(__file__).resolve().parents[2]
library = logging.getLogger("hidenerf.runtime.example")


def command_of(module: str) -> click.Command:
    found = importlib.import_module(f"hidenerf.commands.{module}").main
    assert isinstance(found, click.Command)
    return found


def test_every_module_with_a_command_is_tested_here() -> None:
    with_main = {path.stem for path in (CHECKOUT / "commands").glob("*.py") if "\ndef main(" in path.read_text()}
    assert with_main == set(COMMANDS)
    scripts = (CHECKOUT / "pyproject.toml").read_text()
    assert all(f'"hidenerf.commands.{name}:main"' in scripts for name in COMMANDS)


def all_commands() -> list[tuple[str, ...]]:
    """The arguments that lead to each command and subcommand, after the module's name."""
    found: list[tuple[str, ...]] = []
    for module in COMMANDS:
        command = command_of(module)
        found += [(module, name) for name in command.commands] if isinstance(command, click.Group) else [(module,)]
    return found


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_help_of_every_command(path: tuple[str, ...]) -> None:
    runner = CliRunner(env={"COLUMNS": "200"})
    result = runner.invoke(command_of(path[0]), [*path[1:], "--help"], terminal_width=None)
    assert result.exit_code == 0, result.output
    assert runner.invoke(command_of(path[0]), [*path[1:], "-h"]).output == result.output
    for option in ("--output", "--verbose", "--quiet", "--version", "--help"):
        assert option in result.output
    assert "--out " not in result.output
    assert max(map(len, result.output.splitlines())) <= options.HELP_WIDTH


@pytest.mark.parametrize("module", COMMANDS)
def test_version_of_every_command(module: str) -> None:
    result = CliRunner().invoke(command_of(module), ["--version"])
    assert result.exit_code == 0
    assert result.output.split()[-1] == hidenerf.__version__


@options.command()
@options.output("A file.", "result.txt")
def talkative(output: Path) -> None:
    """Log a record of each level."""
    library.debug("a detail")
    library.info("a note")
    library.warning("a warning")
    library.error("an error")
    print_result(f"{output}, quiet: {is_quiet()}")


def talk(*arguments: str) -> Result:
    return CliRunner().invoke(talkative, arguments)


def test_notes_go_to_stderr_and_results_to_stdout() -> None:
    result = talk()
    assert result.stderr == "a note\na warning\nan error\n"
    assert result.stdout == "result.txt, quiet: False\n"


def test_verbose_adds_details_and_the_names_of_loggers() -> None:
    result = talk("--verbose")
    assert result.stderr.splitlines()[:2] == [
        "hidenerf.runtime.example: a detail",
        "hidenerf.runtime.example: a note",
    ]


def test_quiet_leaves_errors_alone() -> None:
    result = talk("--quiet")
    assert (result.stdout, result.stderr) == ("", "an error\n")


def test_quiet_and_verbose_exclude_each_other() -> None:
    result = talk("--quiet", "--verbose")
    assert result.exit_code == 2
    assert result.output == "Error: --verbose and --quiet exclude each other; give one of them.\n"


@pytest.mark.parametrize("option", ["-o", "--output", "--out"])
def test_the_former_name_of_output_still_works(option: str) -> None:
    assert talk(option, "x.txt").stdout.startswith("x.txt,")


def test_logging_is_as_before_afterwards() -> None:
    root = logging.getLogger("hidenerf")
    before = root.level, root.propagate, list(root.handlers)
    talk("--quiet")
    assert (root.level, root.propagate, root.handlers) == before


def test_what_is_written_has_to_be_named_unless_there_is_a_default() -> None:
    @options.command()
    @options.output("A file.")
    def strict(output: Path) -> None:
        print_result(str(output))

    result = CliRunner().invoke(strict, [])
    assert result.exit_code == 2
    assert "'-o' / '--output'" in result.output
