"""Animate a portrait with a clip and write a video: 01_animate_portrait.py BUNDLE OUTPUT.mp4 [PORTRAIT [CLIP]]."""

import sys
from pathlib import Path

from hidenerf.runtime import Animator
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.video.writer import open_writer


def animate(bundle: Path, output: Path, portrait: Path, clip: Path) -> None:
    """Write the video of the portrait moved by the clip, with the clip's sound."""
    with Animator(bundle) as animator:
        animator.set_source(portrait)
        driver = animator.open_driver(clip)
        with open_writer(output, driver.fps, driver.audio, still=False) as writer:
            for frame in animator.animate(driver):
                # picture: uint8 RGB [S, S, 3] over black. frame.alpha: float32 [S, S], the head's opacity.
                writer.write(frame.picture, frame.time)


if __name__ == "__main__":
    bundle, output, *inputs = [Path(argument) for argument in sys.argv[1:]]
    shipped = [demo_source_path(), demo_motion_path()]
    animate(bundle, output, *[*inputs, *shipped[len(inputs) :]])
    print(output)
