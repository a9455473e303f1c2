"""examples/cpp/prepare_inputs.py: what it writes is what the graphs take, and gives the frames of `Animator`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime import Animator
from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpuBackend
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "cpp" / "prepare_inputs.py"


def prepare(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


@pytest.mark.parametrize("name", ["bundle_fp32", "bundle_fp16", "bundle_aligned"])
def test_arrays_are_what_the_graphs_take(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder, inputs = request.getfixturevalue(name), tmp_path / "inputs"
    # Twice: a folder of inputs is replaced.
    for frames in (3, 2):
        done = prepare(folder, inputs, "--frames", str(frames), "--features")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{frames} frames in {inputs}\n"
    bundle = open_bundle(folder)
    encoder, led, refiner = bundle.graphs.values()
    source, frame = arrays(inputs / "source"), arrays(inputs / "frames" / "000001")
    assert sorted(path.name for path in (inputs / "frames").iterdir()) == ["000000", "000001"]
    taken = {**encoder.inputs, **encoder.outputs}
    assert {n: (a.shape, a.dtype) for n, a in source.items()} == {n: (s.shape, s.dtype) for n, s in taken.items()}
    made = {**encoder.outputs, **led.outputs}
    taken = {n: s for n, s in {**led.inputs, **refiner.inputs}.items() if n not in made}
    assert {n: (a.shape, a.dtype) for n, a in frame.items()} == {n: (s.shape, s.dtype) for n, s in taken.items()}


def test_frames_from_the_files_are_the_animators(bundle_fp32: Path, tmp_path: Path) -> None:
    assert prepare(bundle_fp32, tmp_path / "inputs", "--frames", "2").returncode == 0
    with Animator(bundle_fp32, OnnxRuntimeCpuBackend.name) as animator:
        animator.set_source(demo_source_path())
        expected = [frame.picture for frame, _ in zip(animator.animate(demo_motion_path()), range(2), strict=False)]
        backend = animator.backend
        backend.encode_source(**arrays(tmp_path / "inputs" / "source"))
        for index, picture in enumerate(expected):
            frame, _alpha = backend.render_secc(**arrays(tmp_path / "inputs" / "frames" / f"{index:06}"))
            np.testing.assert_array_equal(frame, picture)


def test_a_folder_of_other_things_is_kept(bundle_fp32: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    done = prepare(bundle_fp32, tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: {tmp_path}: holds something else than inputs; choose another folder.\n"
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_missing_bundle_is_one_sentence(tmp_path: Path) -> None:
    done = prepare(tmp_path / "none", tmp_path / "inputs")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "inputs").exists()
