"""`hidenerf-eval`: metrics of a checkpoint on synthetic people that it was not trained on."""

from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import print_result
from hidenerf.runtime.errors import HideNerfError


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

    from hidenerf.training.evaluation.run import MetricFiles, run_evaluation
    from hidenerf.training.evaluation.tables import PARTS

    if device == "cuda" and not torch.cuda.is_available():
        raise HideNerfError("--device cuda: PyTorch sees no GPU here; leave the option out to evaluate on the CPU.")
    chosen = [part.strip() for part in parts.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in PARTS]
    if unknown or not chosen:
        wrong = f"there is no part {', '.join(unknown)}" if unknown else "this names no part"
        raise HideNerfError(f"--parts {parts}: {wrong}; give some of {', '.join(PARTS)}.")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    files = MetricFiles(recognition, inception, face_landmarker)
    print_result(run_evaluation(checkpoint, output, people, chosen, files, place))


if __name__ == "__main__":
    main()
