"""Bundles and checkpoints for the commands."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def own_bundle(bundle_fp32: Path, tmp_path: Path) -> Path:
    """A small bundle that the test may change."""
    return Path(shutil.copytree(bundle_fp32, tmp_path / "bundle"))


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch, bundle_fp32: Path) -> Iterator[None]:
    """The preset `demo` is the small model of `bundle_fp32`, whose graphs were exported before."""
    from hidenerf.model.config import PRESETS
    from tests.support.bundles import graphs_of
    from tests.support.tiny import TINY

    monkeypatch.setitem(PRESETS, "demo", TINY)
    with graphs_of(bundle_fp32):
        yield


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small untrained model."""
    from tests.support.checkpoints import write_small_checkpoint

    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.safetensors")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch in one thread."""
    from tests.support.checkpoints import one_thread

    with one_thread():
        yield
