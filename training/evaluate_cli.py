"""`hidenerf-eval`: a checkpoint's figures on synthetic people it has never seen."""

import json
from pathlib import Path

import click

from hidenerf.runtime.command import user_errors
from hidenerf.runtime.errors import HideNerfError


@click.command(context_settings={"show_default": True})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the tables and pictures.")
@click.option("--people", type=click.IntRange(1), default=64, help="Pairs; other parts take a quarter or an eighth.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Default: a GPU if there is one.")
@user_errors
def main(checkpoint: Path, out: Path, people: int, device: str | None) -> None:
    """Evaluate CHECKPOINT: OUT/evaluation.md and evaluation.json with all tables, OUT/samples.png with examples."""
    import torch

    from hidenerf.model.checkpoint import load_checkpoint
    from hidenerf.runtime.files import atomic_path
    from hidenerf.training.evaluate import BATCH, Evaluation, Scope
    from hidenerf.training.replay import held_out_pairs
    from hidenerf.training.report import markdown
    from hidenerf.training.samples import sample_grid, write_png

    if device == "cuda" and not torch.cuda.is_available():
        raise HideNerfError("--device cuda: PyTorch sees no GPU here; leave the option out to evaluate on the CPU.")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = load_checkpoint(checkpoint).to(place)
    few = max(1, people // 4)
    scope = Scope(pairs=people, expressions=max(1, people // 8), views=few, cross=few)
    tables = Evaluation(model, place, click.echo).all(scope)
    page = markdown(tables, checkpoint.name)
    shown = held_out_pairs(model.config, place, range(BATCH))
    with torch.no_grad():
        output = model(shown.source_image, shown.source_camera, shown.secc_canonical, shown.secc_driving, shown.camera)
    write_png(sample_grid(shown, output), out / "samples.png")
    for name, text in (("evaluation.json", json.dumps(tables, indent=1)), ("evaluation.md", page)):
        with atomic_path(out / name) as partial:
            partial.write_text(text + "\n" if not text.endswith("\n") else text, encoding="utf-8")
    click.echo(page)


if __name__ == "__main__":
    main()
