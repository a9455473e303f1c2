"""Evaluation run: evaluates a checkpoint on held-out people with the available metrics, and writes files."""

import importlib.util
import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hidenerf.model.checkpoint import load_checkpoint
from hidenerf.runtime.defaults import demo_motion_path
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.files import atomic_path, require_writable_parent
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.video.pictures import write_picture
from hidenerf.training.data.clips.pairs import read_clips, shown_pairs
from hidenerf.training.data.synthetic.drawing import PairDrawing
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import held_out_pairs
from hidenerf.training.evaluation.evaluate import Evaluation
from hidenerf.training.evaluation.frechet import inception_network
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.evaluation.real_clips import evaluate_clips
from hidenerf.training.evaluation.real_portraits import evaluate_portraits
from hidenerf.training.evaluation.recognition import face_recogniser
from hidenerf.training.evaluation.report import json_values, markdown
from hidenerf.training.evaluation.scores import Metrics
from hidenerf.training.evaluation.tables import SYNTHETIC_PARTS, scope_of
from hidenerf.training.evaluation.tracking import FaceRetracker
from hidenerf.training.loop.samples import sample_grid

logger = logging.getLogger(__name__)

# Rows of the sample picture.
SAMPLES = 4


@dataclass(frozen=True)
class MetricFiles:
    """Files of networks for the optional metrics.

    recognition: face-recognition network, ONNX; None without CSIM and ID distance.
    inception: Inception network, ONNX; None without FID.
    face_landmarker: face_landmarker.task; None searches for it.
    """

    recognition: Path | None
    inception: Path | None
    face_landmarker: Path | None


@dataclass(frozen=True)
class RealPeople:
    """Real people to evaluate; folders of prepared clips, None without.

    clips: for self-reenactment. frames: of each clip, see `evaluate_clips`.
    portraits: for other views, see `evaluate_portraits`.
    """

    clips: Path | None = None
    frames: int = 16
    portraits: Path | None = None


NOBODY = RealPeople()


def run_evaluation(
    checkpoint: Path,
    output: Path,
    people: int,
    parts: Sequence[str],
    files: MetricFiles,
    device: torch.device,
    real: RealPeople = NOBODY,
) -> str:
    """Evaluate a checkpoint; returns the page.

    output: folder for evaluation.md, evaluation.json and samples.png.
    people: number of people of self-reenactment, see `scope_of`.
    parts: some of PARTS.
    real: clips exactly if CLIPS is among the parts, portraits if PORTRAITS is.
    Errors: no such checkpoint or network, the output cannot be written, those of `read_clips`; portraits with neither a
    recognition network nor the tracker.
    """
    model = load_checkpoint(checkpoint).to(device)
    synthetic = not set(parts).isdisjoint(SYNTHETIC_PARTS)
    clips, portraits = (
        [] if folder is None else read_clips(folder, model.config) for folder in (real.clips, real.portraits)
    )
    with ExitStack() as stack:
        metrics, left_out = available_metrics(stack, load_head_mesh().face_model, files)
        require_writable_parent(output / "evaluation.md")
        for remark in left_out:
            logger.info(remark)
        drawing = None
        if portraits and metrics.recognition is None and metrics.tracker is None:
            raise HideNerfError(
                "--portraits: there is nothing to score them with; give --recognition, or " + left_out[-1]
            )
        if device.type == "cuda" and synthetic:
            processes = max(1, (os.cpu_count() or 1) - 2)
            drawing = PairDrawing(model.config.image_size, model.config.secc_size, DEFAULT_SECCS, processes)
            stack.enter_context(drawing)
        held_out = HeldOutEvaluation(model, device, drawing=drawing)
        tables = Evaluation(held_out, metrics).all(scope_of(people, list(parts)), left_out)
        if clips:
            tables = replace(tables, clips=evaluate_clips(held_out, clips, real.frames, metrics))
        if portraits:
            motion = load_motion(demo_motion_path())
            tables = replace(tables, portraits=evaluate_portraits(held_out, portraits, motion, metrics))
    page = markdown(tables, checkpoint.name)
    shown = (
        held_out_pairs(model.config, device, range(SAMPLES))
        if synthetic
        else shown_pairs(clips or portraits, model.config, device, SAMPLES)
    )
    write_picture(sample_grid(shown, held_out.output(shown)), output / "samples.png")
    for name, text in (("evaluation.json", json.dumps(json_values(tables), indent=1) + "\n"), ("evaluation.md", page)):
        with atomic_path(output / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return page


def available_metrics(stack: ExitStack, face_model: FaceModel, files: MetricFiles) -> tuple[Metrics, list[str]]:
    """The available optional metrics, and a sentence for each that is left out.

    stack: closes them.
    files: of their networks.
    Errors: a given file cannot be used.
    """
    left_out = []
    flip = importlib.util.find_spec("flip_evaluator") is not None
    if not flip:
        left_out.append("ꟻLIP is left out: flip-evaluator is not installed; run: pip install flip-evaluator.")
    if files.recognition is None:
        left_out.append("CSIM and ID distance are left out: no face-recognition network was given (--recognition).")
    if files.inception is None:
        left_out.append("FID is left out: no Inception network was given (--inception).")
    recogniser = None if files.recognition is None else face_recogniser(files.recognition)
    observer = None if files.inception is None else inception_network(files.inception)
    tracker = None
    try:
        tracker = stack.enter_context(FaceRetracker(files.face_landmarker, face_model))
    except HideNerfError as error:
        if files.face_landmarker is not None:
            raise
        left_out.append(f"What a face tracker finds (AUCON, PRMSE, AVD) is left out: {error}")
    return Metrics(flip, recogniser, observer, tracker), left_out
