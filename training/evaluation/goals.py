"""Goals: scores that a trained checkpoint should reach, with the scores of an evaluation.

A goal whose score is missing from an evaluated part is an error, so that a renamed metric cannot lose its goal.
"""

from collections.abc import Iterator
from typing import NamedTuple

from hidenerf.training.evaluation import columns
from hidenerf.training.evaluation.expression_response import EXPRESSIONS
from hidenerf.training.evaluation.tables import FLAT, REFINED, EvaluationTables, Row, Table, view_name


class Bounds(NamedTuple):
    """Smallest and largest permitted score; None for no bound."""

    least: float | None = None
    most: float | None = None

    def hold(self, value: float) -> bool:
        """Whether a value is within the bounds."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


class Goal(NamedTuple):
    """A goal and the score reached.

    figure: name on the page.
    least, most: as in `Bounds`.
    reached: score of the refined image.
    flat_colour: score of a flat colour in the true mask, for comparison; None where it means nothing.
    met: whether the score is within the bounds.
    """

    figure: str
    least: float | None
    most: float | None
    reached: float
    flat_colour: float | None
    met: bool


# Goals of self-reenactment: name, column and bounds.
RECONSTRUCTION_GOALS = (
    ("silhouette IoU", columns.SILHOUETTE_IOU, Bounds(least=0.97)),
    ("SSIM masked", columns.SSIM_MASKED, Bounds(least=0.82)),
    ("PSNR of mouth and eyes, dB", columns.PSNR_REGION, Bounds(least=25.0)),
    ("gradient energy, share of the truth's", columns.GRADIENT_ENERGY, Bounds(0.7, 1.1)),
    ("self-reenactment SSIM", columns.SSIM, Bounds(least=0.88)),
    ("self-reenactment PSNR, full picture, dB", columns.PSNR, Bounds(least=24.0)),
    ("self-reenactment PSNR-M (masked), dB", columns.PSNR_MASKED, Bounds(least=24.0)),
)
# The only column that a row may lack: no target may show mouth or eyes.
OPTIONAL_COLUMNS = (columns.PSNR_REGION,)
POSE_ERROR_BOUNDS = Bounds(most=3.0)
SSIM_LOSS_BOUNDS = Bounds(most=0.05)
GOAL_YAWS = (-30, -15, 15, 30)
# Smallest correlation of an expression's change with the true one, and bounds of its gain.
LEAST_CORRELATION = {"jawOpen": 0.8, "smile": 0.6, "pucker": 0.6, "blink": 0.5, "brows up": 0.5}
GAIN_BOUNDS = Bounds(0.5, 1.2)


def goals(tables: EvaluationTables) -> list[Goal]:
    """Goals of the evaluated parts. Errors: LookupError if a part lacks the score of a goal."""
    return [
        Goal(name, bounds.least, bounds.most, reached, flat, bounds.hold(reached))
        for name, bounds, reached, flat in _figures(tables)
    ]


def _figures(tables: EvaluationTables) -> Iterator[tuple[str, Bounds, float, float | None]]:
    """Name, bounds, score and flat colour's score of each goal."""
    if tables.reconstruction is not None:
        rows = tables.reconstruction
        flat = _row(rows, FLAT)
        for name, column, bounds in RECONSTRUCTION_GOALS:
            if column in OPTIONAL_COLUMNS and column not in _row(rows, REFINED):
                continue
            yield name, bounds, _figure(rows, column), flat.get(column)
    if tables.cross is not None:
        reached = _figure(tables.cross, columns.POSE_ERROR)
        yield "cross-identity pose error, degrees", POSE_ERROR_BOUNDS, reached, None
    if tables.free_view is not None:
        frontal, *sides = (_figure(_view(tables.free_view, yaw), columns.SSIM) for yaw in (0, *GOAL_YAWS))
        yield "free view -30° to 30°: SSIM lost from frontal", SSIM_LOSS_BOUNDS, frontal - min(sides), None
    if tables.expressions is not None:
        for name, least in LEAST_CORRELATION.items():
            if name not in EXPRESSIONS:
                raise LookupError(f"There is a goal for the expression {name!r}, which is not evaluated.")
            # An expression that is visible on nobody has no response.
            if name in tables.expressions:
                response = tables.expressions[name]
                yield f"{name}: correlation of the change", Bounds(least=least), response.correlation, None
                yield f"{name}: gain of the change", GAIN_BOUNDS, response.gain, None


def _view(views: dict[str, Table], yaw: int) -> Table:
    if view_name(yaw) not in views:
        raise LookupError(f"There is a goal for the free view at {yaw}°, which was not evaluated.")
    return views[view_name(yaw)]


def _row(rows: Table, name: str) -> Row:
    if name not in rows:
        raise LookupError(f"There are goals for the row {name!r}, which the evaluation lacks.")
    return rows[name]


def _figure(rows: Table, column: str) -> float:
    row = _row(rows, REFINED)
    if column not in row:
        raise LookupError(f"There is a goal for {column!r}, which the evaluation's row {REFINED!r} lacks.")
    return row[column]
