"""`hidenerf-run`: source and driving motion → video, pictures or a motion file."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hidenerf.commands import options
from hidenerf.commands.console import logger, print_result
from hidenerf.runtime.bundle import ParityState
from hidenerf.runtime.drivers.registry import kinds_in_words
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import output_target

if TYPE_CHECKING:
    from hidenerf.runtime.animator import Animator

MOTION_SUFFIX = ".npz"


@options.command()
@options.source
@click.option(
    "-d",
    "--driving",
    metavar="PATH|camera:N",
    help=f"What moves the head: {kinds_in_words()}.  [default: a shipped motion]",
)
@options.output("Video (.mp4), folder of PNGs, picture (.png, .jpg), or the motion alone (.npz).", "out.mp4")
@click.option("--bundle", type=options.PATH, help="Bundle folder.  [default: ./bundle, else one exported to the cache]")
@options.backend("What runs the bundle; auto takes the fastest that is usable here.")
@click.option(
    "--motion",
    type=click.Choice(["absolute", "relative"]),
    default="absolute",
    help="The driver's expression and head pose as they are, or their change since its first frame.",
)
@click.option("--yaw", type=float, default=0.0, help="Turn the head to its left, degrees.")
@click.option("--pitch", type=float, default=0.0, help="Turn it down, degrees.")
@click.option("--roll", type=float, default=0.0, help="Tilt it, degrees towards its right shoulder.")
@click.option("--orbit", type=float, default=0.0, help="Move the head in a circle of ± this many degrees.")
@click.option(
    "--background",
    type=click.Choice(["remove", "keep"]),
    default="remove",
    help="Black around the head, or the source's own background.",
)
@click.option("--compare", is_flag=True, help="Source, driving picture and result side by side.")
@click.option("--save-motion", type=options.PATH, help="Also write the motion (.npz).")
@click.option("--save-source", type=options.PATH, help="Also write the prepared source (.npz).")
@options.face
@options.driving_face
@click.option(
    "--smoothing", type=click.FloatRange(0.0, 10.0), default=1.0, help="Smoothing of tracked motion; 0 is none."
)
@click.option("--frames", type=click.IntRange(1), help="Stop after this many frames.")
@options.face_landmarker
@options.matting
@click.option(
    "--allow-failed-parity",
    is_flag=True,
    help="Also run a bundle that failed the comparison with the PyTorch model (hidenerf-parity), or that was never "
    "compared.",
)
@click.option("--profile", is_flag=True, help="Print the time of each stage: p50, p95, p99.")
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
    matting: Path | None,
    allow_failed_parity: bool,
    profile: bool,
) -> None:
    """Animate a portrait with the motion of another face.

    Without --bundle, ./bundle is used, or else the shipped checkpoint is exported to the cache and compared with the
    PyTorch model first (hidenerf-export).
    """
    from hidenerf.commands.default_bundle import default_bundle
    from hidenerf.runtime.animator import Animator
    from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
    from hidenerf.runtime.pipeline import record_motion, render_motion
    from hidenerf.runtime.retarget import View
    from hidenerf.runtime.sources.source import save_source as write_source

    options.require_file("-s", source)
    options.require_file("--matting", matting)
    if driving is not None and not driving.startswith("camera:"):
        options.require_file("-d", Path(driving), folder=True)
    for option, path in (("--save-motion", save_motion), ("--save-source", save_source)):
        if path is not None and path.suffix != MOTION_SUFFIX:
            raise HideNerfError(f"{option} {path}: the file's name must end in {MOTION_SUFFIX}.")
    output_target(output)
    for option, given in (("-s", source), ("-d", Path(driving) if driving is not None else None)):
        if given is not None and output.exists() and given.exists() and output.samefile(given):
            raise HideNerfError(f"-o {output}: this is the file of {option}; choose another output.")
    with ExitStack() as stack:
        opened = Animator(
            bundle or default_bundle(),
            backend,
            face_landmarker,
            matting=matting,
            allow_failed_parity=allow_failed_parity,
        )
        animator = stack.enter_context(opened)
        driver = animator.open_driver(driving or demo_motion_path(), face=driving_face, smoothing=smoothing)
        stack.callback(driver.close)
        if output.suffix == MOTION_SUFFIX:
            count = record_motion(driver, output, frames)
            print_result(f"{count} frames of motion in {output}")
            return
        _announce(animator)
        if driver.live:
            logger.info("Live input; Ctrl-C ends it.")
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
            )
        except KeyboardInterrupt:
            if output.exists():
                logger.info(f"Stopped; the frames so far are in {output}")
            raise
        print_result(f"{count} frame{'' if count == 1 else 's'} in {output}")
        if profile:
            print_result(animator.times.table())


def _announce(animator: "Animator") -> None:
    bundle = animator.bundle
    logger.info(f"{bundle.folder}: preset {bundle.preset}, {bundle.precision.upper()}, on {animator.backend.name}.")
    if bundle.parity is not ParityState.PASSED:
        found = f"failed: {bundle.failed_parity}" if bundle.parity is ParityState.FAILED else bundle.parity.value
        logger.warning(f"Parity with the PyTorch model: {found}.")
    if not bundle.trained:
        logger.warning("Its weights are untrained: the frames will be noise, not a face.")


if __name__ == "__main__":
    main()
