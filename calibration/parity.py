"""Is a bundle still the model it was exported from? Every graph and whole frames, against PyTorch in FP32."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hidenerf.calibration.metrics import Picture, flip, psnr, ssim
from hidenerf.calibration.tensor_comparison import (
    GraphComparison,
    TensorCompareFunc,
    TensorRow,
    Tensors,
    worst_rows,
)
from hidenerf.calibration.thresholds import THRESHOLDS, Thresholds, thresholds_for
from hidenerf.export.graph_modules import graph_modules
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.retarget import Retargeter, View
from hidenerf.runtime.secc import secc
from hidenerf.runtime.source import Source

Float = NDArray[np.float32]

HOISTING = "hoisting"


@dataclass(frozen=True)
class Pose:
    """One motion of the source: expression [E] and camera [25], and its frame's number in the driving motion."""

    index: int
    expression: Float
    camera: Float


@dataclass(frozen=True)
class FrameRow:
    """One whole frame against PyTorch's, both uint8. index: its number in the driving motion. max_abs: levels."""

    index: int
    psnr: float
    ssim: float
    flip: float
    max_abs: int
    passed: bool


@dataclass(frozen=True)
class WorstFrame:
    """The frame of the lowest PSNR: PyTorch's, the bundle's, and the map of ꟻLIP errors, each [S, S, 3] uint8."""

    index: int
    reference: Picture
    result: Picture
    error_map: Picture


@dataclass(frozen=True)
class Parity:
    """What was measured. tensors: of each graph, and of `HOISTING`, the PyTorch graphs against the unhoisted model."""

    thresholds: Thresholds
    tensors: list[TensorRow]
    frames: list[FrameRow]
    worst: WorstFrame

    @property
    def passed(self) -> bool:
        """Whether every tensor and every frame is within the thresholds."""
        return all(row.passed for row in self.tensors) and all(frame.passed for frame in self.frames)


def collect_poses(driver: Driver, source: Source, count: int, advance: Callable[[], None]) -> tuple[list[Pose], int]:
    """At most `count` poses spread evenly over the driver's motion, first and last included, and the motion's length.

    advance is called after each frame.
    """
    retargeter = Retargeter(source, "absolute", View())
    poses: list[Pose] = []
    for index, frame in enumerate(driver):
        poses.append(Pose(index, *retargeter.apply(frame)))
        advance()
    chosen = np.unique(np.linspace(0, len(poses) - 1, count).round().astype(int))
    return [poses[index] for index in chosen], len(poses)


def measure_parity(
    model: HideNerf, animator: Animator, source: Source, poses: list[Pose], advance: Callable[[], None]
) -> Parity:
    """Compare `animator`, whose bundle was exported from `model` and whose source is set, on these poses.

    Each graph gets PyTorch's outputs as its inputs, so that the errors of graphs do not add up in the tensors; in the
    frames, rendered by the animator's backend, they do. advance is called after each pose.
    """
    thresholds = thresholds_for(animator.bundle.precision)
    specs = animator.bundle.graphs
    encoder, led, renderer = (GraphComparison(g, specs[g.name], thresholds) for g in graph_modules(model))
    hoisting = TensorCompareFunc(THRESHOLDS["fp32"])
    inputs = _source_inputs(animator, source)
    constants = encoder.compare(inputs)

    hoisting_rows: list[TensorRow] = []
    frames: list[FrameRow] = []
    worst: WorstFrame | None = None
    for pose in poses:
        tensors = {
            **inputs,
            **constants,
            "secc_driving": animator.driving_secc(pose.expression)[None],
            "camera": pose.camera[None],
        }
        hoisted = led.compare(tensors)
        hoisted |= renderer.compare(tensors | hoisted)
        unhoisted = _unhoisted(model, tensors)
        for name, wanted in unhoisted.items():
            result = hoisting.compare(wanted, hoisted[name])
            hoisting_rows.append(TensorRow(HOISTING, name, result.difference, bool(result)))

        picture, _ = animator.render(pose.expression, pose.camera)
        reference = unhoisted["frame"]
        error, error_map = flip(reference, picture)
        row = _frame_row(pose.index, reference, picture, error, thresholds)
        if worst is None or row.psnr < min(frame.psnr for frame in frames):
            worst = WorstFrame(pose.index, reference, picture, error_map)
        frames.append(row)
        advance()
    if worst is None:
        raise AssertionError("a motion has at least one frame")
    rows = [*encoder.rows, *led.rows, *renderer.rows, *hoisting_rows]
    return Parity(thresholds, worst_rows(rows), frames, worst)


def _source_inputs(animator: Animator, source: Source) -> Tensors:
    """What the source alone decides, made here anew so that the animator's preparation is checked too."""
    face_model = animator.face_model
    face = face_model.vertices(source.identity, source.expression)
    return {
        "source_image": source.picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255.0),
        "source_camera": source.camera[None],
        "secc_canonical": secc(face, face_model, animator.bundle.secc_size)[None],
    }


def _unhoisted(model: HideNerf, tensors: Tensors) -> Tensors:
    """The model as it was trained, nothing folded or hoisted: its deformation, alpha and frame."""
    names = "source_image", "source_camera", "secc_canonical", "secc_driving", "camera"
    with torch.inference_mode():
        output = model(*[torch.from_numpy(np.ascontiguousarray(tensors[name])) for name in names])
    return {
        "deformation": output.deformation.numpy(),
        "alpha": output.alpha[0, 0].clamp(0.0, 1.0).numpy(),
        "frame": frame_to_uint8(output.frame).contiguous().numpy(),
    }


def _frame_row(index: int, reference: Picture, picture: Picture, error: float, thresholds: Thresholds) -> FrameRow:
    decibels = psnr(reference, picture, 255.0)
    levels = int(np.abs(reference.astype(int) - picture.astype(int)).max())
    similarity = ssim(reference, picture)
    return FrameRow(index, decibels, similarity, error, levels, decibels >= thresholds.frame_psnr)
