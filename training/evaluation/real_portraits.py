"""Portraits of real people: are they still themselves in other views, and with another one's motion?

There is no truth to compare with, so only metrics of faces count: the person, by recognition, and the pose.
"""

from collections.abc import Sequence

import numpy as np

from hidenerf.runtime.camera import turn_head
from hidenerf.runtime.motion import Motion
from hidenerf.training.data.clips.drawing import FramePair
from hidenerf.training.data.clips.file import ClipFile
from hidenerf.training.data.clips.pairs import batch_of
from hidenerf.training.evaluation import columns
from hidenerf.training.evaluation.held_out import HeldOutEvaluation, Progress
from hidenerf.training.evaluation.metrics import rounded
from hidenerf.training.evaluation.real_tables import over_files
from hidenerf.training.evaluation.recognition import cosine, embeddings, face_points
from hidenerf.training.evaluation.scores import Metrics, Picture, Subject
from hidenerf.training.evaluation.tables import RealTables, Row, Table
from hidenerf.training.evaluation.tracking import tracked_figures

OWN_POSE, DRIVEN = "own pose", "shipped motion"
# Degrees by which the head is turned to either side.
YAWS = (15, 30)
# Times in the motion, shares of its length.
MOMENTS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)


def evaluate_portraits(
    held_out: HeldOutEvaluation, portraits: Sequence[ClipFile], motion: Motion, metrics: Metrics
) -> RealTables:
    """Scores of portraits against themselves, by view.

    held_out: the model.
    portraits: prepared clips; the first frame of each is the portrait.
    motion: for the row DRIVEN.
    metrics: at least recognition or tracker.
    Errors: those of `StoredFrame.read`.
    """
    progress = Progress("portraits", len(portraits))
    by_file = {}
    for number, file in enumerate(portraits):
        by_file[file.path.name] = _portrait_table(held_out, file, motion, metrics)
        progress(number + 1)
    return over_files(by_file)


def views_of(source: Subject, motion: Motion) -> dict[str, list[Subject]]:
    """The person of a portrait as drawn, by row name."""
    turned = {
        f"yaw ±{yaw}°": [source._replace(camera=turn_head(source.camera, side * yaw, 0.0, 0.0)) for side in (-1, 1)]
        for yaw in YAWS
    }
    rows = [int(len(motion.expression) * moment) for moment in MOMENTS]
    driven = [Subject(source.identity, motion.expression[row], motion.camera[row]) for row in rows]
    return {OWN_POSE: [source], **turned, DRIVEN: driven}


def _portrait_table(held_out: HeldOutEvaluation, file: ClipFile, motion: Motion, metrics: Metrics) -> Table:
    clip = file.clip
    source = Subject(clip.identity, clip.expression[0], clip.camera[0])
    portrait = file.frame(0).read().picture
    table = {}
    for name, subjects in views_of(source, motion).items():
        table[name] = _scores(held_out, metrics, portrait, source, _drawn(held_out, file, source, subjects), subjects)
    return table


def _scores(
    held_out: HeldOutEvaluation,
    metrics: Metrics,
    portrait: Picture,
    source: Subject,
    frames: Picture,
    subjects: Sequence[Subject],
) -> Row:
    """Means over the frames [n, S, S, 3] of one row, of n subjects."""
    row: Row = {}
    recogniser, tracker = metrics.recognition, metrics.tracker
    if recogniser is not None:
        points = [face_points(recogniser.convention, held_out.face_model, *one) for one in (source, *subjects)]
        own, *found = embeddings(recogniser, np.concatenate([portrait[None], frames]), points)
        row[columns.CSIM] = float(np.mean([cosine(one, own) for one in found]))
        if recogniser.distances:
            row[columns.ID_DISTANCE] = float(np.mean([np.linalg.norm(one - own) for one in found]))
    if tracker is not None:
        faces = [tracker.track(frame, one.identity, one.camera) for frame, one in zip(frames, subjects, strict=True)]
        of_source = [tracker.track(portrait, source.identity, source.camera)] * len(faces)
        row |= tracked_figures(faces, [None] * len(faces), of_source, [one.camera for one in subjects])
    return row


def _drawn(held_out: HeldOutEvaluation, file: ClipFile, source: Subject, subjects: Sequence[Subject]) -> Picture:
    """Frames [n, S, S, 3] of n subjects, drawn from the portrait."""
    stored = file.frame(0)
    size = held_out.batch_size
    frames = []
    for start in range(0, len(subjects), size):
        pairs = [
            FramePair(
                (stored, stored),
                source.identity,
                np.stack([source.expression, subject.expression]),
                np.stack([source.camera, subject.camera]),
            )
            for subject in subjects[start : start + size]
        ]
        output = held_out.output(batch_of(pairs, held_out.model.config, held_out.device))
        frames.append(rounded(output.frame.clamp(0, 1)))
    return np.concatenate(frames)
