"""`hidenerf-eval`: metrics of a checkpoint on synthetic people that it was not trained on."""

import contextlib
import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hidenerf.commands import options
from hidenerf.commands.console import logger, print_result
from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.runtime.face_model import FaceModel
    from hidenerf.training.evaluation.scores import Metrics

_SAMPLES = 4


@options.command(extra="export,cpu,track")
@click.argument("checkpoint", type=options.PATH)
@options.output("Folder for the tables and pictures.")
@click.option(
    "--people",
    type=click.IntRange(1),
    default=64,
    help="Image pairs to reconstruct; other parts take a quarter or an eighth.",
)
@click.option(
    "--parts",
    default="reconstruction,cross,free-view,expressions",
    help="Parts of the evaluation, separated by commas. Expressions take 58 pictures per person.",
)
@click.option(
    "--recognition",
    type=options.PATH,
    help="A face-recognition network in ONNX for CSIM: [B, 3, 112, 112] RGB in [-1, 1], as ArcFace's, to [B, D].",
)
@click.option(
    "--inception",
    type=options.PATH,
    help="An Inception network in ONNX for FID: [B, 3, 299, 299] RGB in [-1, 1], as pytorch-fid's, to [B, 2048].",
)
@options.face_landmarker
@options.device
def main(
    checkpoint: Path,
    output: Path,
    people: int,
    parts: str,
    recognition: Path | None,
    inception: Path | None,
    face_landmarker: Path | None,
    device: str | None,
) -> None:
    """Evaluate CHECKPOINT on synthetic people that it was not trained on.

    Writes all tables to evaluation.md and evaluation.json in the folder OUTPUT, and examples to samples.png.

    A metric whose package or network is missing is left out, and the page says so: ꟻLIP needs the package
    flip-evaluator, the tracked metrics (AUCON, PRMSE, AVD) hidenerf's extra [track], CSIM and FID a network each.
    """
    import torch

    from hidenerf.model.checkpoint import load_checkpoint
    from hidenerf.runtime.files import atomic_path, require_writable_parent
    from hidenerf.runtime.video.pictures import write_picture
    from hidenerf.training.data.synthetic.drawing import PairDrawing
    from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS
    from hidenerf.training.data.synthetic.heads import load_head_mesh
    from hidenerf.training.data.synthetic.pair_rendering import held_out_pairs
    from hidenerf.training.evaluation.evaluate import Evaluation
    from hidenerf.training.evaluation.held_out import HeldOutEvaluation
    from hidenerf.training.evaluation.report import json_values, markdown
    from hidenerf.training.evaluation.tables import PARTS, scope_of
    from hidenerf.training.loop.samples import sample_grid

    if device == "cuda" and not torch.cuda.is_available():
        raise HideNerfError("--device cuda: PyTorch sees no GPU here; leave the option out to evaluate on the CPU.")
    chosen = [part.strip() for part in parts.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in PARTS]
    if unknown or not chosen:
        wrong = f"there is no part {', '.join(unknown)}" if unknown else "this names no part"
        raise HideNerfError(f"--parts {parts}: {wrong}; give some of {', '.join(PARTS)}.")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = load_checkpoint(checkpoint).to(place)
    with contextlib.ExitStack() as stack:
        metrics, left_out = _metrics(stack, load_head_mesh().face_model, recognition, inception, face_landmarker)
        require_writable_parent(output / "evaluation.md")
        for remark in left_out:
            logger.info(remark)
        drawing = None
        if place.type == "cuda":
            processes = max(1, (os.cpu_count() or 1) - 2)
            drawing = PairDrawing(model.config.image_size, model.config.secc_size, DEFAULT_SECCS, processes)
            stack.enter_context(drawing)
        held_out = HeldOutEvaluation(model, place, drawing=drawing)
        tables = Evaluation(held_out, metrics).all(scope_of(people, chosen), left_out)
    page = markdown(tables, checkpoint.name)
    shown = held_out_pairs(model.config, place, range(_SAMPLES))
    write_picture(sample_grid(shown, held_out.output(shown)), output / "samples.png")
    for name, text in (("evaluation.json", json.dumps(json_values(tables), indent=1) + "\n"), ("evaluation.md", page)):
        with atomic_path(output / name) as partial:
            partial.write_text(text, encoding="utf-8")
    print_result(page)


def _metrics(
    stack: contextlib.ExitStack,
    face_model: "FaceModel",
    recognition: Path | None,
    inception: Path | None,
    face_landmarker: Path | None,
) -> tuple["Metrics", list[str]]:
    """The metrics at hand, closed with the stack, and a sentence for each figure left out.

    What was asked for by an option and is not to be had is an error.
    """
    from hidenerf.training.evaluation.frechet import inception_network
    from hidenerf.training.evaluation.recognition import recognition_network
    from hidenerf.training.evaluation.scores import Metrics
    from hidenerf.training.evaluation.tracking import FaceRetracker

    left_out = []
    flip = importlib.util.find_spec("flip_evaluator") is not None
    if not flip:
        left_out.append("ꟻLIP is left out: flip-evaluator is not installed; run: pip install flip-evaluator.")
    if recognition is None:
        left_out.append("CSIM is left out: no face-recognition network was given (--recognition).")
    if inception is None:
        left_out.append("FID is left out: no Inception network was given (--inception).")
    recogniser = None if recognition is None else recognition_network(recognition)
    observer = None if inception is None else inception_network(inception)
    tracker = None
    try:
        tracker = stack.enter_context(FaceRetracker(face_landmarker, face_model))
    except HideNerfError as error:
        if face_landmarker is not None:
            raise
        left_out.append(f"What a face tracker finds (AUCON, PRMSE, AVD) is left out: {error}")
    return Metrics(flip, recogniser, observer, tracker), left_out


if __name__ == "__main__":
    main()
