"""HTML report of parity: one file without scripts or links, with pictures and curves inside."""

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hidenerf.calibration.parity.measurement import KeptFlicker, KeptFrame, Parity
from hidenerf.calibration.parity.report import failures
from hidenerf.runtime.metrics import Picture

# Curves show identical frames, and frames with a higher PSNR, at this many dB.
CEILING = 110.0
SHOWN_WIDTH = 250
LINE_HEIGHT = 13
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)

STYLE = f"""
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24;
 background: #fff }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem }}
.verdict {{ padding: .6rem .9rem; border-radius: 6px; background: #e5f4e8 }}
.failed .verdict, td.bad {{ background: #fbe3e1 }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .15rem .8rem .15rem 0; text-align: right; border-bottom: 1px solid #e3e6ea }}
th {{ font-weight: 600 }} .name {{ text-align: left }}
.pictures {{ display: flex; flex-wrap: wrap; gap: .7rem; margin: .5rem 0 1.4rem }}
figure {{ margin: 0; width: {SHOWN_WIDTH}px }} figcaption {{ font-size: .85rem; color: #56606b }}
img {{ width: 100%; image-rendering: pixelated; background: #000; display: block }}
svg {{ width: 100%; height: auto; display: block; margin-bottom: 1rem }}
svg text {{ font: 12px system-ui, sans-serif; fill: #56606b }}
"""


@dataclass(frozen=True)
class Curve:
    """One figure over the motion. index, values: a point each. limit: its least value allowed, if it has one."""

    title: str
    index: Sequence[int]
    values: Sequence[float]
    limit: float | None = None


def html_report(parity: Parity, title: str, facts: Sequence[tuple[str, str]]) -> str:
    """The whole page. facts: what was compared on what, name and text, for the table at its top."""
    failed = failures(parity)
    verdict = "Passed: everything is within the thresholds." if failed is None else f"Failed: {failed}."
    rows = "".join(f'<tr><td class="name">{_text(k)}</td><td class="name">{_text(v)}</td></tr>' for k, v in facts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head>\n"
        f'<body class="{"passed" if failed is None else "failed"}"><h1>{_text(title)}</h1>\n'
        f'<p class="verdict">{_text(verdict)}</p>\n<table>{rows}</table>\n'
        f"<h2>Worst frames</h2>\n{''.join(_frame(kept, parity) for kept in parity.worst_frames)}"
        f"<h2>Frame by frame</h2>\n{''.join(_curve(curve) for curve in _curves(parity))}"
        f"<h2>Flicker</h2>\n{_flicker(parity.worst_flicker)}"
        f"<h2>Tensors</h2>\n{_tensors(parity)}</body></html>\n"
    )


def _frame(kept: KeptFrame, parity: Parity) -> str:
    row = kept.row
    difference = np.abs(kept.reference.astype(int) - kept.result.astype(int)).astype(np.uint8)
    enlarged, factor = _enlarged(difference)
    return (
        f"<p><b>Frame {row.index}</b>: {_decibels(row.psnr)}, SSIM {row.ssim:.5f}, ꟻLIP {row.flip:.5f}, at most "
        f"{row.max_abs} level{'' if row.max_abs == 1 else 's'} of 255 apart{_outside(row.passed)}</p>"
        '<div class="pictures">'
        + _picture(kept.reference, f"reference: {parity.reference}")
        + _picture(kept.result, f"candidate: {parity.candidate}")
        + _picture(enlarged, f"difference × {factor}")
        + _picture(kept.error_map, "ꟻLIP: what an eye sees of it")
        + "</div>\n"
    )


def _flicker(kept: KeptFlicker | None) -> str:
    if kept is None:
        return "<p>No two of the frames follow one another.</p>\n"
    row = kept.row
    enlarged, factor = _enlarged(kept.error)
    shared = _factor(np.maximum(kept.reference, kept.result))
    return (
        "<p>The change from one frame to the next, (frame t+1 − frame t), of the candidate against the reference's. An "
        f"error that stands still is none here. Worst: <b>frames {row.index} and {row.index + 1}</b>, "
        f"{_decibels(row.psnr)}, at most {row.max_abs} levels, where the reference itself changes by "
        f"{row.motion:.2f} levels (root mean square){_outside(row.passed)}</p>"
        '<div class="pictures">'
        + _picture(_times(kept.reference, shared), f"reference's change × {shared}")
        + _picture(_times(kept.result, shared), f"candidate's change × {shared}")
        + _picture(enlarged, f"their difference × {factor}")
        + "</div>\n"
    )


