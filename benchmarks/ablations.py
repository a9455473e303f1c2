"""Ablations: short equal training runs with one change each, the paper's and some of ours, in one table.

    bash benchmarks/gpu_session.sh python3 benchmarks/ablations.py --out "$OUT"

Each variant has its own process; as many run at a time as there are GPUs, or one on the CPU. Seed, steps, batch size,
schedule and held-out people are the same for all. OUT/ablations.md, .json, .png and .log are rewritten whenever a
variant ends.
"""

import json
import logging
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.commands.errors import user_errors
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.video.pictures import write_picture
from hidenerf.training.evaluation.columns import (
    GRADIENT_ENERGY,
    PSNR_MASKED,
    PSNR_REGION,
    SILHOUETTE_IOU,
    SSIM,
    SSIM_MASKED,
)

# Nothing above imports torch: the processes that draw heads import this file too.

FIGURES = (SILHOUETTE_IOU, SSIM, SSIM_MASKED, PSNR_MASKED, PSNR_REGION, GRADIENT_ENERGY)
# Scores that are best at 1; for all others more is better.
BEST_AT_ONE = (GRADIENT_ENERGY, "gain")
POLL_SECONDS = 0.2

Result = dict[str, Any]


@click.command(context_settings={"show_default": True})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the table and the pictures.")
@click.option("--steps", type=click.IntRange(1), default=800, help="Of each run.")
@click.option("--batch-size", type=click.IntRange(1), default=32)
@click.option(
    "--people", type=click.IntRange(1), default=32, help="Held-out people; a quarter of them for expressions."
)
@click.option("--variants", "chosen", help="Names, with commas between them; all if left out.")
@click.option("--preset", default="demo", help="What is changed.")
@click.option("--seed", type=int, default=0, help="Of the weights, the pairs and the jitter.")
@click.option("--variant", "alone", hidden=True, help="Run this one in this process.")
@click.option("--workers", type=int, default=1, hidden=True, help="Processes that draw heads, for --variant.")
@user_errors()
def main(out: Path, chosen: str | None, preset: str, alone: str | None, workers: int, **length: int) -> None:
    """Train and evaluate variants of a preset, and write FOLDER/ablations.md, .json, .png and .log."""
    from benchmarks.ablation_variants import Length, variants
    from hidenerf.model.config import PRESETS

    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    known = variants(PRESETS[preset])
    names = list(known) if chosen is None else [name.strip() for name in chosen.split(",")]
    for name in names if alone is None else [alone]:
        if name not in known:
            raise HideNerfError(f"No variant is called {name!r}; choose from {', '.join(known)}.")
    out.mkdir(parents=True, exist_ok=True)
    if alone is not None:
        run_here(known[alone], Length(**length), workers, out)
        return
    options = [f"--{name.replace('_', '-')}={value}" for name, value in length.items()]
    results: dict[str, Result] = {}
    failed = []
    with tempfile.TemporaryDirectory(prefix="ablations-") as parts:
        folders = {name: Path(parts) / re.sub(r"\W+", "-", name) for name in names}
        for name, code in run_all(folders, [f"--preset={preset}", *options]):
            if code == 0:
                results[name] = json.loads((folders[name] / "result.json").read_text())
                click.echo(f"{name}: {one_line(results[name])}")
            else:
                failed.append(name)
                click.echo(f"{name}: ended with code {code}\n{(folders[name] / 'log').read_text()[-2000:]}")
            ended = {name: results[name] for name in names if name in results}
            write(out, {"preset": preset, **length}, ended, folders)
    if results:
        click.echo((out / "ablations.md").read_text())
    if failed:
        raise HideNerfError(f"{', '.join(failed)} failed; see {out / 'ablations.log'} for what was said.")


def run_here(variant: Any, length: Any, workers: int, folder: Path) -> None:
    """Run one variant in this process and write result.json and pictures.npz.

    variant: an `ablation_variants.Variant`. length: an `ablation_variants.Length`.
    workers: processes that draw pairs.
    folder: for the two files.
    """
    import torch

    from benchmarks.ablation_variants import run_variant

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    result, pictures = run_variant(variant, length, workers, device)
    np.savez(folder / "pictures.npz", **pictures)  # type: ignore[arg-type]
    # JSON has no NaN.
    result["people"] = {
        name: [None if math.isnan(value) else value for value in values] for name, values in result["people"].items()
    }
    (folder / "result.json").write_text(json.dumps(result))


