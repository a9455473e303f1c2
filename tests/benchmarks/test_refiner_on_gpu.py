"""refiner_on_gpu.py on emulated kernels; the figures are not looked at."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from benchmarks import refiner_on_gpu
from benchmarks.refiner_on_gpu import difference, measure, shapes_of, variants, without_plan
from hidenerf.runtime.backends.planned_graphs import read_launch_plan
from hidenerf.runtime.bundle import open_bundle
from tests.support.host_gpu import HostDevice, open_cpu_session, use_host_gpu


def test_everything_of_a_refiner_is_measured(
    monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path, bundle_fp16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_host_gpu(monkeypatch, emulated_kernels)
    monkeypatch.setattr(refiner_on_gpu, "REPLAYS", 1)
    monkeypatch.setattr(refiner_on_gpu, "REPEATS", 1)
    monkeypatch.setattr(refiner_on_gpu, "import_onnxruntime", lambda: onnxruntime)
    monkeypatch.setattr(refiner_on_gpu, "load_libraries", lambda _: None)
    monkeypatch.setattr(refiner_on_gpu, "open_gpu_session", open_cpu_session)
    device: Any = HostDevice()
    found = measure(open_bundle(bundle_fp16), device, 1)
    assert found["ours"] > 0
    assert found["onnxruntime"] > 0
    assert json.loads(json.dumps(found)) == found
    printed = capsys.readouterr().out
    assert printed.count(" dB") == 3
    # One layout of inputs, and twelve convolutions, the last of which makes the frame.
    assert len(found["launches"]) == 13


def test_variants_are_different_tiles(bundle_fp16: Path) -> None:
    parts = open_bundle(bundle_fp16).kernel_parts
    assert parts is not None
    assert parts.refiner_plan is not None
    plan, _ = read_launch_plan(parts.refiner_plan)
    device: Any = HostDevice()
    for shape in shapes_of(plan):
        found = variants(shape, device, 6)
        assert len(set(found)) == len(found) == 6


def test_a_copy_without_plan_is_a_bundle(bundle_fp16: Path, tmp_path: Path) -> None:
    parts = open_bundle(without_plan(bundle_fp16, tmp_path)).kernel_parts
    assert parts is not None
    assert parts.refiner_plan is None


def test_a_difference_by_hand() -> None:
    one = {"frame": np.zeros((2, 2, 3), np.uint8), "alpha": np.zeros((2, 2), np.float32)}
    other = {"frame": np.full((2, 2, 3), 255, np.uint8), "alpha": np.full((2, 2), 0.5, np.float32)}
    assert difference(one, other) == "frame 0.0 dB, alpha within 5.0e-01"
