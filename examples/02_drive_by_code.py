"""Set expressions and head poses by code: 02_drive_by_code.py BUNDLE OUTPUT.png [PORTRAIT]."""

import sys
from pathlib import Path

import numpy as np

from hidenerf.runtime import Animator
from hidenerf.runtime.camera import turn_head
from hidenerf.runtime.defaults import demo_source_path
from hidenerf.runtime.video.pictures import write_picture

# Name of the expression, degrees of yaw to the head's left.
POSES = (("jawOpen", 0.0), ("mouthSmileLeft", 10.0), ("eyeBlinkLeft", -10.0), ("browInnerUp", 20.0))


def main(bundle: Path, output: Path, portrait: Path) -> None:
    """Write one picture with a frame for each of POSES, side by side."""
    frames = []
    with Animator(bundle) as animator:
        source = animator.set_source(portrait)
        names = animator.face_model.expression_names
        for name, yaw in POSES:
            expression = np.zeros(len(names), np.float32)
            expression[names.index(name)] = 1.0
            picture, _alpha = animator.render(expression, turn_head(source.camera, yaw, 0.0, 0.0))
            frames.append(picture)
    write_picture(np.hstack(frames), output)


if __name__ == "__main__":
    bundle, output, *portrait = [Path(argument) for argument in sys.argv[1:]]
    main(bundle, output, portrait[0] if portrait else demo_source_path())
    print(output)
