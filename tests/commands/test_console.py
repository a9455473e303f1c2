"""What commands write, to readers that go away and to terminals with few characters."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Writes a thousand lines to either stream, more than a pipe holds, then a file.
TALKING = """
import sys
import click
from hidenerf.commands import options
from hidenerf.commands.console import logger, print_result

@options.command()
@click.argument("path")
def main(path):
    \"\"\"Larger than → or ≥.\"\"\"
    for number in range(1000):
        logger.info("note %d %s", number, "x" * 100)
        print_result(f"result {number} " + "x" * 100)
    open(path, "w").write("whole")

main()
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_end_a_command(tmp_path: Path, stream: str) -> None:
    done = tmp_path / "done"
    read, write = os.pipe()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: write}
    process = subprocess.Popen([sys.executable, "-c", TALKING, str(done)], **streams)  # type: ignore[call-overload]
    os.close(write)
    assert os.read(read, 5)
    os.close(read)
    assert process.wait(600) == 0
    assert done.read_text() == "whole"


def test_nothing_is_said_about_a_reader_that_went_away(tmp_path: Path) -> None:
    """As `… | head -1` has it: the results are cut off, the notes are not."""
    command = [sys.executable, "-c", TALKING, str(tmp_path / "done")]
    read, write = os.pipe()
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        os.close(read)
        _, notes = process.communicate(timeout=600)
    assert process.returncode == 0
    assert [line.split()[1] for line in notes.splitlines()] == [str(number) for number in range(1000)]


@pytest.mark.parametrize("encoding", ["cp437", "utf-8"])
def test_help_in_a_terminal_with_few_characters(encoding: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", TALKING, "--help"],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    shown = {"cp437": "Larger than ? or ≥.", "utf-8": "Larger than → or ≥."}
    assert shown[encoding] in result.stdout.decode(encoding)
    assert logging.getLogger("hidenerf").handlers == []