def run_all(folders: dict[str, Path], options: list[str]) -> Iterator[tuple[str, int]]:
    """Run variants in processes of their own; yields name and exit code of each as it ends.

    Processes that still run when the caller stops are killed.
    folders: of the variants by name; each gets the process's output in `log`.
    options: of the command line, for all.
    """
    idle = gpus() or [None]
    together = min(len(idle), len(folders))
    # Each variant has its share of the cores: one for the steps, one for painting, the rest for the workers.
    workers = max(1, len(os.sched_getaffinity(0)) // together - 2)
    waiting = list(folders)
    running: dict[str, tuple[subprocess.Popen[bytes], str | None]] = {}
    ended: list[tuple[str, int]] = []
    try:
        while waiting or running or ended:
            while waiting and idle:
                name, gpu = waiting.pop(0), idle.pop(0)
                folders[name].mkdir()
                command = [sys.executable, __file__, f"--variant={name}", f"--workers={workers}"]
                environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
                with (folders[name] / "log").open("wb") as log:
                    process = subprocess.Popen(
                        [*command, f"--out={folders[name]}", *options],
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                running[name] = process, gpu
            yield from ended
            time.sleep(POLL_SECONDS)
            ended = [(name, code) for name, (process, _) in running.items() if (code := process.poll()) is not None]
            idle += [running.pop(name)[1] for name, _ in ended]
    finally:
        for process, _ in running.values():
            process.kill()
            process.wait()


def gpus() -> list[str | None]:
    """Names of the visible GPUs, as in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    return [number for number in numbers[: torch.cuda.device_count()]]


def write(out: Path, settings: dict[str, Any], results: dict[str, Result], folders: dict[str, Path]) -> None:
    """Write table, results, pictures and logs of all variants so far.

    out: folder for them.
    settings: of the runs.
    results: by variant.
    folders: by variant; those that exist have a log.
    """
    logs = [f"# {name}\n{(folder / 'log').read_text()}" for name, folder in folders.items() if folder.exists()]
    texts = {
        "ablations.md": page(settings, results),
        "ablations.json": json.dumps({"settings": settings, "variants": results}, indent=1) + "\n",
        "ablations.log": "\n".join(logs),
    }
    for name, text in texts.items():
        with atomic_path(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    if results:
        sheet = contact_sheet({name: dict(np.load(folders[name] / "pictures.npz")) for name in results})
        write_picture(sheet, out / "ablations.png")


def one_line(result: Result) -> str:
    """Times, speed and two scores of a result, as a line for the terminal."""
    seconds = ", ".join(f"{what} {spent:.0f} s" for what, spent in result["seconds"].items())
    figures = ", ".join(f"{name} {mean(result, name):.3f}" for name in (SSIM_MASKED, PSNR_REGION))
    return f"{seconds}; {result['pairs_per_second']:.3g} pairs/s; {figures}"


def page(settings: dict[str, Any], results: dict[str, Result]) -> str:
    """The results as Markdown. settings: of the runs, for the title."""
    chosen = ", ".join(f"{name} {value}" for name, value in settings.items())
    if not results:
        return f"# Ablations ({chosen})\n\nNo run has ended.\n"
    full = results.get("full")
    first = next(iter(results.values()))
    losses = [name for name in first["losses"] if name.endswith("_refined")]
    expressions = [name.removesuffix(" r") for name in first["people"] if name.endswith(" r")]
    columns = [*FIGURES, *(f"{name} r / gain" for name in expressions), *(f"loss {name}" for name in losses)]
    lines = [["variant", *columns, "pairs/s"], ["---"] * (len(columns) + 2)]
    for name, result in results.items():
        cells = [cell(result, figure, full) for figure in FIGURES]
        for expression in expressions:
            cells.append(" / ".join(cell(result, f"{expression} {part}", full) for part in ("r", "gain")))
        cells += [f"{result['losses'][loss]:.4f}" for loss in losses]
        lines.append([name, *cells, f"{result['pairs_per_second']:.3g}"])
    changes = [
        f"- {name}: {result['what']}; {result['parameters'] / 1e6:.1f} M parameters."
        for name, result in results.items()
    ]
    return "\n".join(
        [
            f"# Ablations ({chosen})",
            "",
            "Short equal runs, evaluated on **synthetic** people never seen in training. ▼ worse, ▲ better than full,",
            "by more than two standard errors of the difference over the people; what another seed would change is not",
            "in that. Gradient energy and gain are best at 1. r: correlation of the picture's change with the true one",
            "as an expression alone goes from 0 to 1. Losses: means over the last tenth of the steps.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            *changes,
            "",
        ]
    )


def cell(result: Result, figure: str, full: Result | None) -> str:
    """A table's cell: the mean of a score, with ▲ or ▼ if it is better or worse than in `full`.

    It is marked if the mean difference over the people is larger than two standard errors.
    """
    text = f"{mean(result, figure):.3f}"
    if full is None:
        return text
    gains = [
        goodness(figure, own) - goodness(figure, other)
        for own, other in zip(result["people"][figure], full["people"][figure], strict=True)
        if own is not None and other is not None
    ]
    if len(gains) < 3:
        return text
    margin = 2 * statistics.stdev(gains) / math.sqrt(len(gains))
    gain = statistics.fmean(gains)
    return text + (" ▲" if gain > margin else " ▼" if gain < -margin else "")


def goodness(figure: str, value: float) -> float:
    """A value that is larger for a better score."""
    return -abs(value - 1) if figure.endswith(BEST_AT_ONE) else value


def mean(result: Result, figure: str) -> float:
    """Mean of a score over the people who have it; NaN if nobody has."""
    values = [value for value in result["people"][figure] if value is not None]
    return statistics.fmean(values) if values else math.nan


def contact_sheet(pictures: dict[str, dict[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Contact sheet [H, W, 3]: a row a person, with source, target and each variant's frame; names above.

    pictures: by variant, then "source", "target" and "frame", [n, S, S, 3].
    """
    first = next(iter(pictures.values()))
    columns = {"source": first["source"], "target": first["target"]}
    columns |= {name: made["frame"] for name, made in pictures.items()}
    strips = []
    for name, column in columns.items():
        width = column.shape[2]
        title = np.zeros((24, width, 3), np.uint8)
        face, grey = cv2.FONT_HERSHEY_SIMPLEX, (220, 220, 220)
        scale = min(0.5, 0.5 * (width - 8) / cv2.getTextSize(name, face, 0.5, 1)[0][0])
        cv2.putText(title, name, (4, 17), face, scale, grey, 1, cv2.LINE_AA)
        strips.append(np.concatenate([title, *column]))
    return np.concatenate(strips, axis=1)


if __name__ == "__main__":
    main()
