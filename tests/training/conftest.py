"""What tests of training share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.model.hidenerf import random_model


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks run fastest in one thread, and many times faster where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_config() -> ModelConfig:
    """The demo preset, for pictures in which a face can just be made out."""
    demo = PRESETS["demo"]
    return replace(
        demo,
        name="small",
        image_size=64,
        render_size=16,
        secc_size=32,
        plane_sizes=(8, 16, 32),
        extractor_channels=demo.extractor_channels[:4],
    )


@pytest.fixture(scope="session")
def small_checkpoint(small_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in single precision."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_checkpoint(random_model(replace(small_config, samples_per_ray=4), 1), path)
    return path


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where Triton kernels run: on a GPU, or in Triton's interpreter."""
    gpu = torch.cuda.is_available()
    if not gpu:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    return torch.device("cuda" if gpu else "cpu")
