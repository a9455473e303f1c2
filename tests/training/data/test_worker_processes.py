import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.data.clips.file import open_clip
from hidenerf.training.data.worker_processes import WorkerProcesses, one_thread_a_process

PRINT = [sys.executable, "-c", "import os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"]


def test_only_processes_started_meanwhile_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with one_thread_a_process():
        assert subprocess.run(PRINT, capture_output=True, text=True, check=True).stdout == "1\n"
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_results_belong_to_their_calls_in_whatever_order_they_are_asked_for() -> None:
    with WorkerProcesses(pow, 2, "computes") as workers:
        results = [workers.submit(number, 2) for number in range(20)]
        assert [result() for result in reversed(results)] == [number**2 for number in reversed(range(20))]


def test_a_result_too_large_for_a_pipe_is_sent_while_others_are_asked_for() -> None:
    with WorkerProcesses(bytes, 1, "computes") as workers:
        results = [workers.submit(1 << 20) for _ in range(6)]
        assert [len(result()) for result in results] == [1 << 20] * 6


def test_errors_for_users_come_through() -> None:
    with WorkerProcesses(open_clip, 1, "reads") as workers:
        result = workers.submit(Path("none.npz"))
        with pytest.raises(HideNerfError, match=r"none\.npz: no such file"):
            result()


def test_a_process_that_ends_while_it_sends_is_noticed() -> None:
    with WorkerProcesses(bytes, 1, "computes") as workers:
        result = workers.submit(10**8)
        # Until it waits for the pipe, which is full, to be read.
        assert multiprocessing.connection.wait([workers._workers[0]._connection], 600)
        workers._workers[0].process.kill()
        with pytest.raises(HideNerfError, match="A process that computes ended with code -9; its message is above"):
            result()


def test_a_process_that_fails_is_an_error() -> None:
    with WorkerProcesses(int, 1, "computes") as workers:
        result = workers.submit("nonsense")
        with pytest.raises(HideNerfError, match="A process that computes ended with code 1"):
            result()
    with pytest.raises(HideNerfError, match="ended with code 1"):
        result()


def test_a_worker_ends_with_its_parent() -> None:
    code = (
        "import os, time\n"
        "from hidenerf.training.data.worker_processes import WorkerProcesses\n"
        "if __name__ == '__main__':\n"
        "    with WorkerProcesses(os.getpid, 1, 'waits') as workers:\n"
        "        print(workers.submit()(), flush=True)\n"
        "        time.sleep(1200)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and _runs(worker):
        time.sleep(0.1)
    assert not _runs(worker)


def _runs(process: int) -> bool:
    """Whether it is there, and not just waiting to be collected."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
