"""What tests of training share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hidenerf.model.config import ModelConfig
from tests.support.checkpoints import one_thread, write_small_checkpoint
from tests.support.tiny import SMALL_DEMO


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def small_config() -> ModelConfig:
    """`SMALL_DEMO`."""
    return SMALL_DEMO


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in single precision."""
    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.safetensors")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where Triton kernels run: on a GPU, or in Triton's interpreter."""
    gpu = torch.cuda.is_available()
    if not gpu:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    return torch.device("cuda" if gpu else "cpu")
