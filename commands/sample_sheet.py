"""`hidenerf-sample-sheet`: a picture of the synthetic image pairs that `hidenerf-train` trains on."""

from pathlib import Path

from hidenerf.commands import options
from hidenerf.commands.console import print_result
from hidenerf.runtime.errors import HideNerfError


@options.command(extra="export")
@options.output("The sheet (.png).", "samples.png")
def main(output: Path) -> None:
    """Write a PNG of 32 synthetic image pairs: source, target, canonical SECC and driving SECC of each."""
    from hidenerf.runtime.files import require_writable_parent
    from hidenerf.runtime.video.pictures import write_picture
    from hidenerf.training.data.synthetic.sample_sheet import sample_sheet

    if output.suffix.lower() != ".png":
        raise HideNerfError(f"-o {output}: the sheet is a PNG file; give a name that ends in .png.")
    require_writable_parent(output)
    write_picture(sample_sheet(), output)
    print_result(f"Sheet written to {output}.")


if __name__ == "__main__":
    main()
