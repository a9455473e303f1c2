"""`--sm`: what is asked for, what the library lists, and the GPU that is here."""

import importlib.util

import pytest

from hidenerf.export.engines import targets
from hidenerf.export.engines.builder_library import load_builder_library
from hidenerf.export.engines.targets import choose_targets, listed_sms
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.library import Library
from tests.support.networks import rtx

# No method of the library is called where this one is used.
TENSORRT = Library("tensorrt", "11.4.0", None, None)


def refuse(library: Library, option: str | None) -> str:
    with pytest.raises(HideNerfError) as caught:
        choose_targets(library, option)
    return str(caught.value)


def test_the_library_lists_its_sms() -> None:
    assert listed_sms(rtx()) == (75, 80, 86, 89, 120, 121)


@pytest.mark.parametrize("option", [None, "all"])
def test_all_is_what_the_library_lists_and_may_be_fewer(option: str | None) -> None:
    chosen = choose_targets(rtx(), option)
    assert chosen.sms == listed_sms(rtx())
    assert chosen.lenient


def test_sms_are_sorted_and_counted_once() -> None:
    chosen = choose_targets(rtx(), "120, 86,86")
    assert chosen.sms == (86, 120)
    assert not chosen.lenient


@pytest.mark.parametrize(("option", "named"), [("88", "'88'"), ("86,", "''"), ("", "''"), ("sm86", "'sm86'")])
def test_what_is_no_sm(option: str, named: str) -> None:
    message = refuse(rtx(), option)
    assert f"{named} is no SM" in message
    assert "75, 80, 86, 87, 89, 90, 120, 121" in message


@pytest.mark.parametrize(("option", "gpu"), [("90", "H100"), ("86,87", "Jetson Orin")])
def test_sms_that_the_library_does_not_list(option: str, gpu: str) -> None:
    message = refuse(rtx(), option)
    assert gpu in message
    assert "only for 75, 80, 86, 89, 120, 121" in message
    assert "--backend tensorrt " in message


def test_tensorrt_without_a_gpu() -> None:
    pytest.importorskip("cuda.core", reason="cuda-core is not installed (extra [dev])")
    try:
        targets._sm_of_this_machine(TENSORRT)
    except HideNerfError:
        message = refuse(TENSORRT, None)
        assert message.startswith("TensorRT 11.4.0 builds engines on the GPU that is to run them")
        assert "--backend tensorrt-rtx" in message
    else:
        pytest.skip("there is a GPU here")


def test_tensorrt_builds_for_the_gpu_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_sm_of_this_machine", lambda _: 87)
    assert choose_targets(TENSORRT, None).sms == (87,)
    assert choose_targets(TENSORRT, "87").sms == (87,)
    for option in ("86", "86,87", "all"):
        assert "builds only for the GPU of this machine, SM 87" in refuse(TENSORRT, option)


@pytest.mark.parametrize(("backend", "module"), [("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx")])
def test_a_missing_library_names_the_pip_command(backend: str, module: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed here")
    with pytest.raises(HideNerfError, match=rf"needs the Python package {module}; .*hidenerf\[{backend}\]"):
        load_builder_library(backend)
