"""The registry of backends: its entries can be loaded, and one more entry is all that a backend needs."""

import pytest

from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.backends.registry import BACKEND_NAMES, BACKENDS, BackendEntry, backend_entry
from hidenerf.runtime.errors import HideNerfError


@pytest.mark.parametrize("entry", BACKENDS, ids=lambda entry: entry.name)
def test_every_entry_names_a_backend_of_its_name(entry: BackendEntry) -> None:
    implementation = entry.load()
    assert issubclass(implementation, Backend)
    assert implementation.name == entry.name
    assert backend_entry(entry.name) is entry


def test_the_last_backend_runs_everywhere() -> None:
    assert BACKENDS[-1].name == "onnxruntime-cpu"
    assert not BACKENDS[-1].runs_engines


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HideNerfError, match=r"'cuda'; choose one of auto, tensorrt, .*onnxruntime-cpu\.$"):
        backend_entry("cuda")
    assert ("auto", *(entry.name for entry in BACKENDS)) == BACKEND_NAMES
