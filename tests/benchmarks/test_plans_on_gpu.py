"""plans_on_gpu.py on emulated kernels; the figures are not looked at."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from benchmarks import plans_on_gpu
from benchmarks.plans_on_gpu import difference, measure, planned_graphs, shapes_of, variants, without_plans
from hidenerf.runtime.backends.planned_graphs import read_launch_plan
from hidenerf.runtime.bundle import open_bundle
from tests.support.host_gpu import HostDevice, open_cpu_session, use_host_gpu


@pytest.mark.parametrize(("graph", "launches"), [("refiner", 13), ("led", 17)])
def test_everything_of_a_graph_is_measured(
    graph: str,
    launches: int,
    monkeypatch: pytest.MonkeyPatch,
    emulated_kernels: Path,
    bundle_fp16: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_host_gpu(monkeypatch, emulated_kernels)
    monkeypatch.setattr(plans_on_gpu, "REPLAYS", 1)
    monkeypatch.setattr(plans_on_gpu, "REPEATS", 1)
    monkeypatch.setattr(plans_on_gpu, "import_onnxruntime", lambda: onnxruntime)
    monkeypatch.setattr(plans_on_gpu, "load_libraries", lambda _: None)
    monkeypatch.setattr(plans_on_gpu, "open_gpu_session", open_cpu_session)
    device: Any = HostDevice()
    found = measure(open_bundle(bundle_fp16), graph, device, 1)
    assert found["ours"] > 0
    assert found["onnxruntime"] > 0
    assert json.loads(json.dumps(found)) == found
    printed = capsys.readouterr().out
    assert printed.count("deformation within" if graph == "led" else " dB") == 3
    # One layout of inputs each, and of the refiner twelve convolutions, the last of which makes the frame; of LED
    # fourteen, RaySamples and one enlargement.
    assert len(found["launches"]) == launches


def test_variants_are_different_tiles(bundle_fp16: Path) -> None:
    device: Any = HostDevice()
    graphs = planned_graphs(open_bundle(bundle_fp16))
    assert list(graphs) == ["led", "refiner"]
    for planned in graphs.values():
        for shape in shapes_of(read_launch_plan(planned.plan)[0]):
            found = variants(shape, device, 6)
            assert len(set(found)) == len(found) == 6


def test_a_copy_without_plans_is_a_bundle(bundle_fp16: Path, tmp_path: Path) -> None:
    parts = open_bundle(without_plans(bundle_fp16, tmp_path)).kernel_parts
    assert parts is not None
    assert (parts.refiner_plan, parts.led_plan) == (None, None)


def test_a_difference_by_hand() -> None:
    one = {"frame": np.zeros((2, 2, 3), np.uint8), "alpha": np.zeros((2, 2), np.float32)}
    other = {"frame": np.full((2, 2, 3), 255, np.uint8), "alpha": np.full((2, 2), 0.5, np.float32)}
    assert difference(one, other) == "frame 0.0 dB, alpha within 5.0e-01"
    moved = [{"deformation": np.array([0.5, second], np.float32)} for second in (-1.75, -2.0)]
    assert difference(*moved) == "deformation within 1.2e-01 of its largest"
