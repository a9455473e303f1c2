import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.calibration.parity.measurement import FlickerRow, FrameRow, KeptFlicker, KeptFrame, Parity
from hidenerf.calibration.parity.metrics import TensorDifference
from hidenerf.calibration.parity.report import PICTURE_FILE, REPORT_FILE, report, store, table, verdict
from hidenerf.calibration.parity.tensors import TensorRow
from hidenerf.calibration.parity.thresholds import Thresholds
from hidenerf.runtime.bundle import PARITY_REPORT, ParityState, open_bundle, require_parity
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import MANIFEST_NAME
from hidenerf.runtime.video.pictures import read_picture
from tests.support.bundles import verdict_in

LIMITS = Thresholds(frame_psnr=60.0, flicker_psnr=57.0, tensor_cosine=0.9999999, tensor_psnr=110.0)
CIRCUMSTANCES: dict[str, Any] = {
    "backend": "onnxruntime-cpu",
    "source": {"name": "s.png"},
    "driving": {"name": "d.mp4"},
    "motion_frames": 9,
}


PAGE = "<p>the page</p>"


def picture(level: int) -> np.ndarray:
    return np.full((4, 5, 3), level, np.uint8)


def some_parity(level: int = 1, psnr: float = 96.5) -> Parity:
    worst = FrameRow(8, psnr, 0.99, 0.01, 2, psnr >= 60.0)
    change = FlickerRow(7, 70.0, 1, 3.5, True)
    return Parity(
        "PyTorch FP32",
        "FP32 on onnxruntime-cpu",
        LIMITS,
        [
            TensorRow("led", "deformation", TensorDifference(1e-7, 2e-7, 0.9999999999, 140.0), True),
            TensorRow("renderer_refiner", "alpha", TensorDifference(0.0, 0.0, 1.0, math.inf), True),
        ],
        [FrameRow(0, math.inf, 1.0, 0.0, 0, True), worst],
        [change],
        [KeptFrame(worst, picture(level), picture(level + 1), picture(0))],
        KeptFlicker(change, picture(3), picture(4), picture(1)),
    )


