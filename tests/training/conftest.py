"""What tests of training share."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from hidenerf.model.config import PRESETS, ModelConfig


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


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where Triton kernels run: on a GPU, or in Triton's interpreter."""
    gpu = torch.cuda.is_available()
    if not gpu:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    return torch.device("cuda" if gpu else "cpu")
