"""The figures that a trained checkpoint is to reach (issue 3), beside those that an evaluation found."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hidenerf.training.evaluation.evaluate import FLAT, REFINED

GOAL_YAWS = ("-30", "-15", "+15", "+30")


class Goal(NamedTuple):
    """A figure by name, the least and the most it may be, what was reached, what a flat colour in the true mask
    reaches, where that says something, and whether the goal is met."""

    figure: str
    least: float | None
    most: float | None
    reached: float
    flat_colour: float | None
    met: bool


def goals(tables: dict[str, Any]) -> list[Goal]:
    """The goals of the parts that were evaluated."""
    return [
        Goal(name, least, most, value, flat, (least is None or value >= least) and (most is None or value <= most))
        for name, least, most, value, flat in _figures(tables)
    ]


def _figures(tables: dict[str, Any]) -> Iterator[tuple[str, float | None, float | None, float, float | None]]:
    if "reconstruction" in tables:
        rows = tables["reconstruction"]
        for name, column, least, most in (
            ("silhouette IoU", "silhouette IoU", 0.97, None),
            ("SSIM masked", "SSIM masked", 0.82, None),
            ("PSNR of mouth and eyes, dB", "PSNR mouth+eyes", 25.0, None),
            ("gradient energy, share of the truth's", "gradient energy", 0.7, 1.1),
            ("self-reenactment SSIM", "SSIM", 0.88, None),
            ("self-reenactment PSNR, full picture, dB", "PSNR", 24.0, None),
            ("self-reenactment PSNR-M (masked), dB", "PSNR masked", 24.0, None),
        ):
            if column in rows[REFINED]:
                yield name, least, most, rows[REFINED][column], rows[FLAT].get(column)
    if "cross" in tables:
        yield "cross-identity pose error, degrees", None, 3.0, tables["cross"][REFINED]["pose error"], None
    if "free_view" in tables:
        views = tables["free_view"]
        if {"+0", *GOAL_YAWS} <= views.keys():
            lost = views["+0"][REFINED]["SSIM"] - min(views[yaw][REFINED]["SSIM"] for yaw in GOAL_YAWS)
            yield "free view -30° to 30°: SSIM lost from frontal", None, 0.05, lost, None
    responses = tables.get("expressions", {})
    for name, least in (("jawOpen", 0.8), ("smile", 0.6), ("pucker", 0.6), ("blink", 0.5), ("brows up", 0.5)):
        if name in responses:
            yield f"{name}: correlation of the change", least, None, responses[name]["correlation"], None
            yield f"{name}: gain of the change", 0.5, 1.2, responses[name]["gain"], None
