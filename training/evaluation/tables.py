"""Evaluation tables: the records behind the Markdown page and the JSON file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from hidenerf.training.evaluation.expression_response import Response

# Scores by column (see `columns`), and rows by name.
Row = dict[str, float]
Table = dict[str, Row]

# Parts on synthetic people, and on the user's clips and portraits.
SYNTHETIC_PARTS = ("reconstruction", "cross", "free-view", "expressions")
CLIPS, PORTRAITS = "clips", "portraits"
PARTS = (*SYNTHETIC_PARTS, CLIPS, PORTRAITS)

# Names of rows.
REFINED = "refined"
RENDERED = "rendered, enlarged"
SOURCE = "the source itself"
FLAT = "mean colour in the true mask"
FLAT_EVERYWHERE = "mean colour everywhere"
TRUTH = "the truth itself"
DRIVER = "the driver's own picture"

# The name of the free-view table over all yaws.
ALL_VIEWS = "all"

# The fields of `Response`, as columns.
RESPONSE_COLUMNS = ("correlation", "gain", "correlation, coarse", "gain, coarse", "gain of the truth, coarse")


class Scope(NamedTuple):
    """Number of people of each part of the evaluation; 0 leaves a part out."""

    pairs: int
    cross: int
    views: int
    expressions: int


def scope_of(people: int, parts: Sequence[str]) -> Scope:
    """The scope of some of PARTS: self-reenactment takes all people, the others a quarter or an eighth."""
    shares = dict(zip(SYNTHETIC_PARTS, (1, 4, 4, 8), strict=True))
    return Scope(*(max(1, people // share) if part in parts else 0 for part, share in shares.items()))


def view_name(yaw: float) -> str:
    """The name of the free-view table of a yaw, degrees."""
    return f"{yaw:+d}" if isinstance(yaw, int) else f"{yaw:+g}"


@dataclass(frozen=True)
class RealTables:
    """Tables of real people.

    table: means over the clips or portraits, which count alike.
    standard_error: of these means; without columns that a single one has.
    by_file: a table for each, by its file's name.
    """

    table: Table
    standard_error: Table
    by_file: dict[str, Table]


@dataclass(frozen=True)
class EvaluationTables:
    """All tables of an evaluation; parts that were not evaluated are None.

    scope: number of people of each part.
    left_out: a sentence for each metric that was not available.
    inception_dimensions: D of FID's features; None without an Inception network.
    reconstruction: of self-reenactment.
    cross: of cross-identity reenactment.
    free_view: a table for each `view_name`, and one over all views.
    expressions, actions: responses by name; those that are not visible are left out.
    clips: of self-reenactment of real people.
    portraits: of real people in other views and with the shipped motion.
    """

    scope: Scope
    left_out: Sequence[str] = field(default_factory=tuple)
    inception_dimensions: int | None = None
    reconstruction: Table | None = None
    cross: Table | None = None
    free_view: dict[str, Table] | None = None
    expressions: dict[str, Response] | None = None
    actions: dict[str, Response] | None = None
    clips: RealTables | None = None
    portraits: RealTables | None = None

    def row_tables(self) -> list[Table]:
        """The tables whose rows are kinds of images."""
        real = [tables.table for tables in (self.clips, self.portraits) if tables is not None]
        parts = [self.reconstruction, self.cross, *(self.free_view or {}).values(), *real]
        return [table for table in parts if table is not None]

    def to_dict(self) -> dict[str, Any]:
        """The tables as JSON values, without the parts that were not evaluated."""
        values: dict[str, Any] = {"left_out": list(self.left_out), "people": self.scope._asdict()}
        for name in ("inception_dimensions", "reconstruction", "cross", "free_view"):
            if getattr(self, name) is not None:
                values[name] = getattr(self, name)
        if self.expressions is not None:
            values["expressions"] = response_table(self.expressions)
        if self.actions is not None:
            values["actions"] = response_table(self.actions)
        for name, real in (("clips", self.clips), ("portraits", self.portraits)):
            if real is not None:
                values[name] = asdict(real)
        return values


def response_table(responses: dict[str, Response]) -> Table:
    """Responses as a table: rows by name, columns RESPONSE_COLUMNS."""
    return {name: dict(zip(RESPONSE_COLUMNS, response, strict=True)) for name, response in responses.items()}
