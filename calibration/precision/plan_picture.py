"""Picture of a precision plan: quality against estimated cost of every step of the search, of FP16, and of the plan."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 960, 640
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 70, 80
BLACK, GREY, LIGHT = (0, 0, 0), (120, 120, 120), (225, 225, 225)
KEPT, DROPPED, PLAN, BUDGET = (31, 119, 180), (200, 80, 60), (20, 130, 60), (170, 120, 0)


@dataclass(frozen=True)
class Point:
    """One mark of the picture. cost: estimated, FP16 GFLOP per frame. psnr: of the worst frame, dB, finite."""

    cost: float
    psnr: float


def pareto_picture(kept: Sequence[Point], dropped: Sequence[Point], fp16: Point, plan: Point, budget: float) -> Picture:
    """uint8 RGB [640, 960, 3]: the kept steps as a line, those left out as crosses, FP16 and plan as squares."""
    points = [*kept, *dropped, fp16, plan]
    low, high = _padded([p.cost for p in points])
    bottom, top = _padded([*(p.psnr for p in points), budget])

    def place(point: Point) -> tuple[int, int]:
        across = (point.cost - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        up = (point.psnr - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + across), round(HEIGHT - BOTTOM - up)

    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for value in _ticks(low, high):
        x = place(Point(value, bottom))[0]
        cv2.line(picture, (x, TOP), (x, HEIGHT - BOTTOM), LIGHT, 1)
        _text(picture, f"{value:g}", (x - 14, HEIGHT - BOTTOM + 22), GREY)
    for value in _ticks(bottom, top):
        y = place(Point(low, value))[1]
        cv2.line(picture, (LEFT, y), (WIDTH - RIGHT, y), LIGHT, 1)
        _text(picture, f"{value:g}", (LEFT - 44, y + 5), GREY)
    cv2.line(picture, place(Point(low, budget)), place(Point(high, budget)), BUDGET, 1, cv2.LINE_AA)
    _text(picture, f"budget {budget:g} dB", (WIDTH - RIGHT - 130, place(Point(high, budget))[1] - 6), BUDGET)
    line = np.array([place(point) for point in kept], np.int32)
    if len(line) > 1:
        cv2.polylines(picture, [line], False, KEPT, 1, cv2.LINE_AA)
    for point in kept:
        cv2.circle(picture, place(point), 4, KEPT, -1, cv2.LINE_AA)
    for point in dropped:
        cv2.drawMarker(picture, place(point), DROPPED, cv2.MARKER_TILTED_CROSS, 10, 2)
    for point, name, colour in ((fp16, "FP16", BLACK), (plan, "plan", PLAN)):
        x, y = place(point)
        cv2.rectangle(picture, (x - 6, y - 6), (x + 6, y + 6), colour, 2)
        _text(picture, f"{name} {point.psnr:.1f} dB", (min(x + 10, WIDTH - 120), y - 10), colour)
    _text(picture, "Worst frame against FP32 (dB) and ESTIMATED cost of a frame's convolutions", (LEFT, 28), BLACK)
    _text(picture, "dots: groups added in INT8; crosses: left out; squares: as exported, all frames", (LEFT, 52), GREY)
    _text(picture, "estimated cost, FP16 GFLOP per frame (not measured on an engine)", (LEFT + 180, HEIGHT - 24), BLACK)
    return picture


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.01 * abs(high), 1e-6)
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers between the two."""
    raw = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - raw))
    first = int(np.ceil(low / step))
    return [float(f"{k * step:.6g}") for k in range(first, int(np.floor(high / step)) + 1)]


def _text(picture: Picture, text: str, position: tuple[int, int], colour: Colour) -> None:
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
