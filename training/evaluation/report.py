"""Evaluation report: tables and goals as a page of Markdown and as JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

from hidenerf.runtime.camera import METRES_PER_UNIT
from hidenerf.training.evaluation import columns
from hidenerf.training.evaluation.goals import Goal, goals
from hidenerf.training.evaluation.tables import ALL_VIEWS, REFINED, TRUTH, EvaluationTables, RealTables, response_table
from hidenerf.training.evaluation.tracking import LEAST_SPREAD, SAME_ACTION

_TITLE = "# Evaluation of {}"
_SYNTHETIC = "People who are **synthetic** and were never seen in training: {}."
_REAL = (
    "Real people: {}; that training did not see them is for you to know. Their poses and expressions "
    "are those that hidenerf-clips fitted to the clips' own pixels."
)

_PARTS = {
    "pairs": "{} pairs of two pictures of one person (self-reenactment)",
    "cross": "{} people with another one's motion (cross-identity reenactment)",
    "views": "{} people seen from several sides (free view)",
    "expressions": "{} people whose actions are changed one by one",
}

# What a column means, printed where it is there.
_MEANINGS = {
    columns.SILHOUETTE_IOU: "Figures are means over pictures, but for FID, PRMSE and correlations.",
    columns.SSIM: "SSIM: Gaussian windows, σ 1.5, per colour channel; masked: over the true silhouette, as for PSNR.",
    columns.GRADIENT_ENERGY: "Gradient energy: sum of squared differences between neighbouring pixels inside the true "
    "mask, its edge left out, over the truth's.",
    columns.CHECKERBOARD_ENERGY: "Checkerboard energy: the same of the part that alternates from pixel to pixel both "
    "ways; much more than the truth's is a fine grid in place of detail.",
    columns.FLIP: "ꟻLIP, the perceptual figure (LPIPS would need a network to be downloaded): mean error over the "
    "whole picture at 67 pixels per degree of view, 0 to 1, less is better.",
    columns.FID: "FID: Fréchet distance between the features of all pictures and those of the truths, by the file "
    "given as `--inception`; comparable only between equal numbers of pictures.",
    columns.CSIM: "CSIM: cosine similarity of the embeddings of picture and source, by the file given as "
    "`--recognition`; faces are aligned by the known cameras and expressions.",
    columns.ID_DISTANCE: "ID distance: Euclidean distance of dlib's embeddings of picture and truth, aligned by the "
    "truth's points; of a portrait, to the portrait. Below 0.6 two faces are taken for one person.",
    columns.FACE_FOUND: "Face found: share of the pictures in which MediaPipe's tracker finds a face; the figures "
    "after it are over those, and where they compare, over those in whose truths it finds one too.",
    columns.AUCON: "AUCON: our counterpart of the paper's on the 52 ARKit actions: share of the actions whose tracked "
    f"values in picture and truth differ by at most {SAME_ACTION}. Most actions are at rest in most pictures and agree "
    f"in any two faces; AUCON shown is the share of those above {SAME_ACTION} in either picture.",
    columns.ACTION_CORRELATION: "Action correlation: of an action's tracked values with the truths' over the pictures, "
    f"mean over the actions whose true values vary (standard deviation at least {LEAST_SPREAD}).",
    columns.PRMSE: "PRMSE: root mean square difference, degrees, of yaw, pitch and roll tracked in picture and truth; "
    "to camera: tracked in the picture and those of the camera the truth is seen through. The row of the truth itself "
    "is what the tracker adds.",
    columns.AVD: "AVD: the paper's AVD-s, the mean distance of the face model's vertices, without pose and expression, "
    f"fitted to the picture and to the source; world units, 1 unit = {METRES_PER_UNIT} m. The row of the truth itself "
    "is what re-fitting adds.",
    columns.POSE_ERROR: "Pose error, degrees: by how far the true head has to be turned to fit the output best.",
}


def json_values(tables: EvaluationTables) -> dict[str, Any]:
    """Tables and goals as JSON values."""
    return {**tables.to_dict(), "goals": [goal._asdict() for goal in goals(tables)]}


def markdown(tables: EvaluationTables, checkpoint: str) -> str:
    """Tables and goals as a page of Markdown. checkpoint: its name, for the title."""
    people = tables.scope._asdict()
    parts = ", ".join(text.format(people[name]) for name, text in _PARTS.items() if people[name])
    page = [_TITLE.format(checkpoint)]
    if parts:
        page.append(_SYNTHETIC.format(parts))
    real = {"prepared clips": tables.clips, "portraits": tables.portraits}
    if numbers := [f"{len(found.by_file)} {name}" for name, found in real.items() if found is not None]:
        page.append(_REAL.format(", ".join(numbers)))
    remarks = [*tables.left_out, *_warnings(tables)]
    if remarks:
        page.append("\n".join(f"- {remark}" for remark in remarks))
    if reached := goals(tables):
        page += ["## Goals", goal_table(reached)]
    if tables.reconstruction is not None:
        page += ["## Self-reenactment: one person twice, and what needs no model"]
        page += part_tables(tables.reconstruction, "picture")
    if tables.cross is not None:
        page += [
            "## Cross-identity reenactment: another person's motion",
            "The truth is the source person with that motion, in the paper's place of the driving picture.",
            *part_tables(tables.cross, "picture"),
        ]
    if tables.free_view is not None:
        views = tables.free_view
        rows = {f"{yaw}°": found[REFINED] for yaw, found in views.items() if yaw != ALL_VIEWS}
        rows |= {f"all: {name}": found for name, found in views[ALL_VIEWS].items()}
        page += ["## Free view: by yaw the refined picture, and all yaws together", *part_tables(rows, "yaw")]
    if tables.expressions is not None and tables.actions is not None:
        page += [
            "## Expressions: one coefficient alone from 0 to 1, seen from in front",
            "Correlation of the whole picture's change with the true change, and gain: how much of the true one there "
            "is. Coarse: both changes at the rendered picture's size; the last column is the gain that the true change "
            "itself keeps at that size, enlarged again.",
            table(response_table(tables.expressions), "expression"),
            table(response_table(tables.actions), "action"),
        ]
    if tables.clips is not None:
        page += [
            "## Real clips: the first frame is the source, later ones drive and are the truth",
            "Means over the clips ± their standard error. The source itself, held still, needs no model.",
            *real_tables(tables.clips, "clip", TRUTH),
        ]
    if tables.portraits is not None:
        page += [
            "## Real portraits: other views, and another one's motion",
            "There is no truth here: CSIM and ID distance are to the portrait. Means over the portraits ± their "
            "standard error.",
            *real_tables(tables.portraits, "portrait"),
        ]
    known = {column for part in tables.row_tables() for row in part.values() for column in row}
    meanings = [text for column, text in _MEANINGS.items() if column in known]
    if meanings:
        page += ["## What the figures are", "\n".join(f"- {text}" for text in meanings)]
    return "\n\n".join(page) + "\n"


def real_tables(tables: RealTables, kind: str, left_out: str = "") -> list[str]:
    """Headings and Markdown tables of real people: means with standard errors, then each file.

    kind: what a file is.
    left_out: name of the row that is not printed for each file.
    """
    rows = {
        name: {column: _with_error(value, tables.standard_error[name].get(column)) for column, value in row.items()}
        for name, row in tables.table.items()
    }
    singles = {
        f"{file}: {name}": found[name] for file, found in tables.by_file.items() for name in found if name != left_out
    }
    return [*part_tables(rows, "picture"), f"### Each {kind}", *part_tables(singles, kind)]


def _with_error(value: float, error: float | None) -> str:
    return _written(value) if error is None else f"{_written(value)} ± {error:.3f}"


def _warnings(tables: EvaluationTables) -> list[str]:
    dimensions = tables.inception_dimensions or 0
    rows = [row for part in tables.row_tables() for row in part.values()]
    numbers = [row[columns.FID_PICTURES] for row in rows if columns.FID_PICTURES in row]
    if not numbers or min(numbers) >= dimensions:
        return []
    return [
        f"**FID is of {min(numbers)} pictures at least, fewer than the {dimensions} dimensions of its features: it "
        "says little, and is to be compared with nothing but its neighbours on this page.**"
    ]


def part_tables(rows: Mapping[str, Mapping[str, float | str]], corner: str) -> list[str]:
    """Rows as one or two Markdown tables: scores of pixels, then of faces. corner: title of the first column."""
    pixels = {name: {c: v for c, v in row.items() if c in columns.PICTURE_COLUMNS} for name, row in rows.items()}
    faces = {name: {c: v for c, v in row.items() if c not in columns.PICTURE_COLUMNS} for name, row in rows.items()}
    return [
        table({name: row for name, row in kind.items() if row}, corner)
        for kind in (pixels, faces)
        if any(kind.values())
    ]


def goal_table(goals: Sequence[Goal]) -> str:
    """Goals as a Markdown table."""
    lines = [["goal", "", "reached", "flat colour", "met"], ["---"] * 5]
    for goal in goals:
        bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", goal.least), ("≤", goal.most)) if bound is not None]
        flat = "" if goal.flat_colour is None else f"{goal.flat_colour:.3f}"
        met = "yes" if goal.met else "**no**"
        lines.append([goal.figure, " and ".join(bounds), f"{goal.reached:.3f}", flat, met])
    return _markdown(lines)


def table(rows: Mapping[str, Mapping[str, float | str]], corner: str) -> str:
    """Rows by name as a Markdown table; integers are counts, texts stay. corner: title of the first column."""
    titles = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [[corner, *titles], ["---"] * (len(titles) + 1)]
    for name, row in rows.items():
        lines.append([name, *(_written(row.get(title)) for title in titles)])
    return _markdown(lines)


def _written(value: float | str | None) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
