"""A small bundle that a test may change, and the poses and model that go with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hidenerf.calibration.frames import Pose
from hidenerf.calibration.parity.measurement import collect_poses
from hidenerf.calibration.parity.reference import model_of
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.sources.source import Source


@pytest.fixture
def own_bundle(bundle_fp32: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_fp32, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def model(bundle_fp32: Path) -> HideNerf:
    return model_of(open_bundle(bundle_fp32), None)


@pytest.fixture(scope="module")
def animator(bundle_fp32: Path) -> Iterator[Animator]:
    with Animator(bundle_fp32) as opened:
        opened.set_source(demo_source_path())
        yield opened


@pytest.fixture(scope="module")
def source(animator: Animator) -> Source:
    assert animator.source is not None
    return animator.source


@pytest.fixture(scope="module")
def poses(animator: Animator, source: Source) -> list[Pose]:
    return collect_poses(animator.open_driver(demo_motion_path()), source, 4, lambda: None)[0]
