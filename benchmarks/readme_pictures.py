"""README pictures: docs/example.png and docs/portraits.png, rendered by a bundle.

    python benchmarks/readme_pictures.py BUNDLE PORTRAIT...

The first shows the shipped portrait with its canonical SECC, and driving SECCs with the frames of the shipped motion.
The second has a row for each PORTRAIT: the prepared source, its own pose, the head turned, and frames of the shipped
motion.
"""

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.commands.errors import user_errors
from hidenerf.runtime import Animator
from hidenerf.runtime.camera import turn_head
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.video.pictures import write_picture

Picture = NDArray[np.uint8]

DOCS = Path(__file__).parents[1] / "docs"
CELL = 176
# Times in the demo motion are shares of its length; yaws are degrees.
EXAMPLE_TIMES = (0.0, 0.3, 0.55, 0.8)
PORTRAIT_YAWS = (0.0, -25.0, 25.0)
PORTRAIT_TIMES = (0.2, 0.45, 0.7)


def small(picture: Picture) -> Picture:
    """A picture at CELL × CELL."""
    return np.asarray(cv2.resize(picture, (CELL, CELL), interpolation=cv2.INTER_AREA), np.uint8)


def secc_picture(animator: Animator, expression: NDArray[np.float32]) -> Picture:
    """SECC of the animator's source with an expression [E], as a picture of CELL × CELL."""
    secc = animator.draw_secc(expression)
    return small(np.rint(255 * secc.transpose(1, 2, 0)).clip(0, 255).astype(np.uint8))


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("portraits", nargs=-1, type=click.Path(path_type=Path))
@user_errors()
def main(bundle: Path, portraits: tuple[Path, ...]) -> None:
    """Write docs/example.png, and docs/portraits.png if there are PORTRAITS."""
    motion = load_motion(demo_motion_path())
    count = len(motion.expression)
    with Animator(bundle) as animator:
        source = animator.set_source(demo_source_path())
        columns = [np.vstack([small(source.picture), secc_picture(animator, source.expression)])]
        for time in EXAMPLE_TIMES:
            expression, camera = motion.expression[int(count * time)], motion.camera[int(count * time)]
            frame, _ = animator.render(expression, camera)
            columns.append(np.vstack([secc_picture(animator, expression), small(frame)]))
        write_picture(np.hstack(columns), DOCS / "example.png")
        rows = []
        for path in portraits:
            source = animator.set_source(path)
            poses = [(source.expression, turn_head(source.camera, yaw, 0.0, 0.0)) for yaw in PORTRAIT_YAWS]
            poses += [
                (motion.expression[int(count * time)], motion.camera[int(count * time)]) for time in PORTRAIT_TIMES
            ]
            frames = [small(animator.render(*pose)[0]) for pose in poses]
            rows.append(np.hstack([small(source.picture), *frames]))
        if rows:
            write_picture(np.vstack(rows), DOCS / "portraits.png")


if __name__ == "__main__":
    main()
