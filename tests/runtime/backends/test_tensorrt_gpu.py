"""The TensorRT backends with real engines on a GPU. Needs no PyTorch, which a machine with TensorRT 8.6 may lack."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.metrics import PEAK, psnr
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.tensorrt.library import load_library
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from tests.support.engine_builds import bundle_for_gpu, with_engines
from tests.support.log_lines import log_lines
from tests.support.made_once import MadeOnce
from tests.support.model_inputs import motion, source

BACKENDS = ("tensorrt", "tensorrt-rtx")
# Of frames from random inputs, FP16 against ONNX Runtime's CPU; the largest PSNR that FP16 leaves is near 50 dB.
LEAST_PSNR = 35.0


@pytest.fixture
def bundle(request: pytest.FixtureRequest, made_once: MadeOnce, backend: str) -> Bundle:
    """With engines of the backend under test."""
    return with_engines(bundle_for_gpu(request), made_once, backend)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_frame_is_one_cuda_graph(bundle: Bundle, backend: str) -> None:
    with log_lines() as lines:
        open_backend(backend, bundle, StageTimes()).close()
    assert lines == []


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thousand_frames_have_the_same_bytes_and_need_no_more_memory(bundle: Bundle, backend: str) -> None:
    driver = importlib.import_module("cuda.bindings.driver")
    opened = open_backend(backend, bundle, StageTimes())
    opened.encode_source(*source(bundle))
    poses = [motion(bundle, seed, yaw) for seed, yaw in ((0, 10.0), (1, -20.0))]
    expected = [[a.tobytes() for a in opened.render_secc(*pose)] for pose in poses]
    _, before, _ = driver.cuMemGetInfo()
    for index in range(1000):
        assert [a.tobytes() for a in opened.render_secc(*poses[index % 2])] == expected[index % 2]
    _, after, _ = driver.cuMemGetInfo()
    assert after == before
    opened.close()


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_are_those_of_the_cpu(bundle: Bundle, backend: str) -> None:
    frames = []
    for name in ("onnxruntime-cpu", backend):
        opened = open_backend(name, bundle, StageTimes())
        opened.encode_source(*source(bundle))
        frames.append([opened.render_secc(*motion(bundle, seed, yaw)) for seed, yaw in ((0, 10.0), (1, -20.0))])
        opened.close()
    for (expected, expected_alpha), (frame, alpha) in zip(*frames, strict=True):
        assert psnr(expected, frame, PEAK) > LEAST_PSNR
        assert np.abs(expected_alpha - alpha).max() < 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
def test_engines_keep_fp32_islands_and_are_kept(bundle: Bundle, backend: str) -> None:
    """And the command, in another process, finds nothing to build."""
    (folder,) = (path for path in (bundle.folder / "engines").iterdir() if path.is_dir())
    for name in bundle.graphs:
        precision = read_sidecar(folder, name).precision
        assert precision.stray == []
        assert precision.lowered == []
    sm = ["--sm", folder.name.rpartition("-sm")[2]] if backend == "tensorrt-rtx" else []
    command = [sys.executable, "-m", "hidenerf.commands.export", str(bundle.folder), "--backend", backend, *sm]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(": kept") == len(bundle.graphs)
    if load_library(backend).generation.times_kernels:
        assert list((bundle.folder / "engines").glob("*.timing"))
