"""The GPU of tests of kernels."""

from collections.abc import Iterator

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.device import Device


@pytest.fixture
def device() -> Iterator[Device]:
    try:
        opened = Device()
    except HideNerfError as error:
        pytest.skip(f"{error}")
    yield opened
    opened.close()
