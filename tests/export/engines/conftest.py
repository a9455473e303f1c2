"""The plugin library as `hidenerf-export` builds it, made once a run."""

import os
import shutil
from pathlib import Path

import pytest

from hidenerf.export.engines.plugin import plugin_library
from tests.support.plugin.library import only_for
from tests.support.plugin.sizes import OTHER, SMALL, VERSION


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for tool in ("cmake", "nvcc", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: the plugin cannot be built")
    if "TENSORRT_REPOSITORY" not in os.environ:
        pytest.skip("TENSORRT_REPOSITORY names no clone or address of github.com/NVIDIA/TensorRT to take headers from")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIDENERF_KERNEL_CACHE", str(tmp_path_factory.mktemp("plugins")))
        only_for(patch, 75)
        return plugin_library([SMALL, OTHER], VERSION)
