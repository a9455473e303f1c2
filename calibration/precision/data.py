"""Calibration data: the inputs of the graphs for sources moved by motions."""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.calibration.frames import poses_of, spread
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.files import sha256_of

logger = logging.getLogger(__name__)

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sample:
    """One frame.

    source: index into the data's sources. tensors: see `Animator.frame_inputs`. held_out: ranges and sensitivity are
    measured without it; the finished precision plan must hold on it too.
    """

    source: int
    tensors: Tensors
    held_out: bool


@dataclass(frozen=True)
class FileEntry:
    """A source or motion. sha256: None for what is no file, as a folder of pictures."""

    name: str
    sha256: str | None

    @staticmethod
    def of(path: Path) -> "FileEntry":
        """Name and hash of what is at `path`."""
        return FileEntry(path.name, sha256_of(path) if path.is_file() else None)

    def to_json(self) -> dict[str, Any]:
        """The entry in the precision plan."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class PairEntry:
    """A source moved by a motion.

    source, motion: names of the files. motion_frames: length of the motion. frames, held_out: numbers of the frames in
    it. frames_sha256: hash of what the graphs read of them all.
    """

    source: str
    motion: str
    motion_frames: int
    frames: Sequence[int]
    held_out: Sequence[int]
    frames_sha256: str


@dataclass(frozen=True)
class DataDescription:
    """What the data was made of, for the precision plan."""

    sources: Sequence[FileEntry]
    motions: Sequence[FileEntry]
    pairs: Sequence[PairEntry]

    def to_json(self) -> dict[str, Any]:
        """The entry `calibration` of the precision plan."""
        return {
            "sources": [source.to_json() for source in self.sources],
            "motions": [motion.to_json() for motion in self.motions],
            "pairs": [vars(pair) for pair in self.pairs],
        }


@dataclass(frozen=True)
class CalibrationData:
    """Sources and frames. sources: the source encoder's inputs, for each source."""

    sources: list[Tensors]
    samples: list[Sample]
    description: DataDescription


def collect(animator: Animator, sources: Sequence[Path], motions: Sequence[Path], frames: int) -> CalibrationData:
    """Every source with every motion: `frames` frames spread evenly over it, and `frames` - 1 held out between them.

    A shorter motion gives all its frames.

    animator: of the FP32 bundle. sources, motions: paths as for hidenerf-run. Errors: those of the animator and the
    drivers.
    """
    inputs: list[Tensors] = []
    samples: list[Sample] = []
    pairs: list[PairEntry] = []
    for number, path in enumerate(sources):
        source = animator.set_source(path)
        inputs.append(animator.source_inputs())
        for motion in motions:
            with closing(animator.open_driver(motion)) as driver:
                poses = poses_of(driver, source)
            chosen = spread(len(poses), 2 * frames - 1)
            digest = hashlib.sha256()
            for order, index in enumerate(chosen):
                pose = poses[index]
                tensors = animator.frame_inputs(pose.expression, pose.camera)
                samples.append(Sample(number, tensors, held_out=order % 2 == 1))
                for tensor in tensors.values():
                    digest.update(np.ascontiguousarray(tensor).tobytes())
            pairs.append(
                PairEntry(
                    source=path.name,
                    motion=motion.name,
                    motion_frames=len(poses),
                    frames=chosen[0::2],
                    held_out=chosen[1::2],
                    frames_sha256=digest.hexdigest(),
                )
            )
            logger.info("%s moved by %s: %d of %d frames", path.name, motion.name, len(chosen), len(poses))
    description = DataDescription([*map(FileEntry.of, sources)], [*map(FileEntry.of, motions)], pairs)
    return CalibrationData(inputs, samples, description)
