"""`hidenerf-parity`: is a bundle still the same model?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hidenerf.commands.errors import user_errors
from hidenerf.runtime.backends import BACKEND_NAMES
from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.calibration.parity.comparison import Clip

EXIT_BELOW_THRESHOLDS = 1
PYTORCH = "pytorch"
DEFAULT_REFERENCE_BACKEND = "onnxruntime-cpu"

_PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=_PATH)
@click.option(
    "--reference",
    metavar="pytorch|BUNDLE",
    default=PYTORCH,
    show_default=True,
    help="The PyTorch model in FP32, or another bundle of it, or the same one for another backend.",
)
@click.option(
    "--reference-backend",
    type=click.Choice(BACKEND_NAMES),
    help=f"On which the reference bundle runs.  [default: {DEFAULT_REFERENCE_BACKEND}]",
)
@click.option("--checkpoint", type=_PATH, help="The checkpoint that BUNDLE was exported from, if it was.")
@click.option("-s", "--source", type=_PATH, help="Portrait, or a prepared source (.npz).  [default: a shipped one]")
@click.option(
    "-d", "--driving", type=_PATH, help="Clip, take or motion file, as for hidenerf-run.  [default: a shipped motion]"
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="How many frames, in pairs of consecutive ones spread over the motion; all if it has no more.",
)
@click.option(
    "--backend", type=click.Choice(BACKEND_NAMES), default="auto", show_default=True, help="On which BUNDLE runs."
)
@click.option("--report", type=_PATH, help="Also write the HTML report here (.html).")
@click.option("--face", type=click.IntRange(1), metavar="N", help="Which face of the source, from the left.")
@click.option("--driving-face", type=click.IntRange(1), metavar="N", help="Which face of the clip, from the left.")
@click.option("--face-landmarker", type=_PATH, help="MediaPipe's face_landmarker.task.")
@user_errors
def main(
    bundle: Path,
    reference: str,
    reference_backend: str | None,
    checkpoint: Path | None,
    source: Path | None,
    driving: Path | None,
    frames: int,
    backend: str,
    report: Path | None,
    face: int | None,
    driving_face: int | None,
    face_landmarker: Path | None,
) -> None:
    """Compare BUNDLE with the PyTorch model it was exported from: every graph tensor by tensor, whole frames, and
    flicker, what changes from frame to frame.

    Prints a table, and saves parity/report.html, parity/report.json and a picture of the worst frame,
    parity/worst_frame.png, in BUNDLE. hidenerf-run refuses a bundle that failed.

    With --reference BUNDLE two bundles, or two backends, are compared, and nothing is saved but --report.

    Exit code 1 where a figure is below its threshold, 2 where a side cannot run here.
    """
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path

    if reference == PYTORCH and reference_backend is not None:
        raise HideNerfError(f"--reference-backend {reference_backend}: PyTorch has none; give a bundle as --reference.")
    if reference != PYTORCH and checkpoint is not None:
        raise HideNerfError(f"--checkpoint {checkpoint}: only PyTorch as reference needs one; leave it out.")
    if report is not None and report.suffix != ".html":
        raise HideNerfError(f"--report {report}: the file's name must end in .html.")
    source, driving = source or demo_source_path(), driving or demo_motion_path()
    if str(driving).startswith("camera:"):
        raise HideNerfError(f"-d {driving}: parity needs motion that can be repeated; give a clip or a motion file.")
    try:
        from hidenerf.calibration.parity.comparison import Clip
    except ModuleNotFoundError as error:
        raise HideNerfError(
            f"Parity needs the package {error.name}; install it with: pip install 'hidenerf[export,cpu]'"
        ) from None
    clip = Clip(source, driving, frames, face, driving_face)
    against = None if reference == PYTORCH else (Path(reference), reference_backend or DEFAULT_REFERENCE_BACKEND)
    if not _run(bundle, backend, against, clip, checkpoint, report, face_landmarker):
        sys.exit(EXIT_BELOW_THRESHOLDS)


def _run(
    folder: Path,
    backend: str,
    against: tuple[Path, str] | None,
    clip: "Clip",
    checkpoint: Path | None,
    report: Path | None,
    face_landmarker: Path | None,
) -> bool:
    """Compare, print and save; whether it passed."""
    from hidenerf.calibration.parity.comparison import compare, page, store_in_bundle
    from hidenerf.calibration.parity.reference import model_of
    from hidenerf.calibration.parity.report import table, verdict
    from hidenerf.runtime.bundle import PARITY_REPORT, open_bundle
    from hidenerf.runtime.files import atomic_path, require_writable_parent
    from hidenerf.runtime.progress import progress_bar

    bundle = open_bundle(folder)
    if report is not None:
        require_writable_parent(report)
    if against is None:
        require_writable_parent((folder / PARITY_REPORT).parent)
    for option, path in (("-s", clip.source), ("-d", clip.driving)):
        if not path.exists():
            raise HideNerfError(f"{option} {path}: no such file; check the path.")
    reference: Any = model_of(bundle, checkpoint) if against is None else (open_bundle(against[0]), against[1])
    found = compare(
        bundle,
        backend,
        reference,
        clip,
        face_landmarker=face_landmarker,
        progress=lambda length: progress_bar(length, quiet=False),
        report=lambda line: click.echo(f"{line}\n"),
    )
    click.echo(f"{table(found.parity)}\n\n{verdict(found.parity)}")
    if against is None:
        store_in_bundle(found)
        click.echo(f"Report written to {folder / PARITY_REPORT}.")
    if report is not None:
        with atomic_path(report) as partial:
            partial.write_text(page(found), encoding="utf-8")
        click.echo(f"Report written to {report}.")
    return found.parity.passed


if __name__ == "__main__":
    main()
