"""Self-reenactment of real people: prepared clips, whose first frame is the source of all others (paper §4.2)."""

from collections.abc import Sequence

import numpy as np

from hidenerf.training.data.clips.drawing import FramePair
from hidenerf.training.data.clips.file import ClipFile
from hidenerf.training.data.clips.pairs import batch_of, frame_pair
from hidenerf.training.evaluation.held_out import HeldOutEvaluation, Progress
from hidenerf.training.evaluation.real_tables import over_files
from hidenerf.training.evaluation.scores import BatchScorer, Metrics, Scores, Subject, summary
from hidenerf.training.evaluation.tables import REFINED, SOURCE, TRUTH, RealTables, Table

# The row SOURCE is the source held still: what a calm clip scores without any model.
ROWS = (REFINED, SOURCE, TRUTH)


def evaluate_clips(held_out: HeldOutEvaluation, clips: Sequence[ClipFile], frames: int, metrics: Metrics) -> RealTables:
    """Scores of clips that the model draws from their first frames.

    held_out: the model.
    clips: at least one. A still is drawn in its own pose.
    frames: of each clip, evenly spread, without the first.
    metrics: the optional ones that are available.
    Errors: those of `StoredFrame.read`.
    """
    progress = Progress("real clips", len(clips))
    by_file = {}
    for number, file in enumerate(clips):
        pairs = [frame_pair(file, 0, index) for index in shown_frames(len(file.clip), frames)]
        by_file[file.path.name] = _clip_table(held_out, pairs, metrics)
        progress(number + 1)
    return over_files(by_file)


def shown_frames(length: int, count: int) -> list[int]:
    """Numbers of at most `count` frames of a clip of this length, evenly spread from 1 to its end; of a still, 0."""
    return np.unique(np.linspace(min(1, length - 1), length - 1, count).astype(int)).tolist()


def _clip_table(held_out: HeldOutEvaluation, pairs: Sequence[FramePair], metrics: Metrics) -> Table:
    """Scores over the frames of one clip, by row name."""
    scores: dict[str, list[Scores]] = {name: [] for name in ROWS}
    size = held_out.batch_size
    for start in range(0, len(pairs), size):
        some = pairs[start : start + size]
        batch = batch_of(some, held_out.model.config, held_out.device)
        output = held_out.output(batch)
        sources, targets = ([_subject(pair, which) for pair in some] for which in (0, 1))
        scorer = BatchScorer(metrics, held_out.face_model, batch, sources, targets)
        scores[REFINED] += scorer.scores(output.frame.clamp(0, 1), output.alpha, targets)
        scores[SOURCE] += scorer.scores(batch.source_image, batch.source_mask, sources)
        scores[TRUTH] += scorer.truth_scores()
    return {name: summary(found) for name, found in scores.items()}


def _subject(pair: FramePair, which: int) -> Subject:
    return Subject(pair.identity, pair.expression[which], pair.camera[which])
