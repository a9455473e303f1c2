"""The C++ sample on a GPU: its frames are the Python backend's, byte for byte. Needs no PyTorch."""

import shutil
from pathlib import Path

import pytest

from benchmarks.tensorrt_cpp import compared
from tests.support.engine_builds import bundle_for_gpu, with_engines
from tests.support.made_once import MadeOnce


@pytest.mark.gpu
def test_frames_are_the_python_backends(request: pytest.FixtureRequest, made_once: MadeOnce, tmp_path: Path) -> None:
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: the sample cannot be built")
    bundle = with_engines(bundle_for_gpu(request), made_once, "tensorrt")
    report = compared(bundle.folder, tmp_path)
    assert report["sample"].endswith(": source_encoder, led, renderer_refiner")
    assert report["frames"] == 8
    assert report["same_bytes"], report
