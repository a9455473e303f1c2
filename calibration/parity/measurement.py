"""Measurement of parity: every graph tensor by tensor, whole frames, and the change from frame to frame."""

from collections.abc import Callable
from dataclasses import dataclass

import flip_evaluator  # noqa: F401  If it is missing, that shows before frames are rendered.
import numpy as np

from hidenerf.calibration.frames import Pose, poses_of, spread_pairs
from hidenerf.calibration.parity.metrics import flicker
from hidenerf.calibration.parity.runners import Tensors
from hidenerf.calibration.parity.sides import Side, TorchSide
from hidenerf.calibration.parity.tensors import GraphComparison, TensorCompareFunc, TensorRow, worst_rows
from hidenerf.calibration.parity.thresholds import THRESHOLDS, Thresholds, thresholds_for
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.metrics import Picture, flip, psnr, ssim
from hidenerf.runtime.secc import secc
from hidenerf.runtime.sources.source import Source

HOISTING = "hoisting"
WHOLE_FRAME = "whole_frame"
KEPT_FRAMES = 3


@dataclass(frozen=True)
class FrameRow:
    """One whole frame against the reference's, both uint8.

    index: its number in the driving motion. psnr: dB. ssim, flip: see `hidenerf.runtime.metrics`. max_abs: largest
    difference, levels. passed: whether psnr reaches its threshold.
    """

    index: int
    psnr: float
    ssim: float
    flip: float
    max_abs: int
    passed: bool


@dataclass(frozen=True)
class FlickerRow:
    """The change from frame `index` to the next one against the reference's.

    psnr: of the difference of the two changes, with a peak of 255, dB. max_abs: its largest value, levels. motion: root
    mean square of the reference's change, levels, for comparison.
    """

    index: int
    psnr: float
    max_abs: int
    motion: float
    passed: bool


@dataclass(frozen=True)
class KeptFrame:
    """A frame for the report: the reference's, the candidate's, and the map of ꟻLIP errors, [S, S, 3] uint8."""

    row: FrameRow
    reference: Picture
    result: Picture
    error_map: Picture


@dataclass(frozen=True)
class KeptFlicker:
    """The worst change between two frames: absolute changes of both sides and of their difference, [S, S, 3] uint8."""

    row: FlickerRow
    reference: Picture
    result: Picture
    error: Picture


@dataclass(frozen=True)
class Parity:
    """Everything that was measured.

    reference, candidate: names of the sides. tensors: of each graph; of `WHOLE_FRAME`, the alpha of whole frames; of
    `HOISTING`, the PyTorch graphs against the model without hoisting. flicker: of consecutive frames. worst_frames:
    lowest PSNR first. worst_flicker: None if no two frames are consecutive.
    """

    reference: str
    candidate: str
    thresholds: Thresholds
    tensors: list[TensorRow]
    frames: list[FrameRow]
    flicker: list[FlickerRow]
    worst_frames: list[KeptFrame]
    worst_flicker: KeptFlicker | None

    @property
    def passed(self) -> bool:
        """Whether every tensor, every frame and every change between frames is within the thresholds."""
        rows: list[TensorRow | FrameRow | FlickerRow] = [*self.tensors, *self.frames, *self.flicker]
        return all(row.passed for row in rows)


def collect_poses(driver: Driver, source: Source, count: int, advance: Callable[[], None]) -> tuple[list[Pose], int]:
    """At most `count` poses, pairs of consecutive frames spread evenly over the driver's motion, and its length.

    The first and the last frame are among them from four poses on. advance is called after each frame.
    """
    poses = poses_of(driver, source, advance)
    return [poses[index] for index in spread_pairs(len(poses), count)], len(poses)


