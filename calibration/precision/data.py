"""Calibration data: what the graphs read while real sources are moved by real motions."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.animator import Animator
from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.retarget import Retargeter, View
from hidenerf.runtime.sources.source import Source

Float = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sample:
    """One frame. source: its number among the data's sources. tensors: `secc_driving` [1, 3, Q, Q], `camera` [1, 25].

    held_out: ranges and sensitivity do not see it; the finished plan has to hold on it too.
    """

    source: int
    tensors: Tensors
    held_out: bool


@dataclass(frozen=True)
class CalibrationData:
    """sources: per source the source encoder's inputs. description: what the plan tells of them, in hashes."""

    sources: list[Tensors]
    samples: list[Sample]
    description: dict[str, Any]


def collect(
    animator: Animator, sources: Sequence[Path], motions: Sequence[Path], frames: int, report: Callable[[str], None]
) -> CalibrationData:
    """Every source with every motion: `frames` frames of it, spread evenly, and as many less one held out between them.

    What a shorter motion has not is left out, and of a motion of one frame that one serves. report is called with one
    line per pair. Errors: those of the animator and the drivers.
    """
    inputs: list[Tensors] = []
    samples: list[Sample] = []
    pairs: list[dict[str, Any]] = []
    for number, path in enumerate(sources):
        source = animator.set_source(path)
        inputs.append(
            {
                "source_image": source.picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255.0),
                "source_camera": source.camera[None],
                "secc_canonical": animator.draw_secc(source.expression)[None],
            }
        )
        for motion in motions:
            with closing(animator.open_driver(motion)) as driver:
                poses = _poses(driver, source)
            chosen = spread(len(poses), 2 * frames - 1)
            digest = hashlib.sha256()
            for order, index in enumerate(chosen):
                expression, camera = poses[index]
                tensors = {"secc_driving": animator.draw_secc(expression)[None], "camera": camera[None]}
                samples.append(Sample(number, tensors, held_out=order % 2 == 1))
                for tensor in tensors.values():
                    digest.update(np.ascontiguousarray(tensor).tobytes())
            pairs.append(
                {
                    "source": path.name,
                    "motion": motion.name,
                    "motion_frames": len(poses),
                    "frames": chosen[0::2],
                    "held_out": chosen[1::2],
                    "frames_sha256": digest.hexdigest(),
                }
            )
            report(f"{path.name} moved by {motion.name}: {len(chosen)} of {len(poses)} frames")
    description = {"sources": [_file(p) for p in sources], "motions": [_file(p) for p in motions], "pairs": pairs}
    return CalibrationData(inputs, samples, description)


def spread(length: int, count: int) -> list[int]:
    """At most `count` different numbers from 0 to `length` - 1, evenly spread, the first and the last among them."""
    return [int(index) for index in np.unique(np.linspace(0, length - 1, count).round())]


def _poses(driver: Driver, source: Source) -> list[tuple[Float, Float]]:
    """Expression [E] and camera [25] of every frame of the motion, as `hidenerf-run` takes them by default."""
    retargeter = Retargeter(source, "absolute", View())
    return [retargeter.apply(frame) for frame in driver]


def _file(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": sha256_of(path)} if path.is_file() else {"name": path.name}
