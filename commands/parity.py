"""`hidenerf-parity`: is a bundle still the same model?"""

import sys
from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import is_quiet, logger, print_result
from hidenerf.commands.errors import EXIT_PARITY_FAILED
from hidenerf.runtime.backends import BACKEND_NAMES
from hidenerf.runtime.errors import HideNerfError

PYTORCH = "pytorch"
DEFAULT_REFERENCE_BACKEND = "onnxruntime-cpu"
CHOOSE_A_REPORT = "name a folder for the report with --report"


@options.command(extra="export,cpu")
@click.argument("bundle", type=options.PATH)
@click.option(
    "--reference",
    metavar="pytorch|BUNDLE",
    default=PYTORCH,
    help="The PyTorch model in FP32, or another bundle of it, or the same one for another backend.",
)
@click.option(
    "--reference-backend",
    type=click.Choice(BACKEND_NAMES),
    help=f"What runs the reference bundle.  [default: {DEFAULT_REFERENCE_BACKEND}]",
)
@click.option("--checkpoint", type=options.PATH, help="The checkpoint that BUNDLE was exported from, if it was.")
@options.source
@options.driving
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=30,
    help="How many frames, in pairs of consecutive ones spread over the motion; all if it has no more.",
)
@options.backend("What runs BUNDLE; auto takes the fastest that is usable here.")
@click.option("-o", "--output", type=options.PATH, help="Also write the HTML report here (.html).")
@click.option(
    "--report",
    type=options.PATH,
    help="Folder for the report in place of BUNDLE, which keeps the verdict it has: for a bundle that is read-only.",
)
@options.face
@options.driving_face
@options.face_landmarker
@options.matting
def main(
    bundle: Path,
    reference: str,
    reference_backend: str | None,
    checkpoint: Path | None,
    source: Path | None,
    driving: Path | None,
    frames: int,
    backend: str,
    output: Path | None,
    report: Path | None,
    face: int | None,
    driving_face: int | None,
    face_landmarker: Path | None,
    matting: Path | None,
) -> None:
    """Compare BUNDLE with the PyTorch model it was exported from: every graph tensor by tensor, whole frames, and
    flicker, what changes from frame to frame.

    Prints a table, and saves parity/report.html, parity/report.json and a picture of the worst frame,
    parity/worst_frame.png, in BUNDLE, or in the folder --report. hidenerf-run refuses a bundle that failed.

    With --reference BUNDLE two bundles, or two backends, are compared, and nothing is saved but --output and --report.

    Exit code 1 where a figure is below its threshold, 2 where a side cannot run here.
    """
    from hidenerf.calibration.parity.comparison import Clip, compare, page, store_in_bundle, store_in_folder
    from hidenerf.calibration.parity.reference import model_of
    from hidenerf.calibration.parity.report import table, verdict
    from hidenerf.runtime.bundle import PARITY_REPORT, open_bundle
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.files import atomic_path, require_writable_parent
    from hidenerf.runtime.progress import progress_bar

    with_pytorch = reference == PYTORCH
    if with_pytorch and reference_backend is not None:
        raise HideNerfError(f"--reference-backend {reference_backend}: PyTorch has none; give a bundle as --reference.")
    if not with_pytorch and checkpoint is not None:
        raise HideNerfError(f"--checkpoint {checkpoint}: only PyTorch as reference needs one; leave it out.")
    # What --report named before there was -o.
    if report is not None and report.suffix == ".html" and output is None:
        output, report = report, None
    if output is not None and output.suffix != ".html":
        raise HideNerfError(f"-o {output}: the file's name must end in .html.")
    clip = Clip(source or demo_source_path(), driving or demo_motion_path(), frames, face, driving_face)
    options.require_file("-s", clip.source)
    options.require_file("--matting", matting)
    options.require_repeatable("-d", clip.driving)
    candidate = open_bundle(bundle)
    into_bundle = with_pytorch and report is None
    for path in (output, report and report / "report.html", (bundle / PARITY_REPORT).parent if into_bundle else None):
        if path is not None:
            require_writable_parent(path, "choose another output" if path == output else CHOOSE_A_REPORT)
    found = compare(
        candidate,
        backend,
        model_of(candidate, checkpoint)
        if with_pytorch
        else (open_bundle(Path(reference)), reference_backend or DEFAULT_REFERENCE_BACKEND),
        clip,
        face_landmarker=face_landmarker,
        matting=matting,
        progress=progress_bar,
    )
    print_result(f"{table(found.parity)}\n\n{verdict(found.parity)}")
    if report is not None:
        store_in_folder(found, report)
        print_result(f"Report written to {report}.")
    elif with_pytorch:
        store_in_bundle(found)
        print_result(f"Report written to {bundle / PARITY_REPORT}.")
    if output is not None:
        with atomic_path(output) as partial:
            partial.write_text(page(found), encoding="utf-8")
        print_result(f"Report written to {output}.")
    if not found.parity.passed:
        if is_quiet():
            logger.error(f"{bundle}: {verdict(found.parity)}")
        sys.exit(EXIT_PARITY_FAILED)


if __name__ == "__main__":
    main()
