"""`hidenerf-eval`: metrics of a checkpoint on synthetic people that it was not trained on, and on real clips."""

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
    help="Parts of the evaluation, separated by commas. Expressions take 58 pictures per person. --clips and "
    "--portraits add a part of their name.",
)
@click.option("--clips", type=options.PATH, help="Folder of prepared clips (hidenerf-clips) of real people.")
@click.option("--portraits", type=options.PATH, help="Folder of prepared portraits (hidenerf-clips) of real people.")
@click.option("--frames", type=click.IntRange(1), default=16, help="Frames of each clip, evenly spread.")
@click.option(
    "--recognition",
    type=options.PATH,
    help="A face-recognition network in ONNX for CSIM: [B, 3, 112, 112] RGB in [-1, 1], as ArcFace's, to [B, D]; or "
    "dlib's, as python -m hidenerf.assets.recognition_network makes it, for CSIM and ID distance.",
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
    clips: Path | None,
    portraits: Path | None,
    frames: int,
    recognition: Path | None,
    inception: Path | None,
    face_landmarker: Path | None,
    device: str | None,
) -> None:
    """Evaluate CHECKPOINT on synthetic people that it was not trained on, and on real ones with --clips or --portraits.

    Of each clip the first frame is the source; later ones drive, and are the truth. Portraits are turned and driven by
    the shipped motion, and compared with themselves. `--parts clips,portraits` leaves the synthetic people out.

    Writes all tables to evaluation.md and evaluation.json in the folder OUTPUT, and examples to samples.png.

    A metric whose package or network is missing is left out, and the page says so: ꟻLIP needs the package
    flip-evaluator, the tracked metrics (AUCON, PRMSE, AVD) hidenerf's extra [track], CSIM and FID a network each.
    """
    import torch

    from hidenerf.training.evaluation.run import MetricFiles, RealPeople, run_evaluation
    from hidenerf.training.evaluation.tables import CLIPS, PARTS, PORTRAITS

    if device == "cuda" and not torch.cuda.is_available():
        raise HideNerfError("--device cuda: PyTorch sees no GPU here; leave the option out to evaluate on the CPU.")
    chosen = [part.strip() for part in parts.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in PARTS]
    if unknown or not chosen:
        wrong = f"there is no part {', '.join(unknown)}" if unknown else "this names no part"
        raise HideNerfError(f"--parts {parts}: {wrong}; give some of {', '.join(PARTS)}.")
    for part, folder in ((CLIPS, clips), (PORTRAITS, portraits)):
        if part in chosen and folder is None:
            raise HideNerfError(f"--parts {parts}: no {part} are given; add --{part} FOLDER, filled by hidenerf-clips.")
        if folder is not None and part not in chosen:
            chosen.append(part)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    files = MetricFiles(recognition, inception, face_landmarker)
    print_result(run_evaluation(checkpoint, output, people, chosen, files, place, RealPeople(clips, frames, portraits)))


if __name__ == "__main__":
    main()
