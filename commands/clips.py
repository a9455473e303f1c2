"""`hidenerf-clips`: prepare clips and pictures of real people for training."""

import os
import time
from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import print_result
from hidenerf.runtime.errors import HideNerfError


@options.command(extra="export,track")
@click.argument("places", metavar="PLACE...", nargs=-1, required=True, type=options.PATH)
@options.output("Folder for the prepared clips, one .npz each.")
@options.preset("Preset of the networks to train on them: demo, demo512 or base.")
@click.option("--every", type=click.IntRange(1), default=1, metavar="N", help="Use every N-th frame.")
@click.option("--limit-frames", type=click.IntRange(2), help="Use no more frames of a clip, from its beginning.")
@click.option("--person", is_flag=True, help="Each PLACE is a folder with pictures of one person: one .npz each.")
@click.option("--mattes", type=options.PATH, help="Folder with a matte of the same name for each picture, see above.")
@click.option("--face", type=click.IntRange(1), metavar="N", help="Which face of clips with several, from the left.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, help="JPEG quality of prepared pictures.")
@options.face_landmarker
@options.matting
def main(
    places: tuple[Path, ...],
    output: Path,
    preset: str,
    every: int,
    limit_frames: int | None,
    person: bool,
    mattes: Path | None,
    face: int | None,
    quality: int,
    face_landmarker: Path | None,
    matting: Path | None,
) -> None:
    """Prepare clips and pictures for hidenerf-train --clips.

    PLACE is a clip, a picture, or a folder of them, searched with the folders below. Each clip must show one person.
    The face is tracked and fitted, the head cropped, the person cut out. Frames without a face are left out. A
    picture becomes a clip of one frame; with --person all pictures of a folder become one clip. A matte is a picture
    of the same size and stem, white on the person; the mattes of a folder's pictures lie in the same places below
    --mattes. Without mattes people are cut out by a network (--matting). What is prepared already is skipped, so an
    interrupted command goes on where it was. Files that cannot be prepared are named and passed over; the command then
    ends with code 2.
    """
    # Frames are spread over the cores, so that threads of NumPy's own would only be in the way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from hidenerf.model.config import PRESETS
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.files import require_writable_parent
    from hidenerf.runtime.progress import progress_bar
    from hidenerf.runtime.sources.matting_network import open_matting_network
    from hidenerf.runtime.tracking.landmarker import FaceLandmarker
    from hidenerf.training.data.clips.folder import Preparation, counted, items_in, people_in, prepare_items
    from hidenerf.training.data.clips.preparation import ClipOptions
    from hidenerf.training.data.clips.still_preparation import StillOptions

    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    if mattes is not None and not mattes.is_dir():
        raise HideNerfError(f"{mattes}: no such folder (--mattes); give the one that holds the pictures' mattes.")
    options.require_file("--matting", matting)
    items = people_in(places) if person else items_in(places)
    size = PRESETS[preset].image_size
    clips, stills = ClipOptions(size, every, limit_frames, face), StillOptions(size, face, quality)
    face_model = load_face_model(default_face_model_path())
    began = time.monotonic()
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        require_writable_parent(output / "clip")
        how = Preparation(face_model, landmarker, clips, stills, mattes, open_matting_network(matting))
        done = prepare_items(items, output, how, progress_bar)
    seconds = time.monotonic() - began
    print_result(
        f"{output}: {done.prepared} of {counted(len(items), 'clip')} prepared, {done.skipped} before; {done.frames} "
        f"frames in {seconds:.1f} s, {done.frames / seconds:.1f} frames/s"
    )
    if done.failures:
        raise HideNerfError(
            f"{counted(done.failures, 'file')} could not be prepared, for the reasons above; mend or remove "
            f"{'it' if done.failures == 1 else 'them'} and run again."
        )


if __name__ == "__main__":
    main()
