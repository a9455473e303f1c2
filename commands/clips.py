"""`hidenerf-clips`: prepare clips of real people for training."""

import os
import time
from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import is_quiet, print_result
from hidenerf.runtime.errors import HideNerfError


@options.command(extra="export,track")
@click.argument("folder", type=options.PATH)
@options.output("Folder for the prepared clips, one .npz each.")
@options.preset("Preset of the networks to train on them: demo or base.")
@click.option("--every", type=click.IntRange(1), default=1, metavar="N", help="Use every N-th frame.")
@click.option("--limit-frames", type=click.IntRange(2), help="Use no more frames of a clip, from its beginning.")
@click.option("--face", type=click.IntRange(1), metavar="N", help="Which face of clips with several, from the left.")
@options.face_landmarker
def main(
    folder: Path,
    output: Path,
    preset: str,
    every: int,
    limit_frames: int | None,
    face: int | None,
    face_landmarker: Path | None,
) -> None:
    """Prepare the clips in FOLDER and below for hidenerf-train --clips.

    Each clip must show one person. The face is tracked and fitted, the head cropped, the person cut out; frames without
    a face are left out. A clip that is prepared already is skipped, so an interrupted command goes on where it was.
    """
    # Frames are spread over the cores, so that threads of NumPy's own would only be in the way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from hidenerf.model.config import PRESETS
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model
    from hidenerf.runtime.files import require_writable_parent
    from hidenerf.runtime.progress import progress_bar
    from hidenerf.runtime.tracking.landmarker import FaceLandmarker
    from hidenerf.training.data.clips.folder import clips_in, prepare_folder
    from hidenerf.training.data.clips.preparation import ClipOptions

    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    clips_in(folder)
    require_writable_parent(output / "clip")
    how = ClipOptions(PRESETS[preset].image_size, every, limit_frames, face)
    face_model = load_face_model(default_face_model_path())
    began = time.monotonic()
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        done = prepare_folder(folder, output, face_model, landmarker, how, lambda: progress_bar(None, is_quiet()))
    seconds = time.monotonic() - began
    print_result(
        f"{output}: {done.prepared} of {done.clips} clips prepared, {done.skipped} before; {done.frames} frames in "
        f"{seconds:.1f} s, {done.frames / seconds:.1f} frames/s"
    )


if __name__ == "__main__":
    main()
