"""`hidenerf-run`: source and driving motion → video, pictures or a motion file."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hidenerf.commands.errors import user_errors
from hidenerf.runtime.backends import BACKEND_NAMES
from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.drivers.base import Driver

MOTION_SUFFIX = ".npz"

_PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-s", "--source", type=_PATH, help="Portrait, or a prepared source (.npz).  [default: a shipped one]")
@click.option(
    "-d",
    "--driving",
    metavar="PATH|camera:N",
    help="Clip, picture, camera:N, ARKit .csv, Deep3DFaceRecon .mat or motion .npz.  [default: a shipped motion]",
)
@click.option(
    "-o",
    "--output",
    default="out.mp4",
    show_default=True,
    type=_PATH,
    help="Video (.mp4), folder of PNGs, picture (.png, .jpg), or the motion alone (.npz).",
)
@click.option("--bundle", type=_PATH, help="Bundle folder.  [default: ./bundle, else one exported to the cache]")
@click.option("--backend", type=click.Choice(BACKEND_NAMES), default="auto", show_default=True)
@click.option(
    "--motion",
    type=click.Choice(["absolute", "relative"]),
    default="absolute",
    show_default=True,
    help="The driver's expression and head pose as they are, or their change since its first frame.",
)
@click.option("--yaw", type=float, default=0.0, help="Turn the head further, degrees to its left.")
@click.option("--pitch", type=float, default=0.0, help="Degrees down.")
@click.option("--roll", type=float, default=0.0, help="Degrees towards its right shoulder.")
@click.option("--orbit", type=float, default=0.0, help="Let the head circle by ± this many degrees.")
@click.option(
    "--background",
    type=click.Choice(["remove", "keep"]),
    default="remove",
    show_default=True,
    help="Black around the head, or the source's own background.",
)
@click.option("--compare", is_flag=True, help="Source, driving picture and result side by side.")
@click.option("--save-motion", type=_PATH, help="Also write the motion (.npz).")
@click.option("--save-source", type=_PATH, help="Also write the prepared source (.npz).")
@click.option("--face", type=click.IntRange(1), help="Which face of the source, counted from the left.")
@click.option("--driving-face", type=click.IntRange(1), help="Which face of the driving clip, counted from the left.")
@click.option(
    "--smoothing",
    type=click.FloatRange(0.0, 10.0),
    default=1.0,
    show_default=True,
    help="Of tracked motion; 0 is none.",
)
@click.option("--frames", type=click.IntRange(1), help="Stop after this many frames.")
@click.option("--face-landmarker", type=_PATH, help="MediaPipe's face_landmarker.task.")
@click.option("--allow-failed-parity", is_flag=True, help="Run a bundle that failed parity or was never compared.")
@click.option("--profile", is_flag=True, help="Print the time of each stage: p50, p95, p99.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@user_errors
def main(
    source: Path | None,
    driving: str | None,
    output: Path,
    bundle: Path | None,
    backend: str,
    motion: str,
    yaw: float,
    pitch: float,
    roll: float,
    orbit: float,
    background: str,
    compare: bool,
    save_motion: Path | None,
    save_source: Path | None,
    face: int | None,
    driving_face: int | None,
    smoothing: float,
    frames: int | None,
    face_landmarker: Path | None,
    allow_failed_parity: bool,
    profile: bool,
    quiet: bool,
) -> None:
    """Animate a portrait with the motion of another face."""
    from hidenerf.commands.default_bundle import default_bundle
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.pipeline import record_motion, render_motion
    from hidenerf.runtime.retarget import View
    from hidenerf.runtime.sources.source import save_source as write_source

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    _require_file("-s", source)
    if driving is not None and not driving.startswith("camera:"):
        _require_file("-d", Path(driving), folder=True)
    for option, path in (("--save-motion", save_motion), ("--save-source", save_source)):
        if path is not None and path.suffix != MOTION_SUFFIX:
            raise HideNerfError(f"{option} {path}: the file's name must end in {MOTION_SUFFIX}.")
    for option, given in (("-s", source), ("-d", Path(driving) if driving is not None else None)):
        if given is not None and output.exists() and given.exists() and output.samefile(given):
            raise HideNerfError(f"-o {output}: this is the file of {option}; choose another output.")
    with ExitStack() as stack:
        opened = Animator(bundle or default_bundle(), backend, face_landmarker, allow_failed_parity=allow_failed_parity)
        animator = stack.enter_context(opened)
        driver = animator.open_driver(driving or demo_motion_path(), face=driving_face, smoothing=smoothing)
        stack.callback(driver.close)
        if output.suffix == MOTION_SUFFIX:
            count = record_motion(driver, output, frames, quiet)
            say(f"{count} frames of motion in {output}")
            return
        _announce(animator, driver, quiet)
        prepared = animator.set_source(source or demo_source_path(), face)
        if save_source is not None:
            write_source(prepared, save_source)
        try:
            count = render_motion(
                animator,
                driver,
                output,
                motion=motion,
                view=View(yaw, pitch, roll, orbit),
                background=background,
                compare=compare,
                save_motion_to=save_motion,
                limit=frames,
                quiet=quiet,
            )
        except KeyboardInterrupt:
            if output.exists():
                say(f"Stopped; the frames so far are in {output}")
            raise
        say(f"{count} frame{'' if count == 1 else 's'} in {output}")
        if profile:
            click.echo(animator.times.table())


def _announce(animator: "Animator", driver: "Driver", quiet: bool) -> None:
    if quiet:
        return
    click.echo(
        f"{animator.bundle.folder}: preset {animator.bundle.preset}, "
        f"{animator.bundle.precision.upper()}, on {animator.backend.name}.",
        err=True,
    )
    for note in animator.notes:
        click.echo(note, err=True)
    if animator.bundle.failed_parity is not None:
        click.echo(f"It failed parity: {animator.bundle.failed_parity}.", err=True)
    if not animator.bundle.trained:
        click.echo("Its weights are untrained: the frames will be noise, not a face.", err=True)
    if driver.live:
        click.echo("Live input; Ctrl-C ends it.", err=True)


def _require_file(option: str, path: Path | None, folder: bool = False) -> None:
    if path is not None and not (path.is_file() or (folder and path.is_dir())):
        raise HideNerfError(f"{option} {path}: no such file; check the path.")


if __name__ == "__main__":
    sys.exit(main())
