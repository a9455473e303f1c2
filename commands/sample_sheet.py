"""`hidenerf-sample-sheet`: a picture of the synthetic image pairs that `hidenerf-train` trains on."""

import os
from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import print_result
from hidenerf.runtime.errors import HideNerfError


@options.command(extra="export")
@options.output("The sheet (.png or .jpg).", "samples.png")
@options.preset("Preset whose sizes the image pairs have.")
@click.option("--pairs", type=click.IntRange(1), default=32, help="How many image pairs.")
@click.option("--cell", type=click.IntRange(16), default=90, help="Width of a picture on the sheet, pixels.")
@click.option("--skins", type=options.PATH, help="Stills that hidenerf-clips prepared: all people are some of them.")
@click.option("--seed", type=int, default=0, help="Seed of the pairs.")
def main(output: Path, preset: str, pairs: int, cell: int, skins: Path | None, seed: int) -> None:
    """Write a sheet of synthetic image pairs: source, target, and, without --skins, the SECC of each picture."""
    from hidenerf.model.config import PRESETS
    from hidenerf.runtime.files import require_writable_parent
    from hidenerf.runtime.video.pictures import PICTURE_SUFFIXES, write_picture
    from hidenerf.training.data.synthetic.portrait_reading import read_portrait_skins
    from hidenerf.training.data.synthetic.sample_sheet import sample_sheet

    if output.suffix.lower() not in PICTURE_SUFFIXES:
        raise HideNerfError(f"-o {output}: the sheet is a PNG or a JPEG file; give a name that ends in .png or .jpg.")
    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    require_writable_parent(output)
    people = None if skins is None else read_portrait_skins(skins, PRESETS[preset], 1.0, os.cpu_count() or 1)
    write_picture(sample_sheet(pairs, cell, preset, seed, people), output)
    print_result(f"Sheet written to {output}.")


if __name__ == "__main__":
    main()
