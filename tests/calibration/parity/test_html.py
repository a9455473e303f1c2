import base64
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import cv2
import numpy as np

from hidenerf.calibration.parity.html import html_report
from hidenerf.calibration.parity.measurement import FlickerRow, FrameRow, KeptFlicker, KeptFrame, Parity
from hidenerf.calibration.parity.metrics import TensorDifference
from hidenerf.calibration.parity.tensors import TensorRow
from hidenerf.calibration.parity.thresholds import thresholds_for


def picture(level: int) -> np.ndarray:
    return np.full((16, 16, 3), level, np.uint8)


def parity(*decibels: float) -> Parity:
    """Frames 10, 11, … of these PSNRs; the reference is at 100, the result at 103."""
    rows = [FrameRow(10 + n, value, 0.99, 0.01, 3, value >= 60.0) for n, value in enumerate(decibels)]
    changes = [FlickerRow(row.index, 61.5, 2, 3.25, True) for row in rows[:-1]]
    kept = [KeptFrame(row, picture(100), picture(103), picture(7)) for row in sorted(rows, key=lambda row: row.psnr)]
    return Parity(
        "PyTorch <FP32>",
        "FP32 on onnxruntime-cpu",
        thresholds_for("fp32"),
        [TensorRow("led", "deformation", TensorDifference(1e-7, 2e-7, 1.0, 140.0), True)],
        rows,
        changes,
        kept[:3],
        KeptFlicker(changes[0], picture(4), picture(6), picture(2)) if changes else None,
    )


def embedded(page: str) -> list[Any]:
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(item), np.uint8), cv2.IMREAD_COLOR) for item in data]


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    page = html_report(parity(96.0, 95.0), "Parity of a&b", [("motion", "x < y")])
    body = page.partition("<body")[2].rpartition("</html>")[0]
    ET.fromstring(f"<body{body}")
    assert "Parity of a&amp;b" in page
    assert "PyTorch &lt;FP32&gt;" in page
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    assert "Passed" in page


def test_worst_frames_stand_side_by_side_with_the_enlarged_difference() -> None:
    page = html_report(parity(96.0, 41.5, 62.0), "t", [])
    assert re.findall(r"<b>Frame (\d+)</b>", page) == ["11", "12", "10"]
    assert "1 of 3 frames (worst frame 11, 41.5 dB where 60 dB is asked)" in page
    pictures = embedded(page)
    assert len(pictures) == 3 * 4 + 3
    # 3 levels apart, made 64 times brighter: 192.
    assert [round(float(p.mean())) for p in pictures[:4]] == [100, 103, 192, 7]
    assert "difference × 64" in page
    assert page.count("outside the threshold") == 1


def test_flicker_shows_both_changes_and_their_difference() -> None:
    page = html_report(parity(96.0, 95.0), "t", [])
    # Both changes by one factor, 32, so that 4 and 6 can be compared; the difference 2 by 64.
    assert [round(float(p.mean())) for p in embedded(page)[-3:]] == [128, 192, 128]
    assert "frames 10 and 11" in page
    assert "3.25 levels" in page


def test_curves_take_identical_frames_and_a_single_one() -> None:
    page = html_report(parity(math.inf), "t", [])
    curves = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(curves) == 2
    assert "nan" not in page.lower().replace("nanum", "")
    assert "identical" in page
    assert "No two of the frames" in page
    for curve in curves:
        ET.fromstring(curve)


def test_a_gap_between_frames_is_a_gap_in_the_curve() -> None:
    found = parity(96.0, 95.0, 94.0)
    found.frames[2] = FrameRow(40, 94.0, 0.99, 0.01, 3, True)
    first = re.findall(r"<svg.*?</svg>", html_report(found, "t", []), re.DOTALL)[0]
    assert first.count("<polyline") == 1
    assert first.count("<circle") == 3


def test_labels_of_near_values_stand_below_each_other_and_inside_the_picture() -> None:
    found = parity(95.3, 95.0)
    found.frames[:] = [
        FrameRow(i, psnr, 0.99, flip, 3, True) for i, (psnr, flip) in enumerate(((95.3, 2e-3), (95, 1e-3)))
    ]
    for drawing in re.findall(r"<svg.*?</svg>", html_report(found, "t", []), re.DOTALL)[:2]:
        texts = ET.fromstring(drawing).iter("text")
        labels = [t for t in texts if t.get("text-anchor") == "end" and re.fullmatch(r"[\d.]+", t.text or "")]
        assert len(labels) == 2
        upper, lower = (float(label.attrib["y"]) for label in labels)
        assert lower - upper >= 13
        # A digit of the page's font is 7 wide.
        assert all(float(label.attrib["x"]) - 7 * len(label.text or "") > 0 for label in labels)