def no_constants(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def test_the_stored_report_and_its_entry(own_bundle: Path) -> None:
    parity, bundle = some_parity(), open_bundle(own_bundle)
    store(parity, bundle, report(parity, bundle, **CIRCUMSTANCES), PAGE)

    stored = open_bundle(own_bundle)
    assert (own_bundle / PARITY_REPORT).read_text() == PAGE
    assert {REPORT_FILE, PARITY_REPORT, PICTURE_FILE} <= stored.manifest.files.keys()
    assert json.loads((own_bundle / MANIFEST_NAME).read_text())["parity"] == {
        "passed": True,
        "failed": None,
        "precision": "fp32",
        "backend": "onnxruntime-cpu",
        "frames": 2,
        "frame_psnr": 96.5,
        "flicker_psnr": 70.0,
        "tensors_failed": 0,
        "thresholds": {"frame_psnr": 60.0, "flicker_psnr": 57.0, "tensor_cosine": 0.9999999, "tensor_psnr": 110.0},
        "report": REPORT_FILE,
    }
    untouched = replace(stored.manifest, parity=None, parity_waived=True, files=bundle.manifest.files)
    assert untouched == bundle.manifest

    content = json.loads((own_bundle / REPORT_FILE).read_text(), parse_constant=no_constants)
    assert content["passed"] is True
    assert content["precision"] == "fp32"
    assert content["checkpoint"] == {"random_init": 0}
    assert content["motion_frames"] == 9
    assert content["tensors"][0] == {
        "graph": "led",
        "tensor": "deformation",
        "max_abs": 1e-7,
        "relative": 2e-7,
        "cosine": 0.9999999999,
        "psnr": 140.0,
        "passed": True,
    }
    assert content["tensors"][1]["psnr"] == "inf"
    assert [frame["psnr"] for frame in content["frames"]] == ["inf", 96.5]
    assert content["frames"][1]["index"] == 8
    panel = read_picture(own_bundle / content["worst_frame"]["picture"])
    np.testing.assert_array_equal(panel, np.concatenate([picture(1), picture(2), picture(0)], axis=1))


def test_nan_is_written_as_a_string(own_bundle: Path) -> None:
    bundle, parity = open_bundle(own_bundle), some_parity()
    parity.tensors.append(TensorRow("led", "x", TensorDifference(*[math.nan] * 4), False))
    store(parity, bundle, report(parity, bundle, **CIRCUMSTANCES), PAGE)
    content = json.loads((own_bundle / REPORT_FILE).read_text(), parse_constant=no_constants)
    assert content["tensors"][2]["max_abs"] == "nan"
    assert content["passed"] is False


def test_running_again_replaces_the_old_report(own_bundle: Path) -> None:
    for level, psnr in ((1, 96.5), (100, 30.0)):
        bundle, parity = open_bundle(own_bundle), some_parity(level, psnr)
        store(parity, bundle, report(parity, bundle, **CIRCUMSTANCES), PAGE)
    again = open_bundle(own_bundle)
    assert again.parity is ParityState.FAILED
    assert verdict_in(own_bundle).frame_psnr == 30.0
    assert read_picture(own_bundle / PICTURE_FILE)[0, 0, 0] == 100
    assert sorted(path.name for path in (own_bundle / "parity").iterdir()) == [
        "report.html",
        "report.json",
        "worst_frame.png",
    ]


@pytest.mark.parametrize("with_old_report", [False, True])
@pytest.mark.parametrize("survivors", range(7))
def test_an_interruption_leaves_a_bundle_that_verifies(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch, survivors: int, with_old_report: bool
) -> None:
    """Killed before the file system's change number `survivors`, renames being what makes files appear."""
    if with_old_report:
        bundle = open_bundle(own_bundle)
        store(some_parity(7), bundle, report(some_parity(7), bundle, **CIRCUMSTANCES), PAGE)
    opened, parity = open_bundle(own_bundle), some_parity(50, 30.0)
    original, renamed = Path.replace, 0

    def replace_until_killed(path: Path, target: Path) -> Path:
        nonlocal renamed
        if renamed == survivors:
            raise KeyboardInterrupt
        renamed += 1
        return original(path, target)

    monkeypatch.setattr(Path, "replace", replace_until_killed)
    try:
        store(parity, opened, report(parity, opened, **CIRCUMSTANCES), PAGE)
        finished = True
    except KeyboardInterrupt:
        finished = False
    monkeypatch.undo()

    then = open_bundle(own_bundle)
    assert finished == (survivors >= 6)
    if finished:
        assert verdict_in(own_bundle).frame_psnr == 30.0
    elif then.parity is ParityState.NEVER_COMPARED:
        with pytest.raises(HideNerfError, match="never compared"):
            require_parity(then)
    elif with_old_report:
        assert verdict_in(own_bundle).frame_psnr == 96.5
        assert read_picture(own_bundle / PICTURE_FILE)[0, 0, 0] == 7
    else:
        assert then.parity is ParityState.WAIVED
    bundle = open_bundle(own_bundle)
    store(parity, bundle, report(parity, bundle, **CIRCUMSTANCES), PAGE)
    assert verdict_in(own_bundle).frame_psnr == 30.0


def test_a_bundle_exported_anew_meanwhile_is_left_alone(own_bundle: Path) -> None:
    bundle, parity = open_bundle(own_bundle), some_parity()
    newer = json.dumps(bundle.manifest.to_json() | {"generator": {"hidenerf": "9"}})
    (own_bundle / MANIFEST_NAME).write_text(newer)
    with pytest.raises(HideNerfError, match="changed while parity ran"):
        store(parity, bundle, report(parity, bundle, **CIRCUMSTANCES), PAGE)
    assert (own_bundle / MANIFEST_NAME).read_text() == newer
    assert not (own_bundle / REPORT_FILE).exists()


def test_the_table_names_every_tensor_and_the_worst_of_the_frames() -> None:
    lines = table(some_parity()).splitlines()
    assert lines[1].split() == ["led", "deformation", "1.0e-07", "2.0e-07", "1.0e-10", "140.0"]
    assert lines[2].split() == ["renderer_refiner", "alpha", "0.0e+00", "0.0e+00", "0.0e+00", "inf"]
    figures = {line[:17].strip(): line[17:].split() for line in lines[5:]}
    assert figures["PSNR dB"] == ["96.50", "inf"]
    assert figures["SSIM"] == ["0.990000", "0.995000"]
    assert figures["ꟻLIP"] == ["0.010000", "0.005000"]
    assert figures["max abs"] == ["2.0", "1.0"]
    assert figures["flicker dB"] == ["70.00", "70.00"]
    assert "FAILED" not in "\n".join(lines)


def test_what_is_outside_is_marked() -> None:
    parity = some_parity(psnr=30.0)
    parity.tensors[0] = replace(parity.tensors[0], passed=False)
    marked = [line.split()[0] for line in table(parity).splitlines() if line.endswith("FAILED")]
    assert marked == ["led", "PSNR"]
    assert "1 of 2 tensors (worst led deformation, 140.0 dB)" in verdict(parity)
    assert "1 of 2 frames (worst frame 8, 30.0 dB where 60 dB is asked)" in verdict(parity)
    assert "changes" not in verdict(parity)
    assert "60 dB" in verdict(parity)
    assert "0.9999999" in verdict(parity)


def test_the_verdict_of_what_passed() -> None:
    assert verdict(some_parity()).startswith("Passed (frames ≥ 60 dB;")
