import pytest

from hidenerf.calibration.parity.thresholds import thresholds_for
from hidenerf.runtime.errors import HideNerfError


def test_frames_are_held_to_the_projects_figures() -> None:
    assert thresholds_for("fp32").frame_psnr == 60.0
    assert thresholds_for("fp16").frame_psnr == 45.0


def test_a_precision_without_thresholds_is_named() -> None:
    with pytest.raises(HideNerfError, match="'int4'"):
        thresholds_for("fp32", "int4")


def test_the_least_exact_side_decides() -> None:
    assert thresholds_for("int8").frame_psnr == 40.0
    assert thresholds_for("fp32", "int8") == thresholds_for("int8", "fp16") == thresholds_for("int8")
    assert thresholds_for("fp16", "fp32") == thresholds_for("fp16")