def _tensors(parity: Parity) -> str:
    limits = parity.thresholds
    head = "".join(f"<th>{name}</th>" for name in ("max abs", "of range", "1 − cosine", "PSNR dB"))
    lines = []
    for row in parity.tensors:
        d = row.difference
        bad = "" if row.passed else ' class="bad"'
        cells = f"{d.max_abs:.1e}", f"{d.relative:.1e}", f"{1.0 - d.cosine:.1e}", f"{d.psnr:.1f}"
        lines.append(
            f'<tr><td class="name">{_text(row.graph)}</td><td class="name">{_text(row.tensor)}</td>'
            + "".join(f"<td{bad}>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    return (
        f"<p>The worst of all frames; each graph has the reference's tensors as its inputs. Asked: cosine ≥ "
        f"{limits.tensor_cosine:.9g}, PSNR ≥ {limits.tensor_psnr:g} dB over the tensor's range.</p>\n"
        '<div class="wide"><table><tr><th class="name">graph</th><th class="name">tensor</th>'
        f"{head}</tr>\n{''.join(lines)}</table></div>\n"
    )


def _curves(parity: Parity) -> list[Curve]:
    index, limits = [row.index for row in parity.frames], parity.thresholds
    curves = [
        Curve("PSNR of frames, dB", index, [row.psnr for row in parity.frames], limits.frame_psnr),
        Curve("ꟻLIP of frames", index, [row.flip for row in parity.frames]),
    ]
    if parity.flicker:
        changes = [row.index for row in parity.flicker]
        curves.append(
            Curve("flicker, PSNR of changes, dB", changes, [row.psnr for row in parity.flicker], limits.flicker_psnr)
        )
    return curves


def _curve(curve: Curve) -> str:
    """Points joined where frames follow one another, and the limit as a dashed line."""
    width, height, left, right, top, bottom = 1000, 170, 60, 12, 24, 24
    values = [min(value, CEILING) if math.isfinite(value) or value > 0 else 0.0 for value in curve.values]
    marks = [*values, *([curve.limit] if curve.limit is not None else [])]
    low, high = min(marks), max(marks)
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 0.08
    low, high = low - margin, high + margin
    first, span = curve.index[0], max(curve.index[-1] - curve.index[0], 1)

    def x(index: int) -> float:
        return left + (index - first) / span * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    runs: list[list[str]] = []
    points = []
    for number, (index, value) in enumerate(zip(curve.index, values, strict=True)):
        if number == 0 or curve.index[number - 1] + 1 != index:
            runs.append([])
        runs[-1].append(f"{x(index):.1f},{y(value):.1f}")
        points.append(f'<circle cx="{x(index):.1f}" cy="{y(value):.1f}" r="2" fill="#1f6feb"/>')
    lines = [f'<polyline points="{" ".join(run)}" fill="none" stroke="#1f6feb"/>' for run in runs if len(run) > 1]
    if curve.limit is not None:
        at = y(curve.limit)
        lines.append(
            f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#c4331d" '
            f'stroke-dasharray="5 4"/><text x="{width - right}" y="{at - 4:.1f}" text-anchor="end">asked: '
            f"{curve.limit:g}</text>"
        )
    greatest, least = max(values), min(values)
    places = {f"{greatest:.3g}": y(greatest) + 4}
    # Below the other one, not across it; one if both read the same.
    places.setdefault(f"{least:.3g}", max(y(least) + 4, y(greatest) + 4 + LINE_HEIGHT))
    labels = "".join(
        f'<text x="{left - 6}" y="{at:.1f}" text-anchor="end">{label}</text>' for label, at in places.items()
    )
    labels += f'<text x="{left}" y="{height - 6}">frame {first}</text>'
    labels += f'<text x="{width - right}" y="{height - 6}" text-anchor="end">frame {curve.index[-1]}</text>'
    frame = f'<rect x="{left}" y="{top}" width="{width - left - right}" height="{height - top - bottom}" '
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_text(curve.title)}">{frame}fill="#f7f8fa"/>'
        f'<text x="{left}" y="15">{_text(curve.title)}</text>{"".join(lines)}{"".join(points)}{labels}</svg>\n'
    )


def _picture(picture: Picture, caption: str) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), JPEG)
    encoded = base64.b64encode(data.tobytes()).decode("ascii")
    caption = _text(caption)
    image = f'<img src="data:image/jpeg;base64,{encoded}" alt="{caption}"/>'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _enlarged(levels: Picture) -> tuple[Picture, int]:
    factor = _factor(levels)
    return _times(levels, factor), factor


def _factor(levels: Picture) -> int:
    """The power of two that makes the largest level as bright as it can be."""
    largest = int(levels.max())
    return 1 if largest == 0 else 1 << max(0, int(math.log2(255 / largest)))


def _times(levels: Picture, factor: int) -> Picture:
    return np.minimum(levels.astype(int) * factor, 255).astype(np.uint8)


def _decibels(value: float) -> str:
    return "identical" if value == math.inf else f"{value:.2f} dB"


def _outside(passed: bool) -> str:
    return "." if passed else ": <b>outside the threshold</b>."


def _text(text: str) -> str:
    return html.escape(text, quote=True)
