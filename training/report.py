"""An evaluation as Markdown."""

from typing import Any

_HEADER = """# Evaluation of {checkpoint}

All people are **synthetic** and were never seen in training: {pairs} pairs of two pictures of one person
(self-reenactment), {cross} pairs of two people, {views} people from {angles} sides, {expressions} people for
expressions. SSIM: Gaussian windows, σ 1.5; masked: over the true silhouette. Gradient energy: sum of squared
differences between neighbouring pixels inside the true mask, its edge left out, over the truth's.
"""


def markdown(tables: dict[str, Any], checkpoint: str) -> str:
    """The tables of `Evaluation.all` as one page."""
    people = tables["people"]
    parts = [_HEADER.format(checkpoint=checkpoint, angles=len(tables["free_view"]), **people).rstrip()]
    parts += ["## One person twice, and what needs no model", table(tables["reconstruction"], "picture")]
    parts += ["## Another person's motion", table({"refined": tables["cross"]}, "picture")]
    parts += [
        "Pose errors are degrees: by how far the true head has to be turned to fit the output best.",
        "## Free view",
        table(tables["free_view"], "yaw"),
        "## Expressions: one coefficient alone from 0 to 1, seen from in front",
        "Correlation of the whole picture's change with the true change, and gain: how much of the true one there is.",
        table(tables["expressions"], "expression"),
        table(tables["actions"], "action"),
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: dict[str, dict[str, float]], corner: str) -> str:
    """Rows of figures by name as a Markdown table."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [[corner, *columns], ["---"] * (len(columns) + 1)]
    for name, row in rows.items():
        lines.append([name, *(f"{row[column]:.3f}" if column in row else "–" for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
