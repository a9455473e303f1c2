"""How far two bundles of one model are apart: 04_compare_bundles.py REFERENCE CANDIDATE.

Prints the PSNR of every tenth frame of the shipped motion, and the worst. `hidenerf-parity CANDIDATE --reference
REFERENCE` compares every tensor as well and writes a report.
"""

import math
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from hidenerf.runtime import Animator
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.motion import load_motion


def psnr(reference: np.ndarray, candidate: np.ndarray) -> float:
    """dB between two uint8 pictures of one shape; infinite if they are equal."""
    mean_square = np.square(reference.astype(np.float64) - candidate).mean()
    return math.inf if mean_square == 0.0 else 10.0 * math.log10(255.0**2 / mean_square)


def main(reference: Path, candidate: Path) -> None:
    """Print a line a frame."""
    motion = load_motion(demo_motion_path())
    worst = math.inf
    with Animator(reference) as first, Animator(candidate) as second:
        source = first.set_source(demo_source_path())
        second.set_source(source)
        for index, frame in islice(enumerate(motion), 0, None, 10):
            pictures = [animator.render(frame.expression, frame.camera)[0] for animator in (first, second)]
            decibels = psnr(*pictures)
            worst = min(worst, decibels)
            print(f"frame {index:4}: {decibels:.1f} dB")
    print(f"worst: {worst:.1f} dB")


if __name__ == "__main__":
    main(*[Path(argument) for argument in sys.argv[1:]])
