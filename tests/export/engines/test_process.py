"""One engine in a process of its own: what comes back, Ctrl-C by a real signal, and a process that dies."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from hidenerf.export.engines import process
from hidenerf.export.engines.build import TargetError
from hidenerf.export.engines.process import build_engine
from hidenerf.export.engines.worker import Job
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.sidecar import Layer
from tests.support.engine_builds import interrupting_bar, job
from tests.support.networks import convolution, graph_of, quantised_convolution, rtx


def test_the_plan_is_written_and_the_network_described(tmp_path: Path) -> None:
    rtx()
    task = job(convolution(tmp_path), tmp_path)
    answer = build_engine(task)
    assert task.plan.stat().st_size > 1000
    assert answer.precision.convolutions == {"FP32": 1}
    assert Layer("conv", "CONVOLUTION", "FP32", ["FP32"]) in answer.layers
    assert not answer.plugin_outside


def test_a_job_survives_the_way_to_the_worker(tmp_path: Path) -> None:
    task = job(convolution(tmp_path), tmp_path)
    for sent in (task, replace(task, plugin=tmp_path / "plugin.so", timing_cache=tmp_path / "x.timing")):
        assert "\n" not in sent.to_json()
        assert Job.from_json(sent.to_json()) == sent


def test_a_plan_that_cannot_be_put_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    rtx()
    task = job(convolution(tmp_path), tmp_path)
    (tmp_path / "out").rmdir()
    with pytest.raises(HideNerfError, match=r"net\.plan: cannot be written"):
        build_engine(task)


def test_a_refusal_comes_back_as_it_was(tmp_path: Path) -> None:
    rtx()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    bad = graph_of(tmp_path, [helper.make_node("Foo", ["x"], ["y"], name="foo", domain="bar")])
    with pytest.raises(HideNerfError, match=r"^net: TensorRT-RTX .* node foo \(Foo\): Plugin not found") as caught:
        build_engine(job(bad, tmp_path / "a"))
    assert not isinstance(caught.value, TargetError)
    with pytest.raises(TargetError, match="FP8, which SM 86 lacks"):
        build_engine(job(quantised_convolution(tmp_path, TensorProto.FLOAT8E4M3FN), tmp_path / "b"))


def test_ctrl_c_ends_the_process_and_leaves_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rtx()
    monkeypatch.setattr(process, "build_bar", interrupting_bar)
    task = job(convolution(tmp_path), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build_engine(task)
    assert not task.plan.exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import os; os.abort()", "crashed with signal 6 while it built for SM 86;"),
        ("raise SystemExit('out of luck')", "crashed with exit code 1 while it built for SM 86 (out of luck);"),
        ("import sys; sys.stdin.close()", "crashed with exit code 0"),
    ],
)
def test_a_process_that_dies_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(process, "WORKER", [sys.executable, "-c", script])
    with pytest.raises(HideNerfError) as caught:
        build_engine(job(convolution(tmp_path), tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_engines_are_built_where_pytorch_cannot_be_imported() -> None:
    """As on a machine that gets bundles and makes engines of them."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import hidenerf.commands.export, hidenerf.export.engines.worker, hidenerf.export.engines.writer\n"
        "import hidenerf.export.engines.builder_library, hidenerf.export.engines.targets\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
