"""Signals that end a command; each test has a handler of its own before and after."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from hidenerf.commands.errors import user_errors
from hidenerf.commands.signals import TerminatedError, ending_signals

NUMBERS = signal.SIGTERM, signal.SIGHUP


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_the_block_as_ctrl_c_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt) as caught, ending_signals():
            os.kill(os.getpid(), number)
        assert isinstance(caught.value, TerminatedError)
        assert caught.value.number == number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_takes_no_signal() -> None:
    """Python lets only the main thread set handlers."""
    entered = []

    def work() -> None:
        with ending_signals():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_exit_code_is_the_shell_s(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, user_errors():
        raise TerminatedError(number)
    assert caught.value.code == 128 + number
    assert capsys.readouterr().err == f"Ended by {number.name}.\n"


def test_a_command_under_nohup_outlives_its_terminal() -> None:
    script = (
        "import os, signal\n"
        "from hidenerf.commands.signals import ending_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with ending_signals():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('done')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "done\n"