def measure_parity(
    reference: Side,
    candidate: Side,
    animator: Animator,
    source: Source,
    poses: list[Pose],
    advance: Callable[[], None],
) -> Parity:
    """Compare two sides on these poses, ascending; animator: of the candidate's bundle, with `source` set.

    Each graph gets the reference's outputs as its inputs, so that the errors of graphs do not add up in the tensors;
    in the frames, which each side renders its own way, they do. advance is called after each pose. Errors: a precision
    without thresholds, graphs of another model.
    """
    thresholds = thresholds_for(reference.precision, candidate.precision)
    encoder, led, renderer = (
        GraphComparison(reference.graphs[name], candidate.graphs[name], thresholds) for name in animator.bundle.graphs
    )
    whole, hoisting = TensorCompareFunc(thresholds), TensorCompareFunc(THRESHOLDS["fp32"])
    inputs = _source_inputs(animator, source)
    constants = encoder.compare(inputs)

    rows: list[TensorRow] = []
    frames: list[FrameRow] = []
    changes: list[FlickerRow] = []
    worst_frames: list[KeptFrame] = []
    worst_flicker: KeptFlicker | None = None
    before: tuple[int, Picture, Picture] | None = None
    for pose in poses:
        driven = inputs | animator.frame_inputs(pose.expression, pose.camera) | {"expression": pose.expression}
        outputs = led.compare(driven | constants)
        outputs |= renderer.compare(driven | constants | outputs)
        expected, found = (side.whole_frame(driven) for side in (reference, candidate))
        rows.append(_tensor_row(whole, WHOLE_FRAME, "alpha", expected, found))
        if isinstance(reference, TorchSide):
            rows += [_tensor_row(hoisting, HOISTING, name, expected, outputs) for name in expected]

        pictures = expected["frame"], found["frame"]
        kept = _compare_frames(pose.index, *pictures, thresholds)
        frames.append(kept.row)
        worst_frames = sorted([*worst_frames, kept], key=lambda k: k.row.psnr)[:KEPT_FRAMES]
        if before is not None and before[0] + 1 == pose.index:
            change = _compare_changes(before[0], (before[1], pictures[0]), (before[2], pictures[1]), thresholds)
            changes.append(change.row)
            if worst_flicker is None or change.row.psnr < worst_flicker.row.psnr:
                worst_flicker = change
        before = pose.index, *pictures
        advance()
    tensors = worst_rows([*encoder.rows, *led.rows, *renderer.rows, *rows])
    return Parity(reference.name, candidate.name, thresholds, tensors, frames, changes, worst_frames, worst_flicker)


def _source_inputs(animator: Animator, source: Source) -> Tensors:
    """The inputs that depend on the source alone; made independently of the animator, whose preparation this checks."""
    face_model = animator.face_model
    face = face_model.vertices(source.identity, source.expression)
    return {
        "source_image": source.picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255.0),
        "source_camera": source.camera[None],
        "secc_canonical": secc(face, face_model, animator.bundle.secc_size)[None],
    }


def _tensor_row(compare: TensorCompareFunc, graph: str, name: str, expected: Tensors, found: Tensors) -> TensorRow:
    result = compare.compare(expected[name], found[name])
    return TensorRow(graph, name, result.difference, bool(result))


def _compare_frames(index: int, reference: Picture, result: Picture, thresholds: Thresholds) -> KeptFrame:
    decibels = psnr(reference, result, 255.0)
    levels = int(np.abs(reference.astype(int) - result.astype(int)).max())
    error, error_map = flip(reference, result)
    passed = decibels >= thresholds.frame_psnr
    row = FrameRow(index, decibels, ssim(reference, result), error, levels, passed)
    return KeptFrame(row, reference, result, error_map)


def _compare_changes(
    index: int, reference: tuple[Picture, Picture], result: tuple[Picture, Picture], thresholds: Thresholds
) -> KeptFlicker:
    error = flicker(reference, result)
    decibels = psnr(np.zeros_like(error), error, 255.0)
    still = reference[0], reference[0]
    motion, moved = flicker(still, reference), flicker((result[0], result[0]), result)
    row = FlickerRow(
        index,
        decibels,
        int(np.abs(error).max()),
        float(np.sqrt(np.square(motion.astype(np.float64)).mean())),
        decibels >= thresholds.flicker_psnr,
    )
    return KeptFlicker(row, *(np.minimum(np.abs(levels), 255).astype(np.uint8) for levels in (motion, moved, error)))
