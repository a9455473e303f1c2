"""Damaged and odd files of bundles, engines and sources end in a result or one sentence.

`tests.support.fuzz_readers` tries more.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hidenerf.runtime.manifest import MANIFEST_NAME
from tests.support.fuzz_readers import Reader, readers
from tests.support.fuzzing import outcome

NAMES = MANIFEST_NAME, "refiner_plan.json", "led.json", "source.npz", "face_model.npz"


@pytest.fixture
def reader(request: pytest.FixtureRequest, bundle_fp16: Path) -> Iterator[Reader]:
    logging.disable()
    yield next(one for one in readers(bundle_fp16) if one[0] == request.param)
    logging.disable(logging.NOTSET)


def test_every_reader_is_tried(bundle_fp16: Path) -> None:
    assert [name for name, _, _ in readers(bundle_fp16)] == list(NAMES)


@pytest.mark.parametrize("reader", NAMES, indirect=True)
def test_odd_files(reader: Reader, tmp_path: Path) -> None:
    name, load, files = reader
    found = []

    @settings(
        max_examples=60,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        found.append(outcome(load, tmp_path / name, data.draw(files)))

    check()
    # Some differ in what a reader does not look at.
    assert len([one for one in found if not one.startswith("read")]) > 20
