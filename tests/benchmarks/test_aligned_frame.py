"""aligned_frame.py: bundles of different sizes in turn, on emulated kernels; the figures are not looked at."""

from pathlib import Path

import pytest

from benchmarks import aligned_frame
from benchmarks.aligned_frame import FRAME, Times, frame_times, table
from hidenerf.runtime.backends.onnxruntime_cuda import STAGES
from tests.support.host_gpu import use_host_gpu


def test_every_stage_of_every_bundle_is_timed(
    monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path, bundle_fp32: Path, bundle_aligned: Path
) -> None:
    use_host_gpu(monkeypatch, emulated_kernels)
    monkeypatch.setattr(aligned_frame, "WARM_UP", 1)
    found = frame_times([bundle_fp32, bundle_aligned], 2)
    assert [list(times) for times in found] == [[*STAGES, FRAME]] * 2
    assert all(one.median > 0 for times in found for one in times.values())


def test_a_row_by_hand() -> None:
    times = [{name: Times(value, 2 * value) for name in (*STAGES, FRAME)} for value in (100.0, 110.0)]
    head, *rows = table([Path("plain"), Path("aligned")], times).splitlines()
    assert head.split() == [*STAGES, FRAME]
    assert [row.split()[0] for row in rows] == ["plain", "aligned"]
    assert [row.split()[-2] for row in rows] == ["+0.0", "+10.0"]
