"""`hidenerf-parity`: is a bundle still the same model?"""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from hidenerf.runtime.backends import BACKEND_NAMES
from hidenerf.runtime.command import user_errors
from hidenerf.runtime.errors import HideNerfError

EXIT_BELOW_THRESHOLDS = 1

_PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=_PATH)
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
    help="How many frames, spread evenly over the motion.",
)
@click.option("--backend", type=click.Choice(BACKEND_NAMES), default="auto", show_default=True)
@click.option("--face", type=click.IntRange(1), metavar="N", help="Which face of the source, from the left.")
@click.option("--driving-face", type=click.IntRange(1), metavar="N", help="Which face of the clip, from the left.")
@click.option("--face-landmarker", type=_PATH, help="MediaPipe's face_landmarker.task.")
@user_errors
def main(
    bundle: Path,
    checkpoint: Path | None,
    source: Path | None,
    driving: Path | None,
    frames: int,
    backend: str,
    face: int | None,
    driving_face: int | None,
    face_landmarker: Path | None,
) -> None:
    """Compare BUNDLE with the PyTorch model it was exported from: every graph tensor by tensor, and whole frames.

    Prints a table, and saves parity/report.json and a picture of the worst frame, parity/worst_frame.png, in BUNDLE.
    Exit code 1 where a figure is below its threshold.
    """
    try:
        from hidenerf.calibration.parity import collect_poses, measure_parity
        from hidenerf.calibration.parity_report import REPORT_FILE, report, store, table, verdict
        from hidenerf.calibration.weights import model_of
    except ModuleNotFoundError as error:
        raise HideNerfError(
            f"Parity needs the package {error.name}; install it with: pip install 'hidenerf[export]'"
        ) from None
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.bundle import open_bundle
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.files import require_writable_parent
    from hidenerf.runtime.progress import progress_bar

    opened = open_bundle(bundle)
    require_writable_parent(bundle / Path(REPORT_FILE).parent)
    source, driving = source or demo_source_path(), driving or demo_motion_path()
    if str(driving).startswith("camera:"):
        raise HideNerfError(f"-d {driving}: parity needs motion that can be repeated; give a clip or a motion file.")
    for option, path in (("-s", source), ("-d", driving)):
        if not path.exists():
            raise HideNerfError(f"{option} {path}: no such file; check the path.")
    model = model_of(opened, checkpoint)
    with Animator(opened, backend, face_landmarker) as animator:
        prepared = animator.set_source(source, face)
        driver = animator.open_driver(driving, face=driving_face)
        with closing(driver), progress_bar(driver.length, quiet=False) as advance:
            poses, length = collect_poses(driver, prepared, frames, advance)
        click.echo(
            f"{bundle}: preset {model.config.name}, {opened.precision.upper()} on {animator.backend.name} against "
            f"PyTorch FP32, {len(poses)} of {length} frames of {driving.name} on {source.name}\n"
        )
        with progress_bar(len(poses), quiet=False) as advance:
            parity = measure_parity(model, animator, prepared, poses, advance)
        content = report(
            parity,
            opened,
            backend=animator.backend.name,
            source=_describe(source),
            driving=_describe(driving),
            motion_frames=length,
        )
    click.echo(f"{table(parity)}\n\n{verdict(parity)}")
    store(parity, opened, content)
    click.echo(f"Report written to {bundle / REPORT_FILE}.")
    if not parity.passed:
        sys.exit(EXIT_BELOW_THRESHOLDS)


def _describe(path: Path) -> dict[str, Any]:
    from hidenerf.runtime.files import sha256_of

    return {"name": path.name, "sha256": sha256_of(path)} if path.is_file() else {"name": path.name}


if __name__ == "__main__":
    main()
