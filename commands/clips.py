"""`hidenerf-clips`: prepares clips of real people for training."""

import os
import time
from pathlib import Path

import click

from hidenerf.commands import options
from hidenerf.commands.console import is_quiet, logger, print_result
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import require_writable_parent
from hidenerf.runtime.progress import progress_bar

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"),
    *(".flv", ".ogv", ".wmv", ".gif"),
)


@options.command(extra="export,track")
@click.argument("folder", type=options.PATH)
@options.output("Folder for the prepared clips, one .npz each.")
@options.preset("Preset of the networks to train on them: demo or base.")
@click.option("--every", type=click.IntRange(1), default=1, help="Use every N-th frame.", metavar="N")
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
    from hidenerf.runtime.tracking.landmarker import FaceLandmarker
    from hidenerf.training.data.clips.file import CLIP_SUFFIX, save_clip
    from hidenerf.training.data.clips.preparation import ClipOptions, origin_of, prepare_clip

    if preset not in PRESETS:
        raise HideNerfError(f"--preset {preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    paths = _clips_in(folder)
    require_writable_parent(output / "clip")
    options = ClipOptions(PRESETS[preset].image_size, every, limit_frames, face)
    face_model = load_face_model(default_face_model_path())
    began = time.monotonic()
    prepared = skipped = frames = 0
    failures: list[str] = []
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        for path in paths:
            name = path.relative_to(folder)
            target = output / name.with_name(name.name + CLIP_SUFFIX)
            clip_began = time.monotonic()
            try:
                if target.exists() and _origin_in(target) == origin_of(path, face_model, options):
                    skipped += 1
                    logger.info(f"{name}: prepared already")
                    continue
                with progress_bar(None, is_quiet()) as frame_done:
                    clip = prepare_clip(path, face_model, landmarker, options, frame_done)
            except HideNerfError as error:
                failures.append(str(error))
                logger.info(f"{name}: not prepared, see below")
                continue
            # What keeps one clip from being written would keep the others, too.
            save_clip(clip.clip, clip.frames, target)
            prepared += 1
            frames += len(clip.frames)
            seconds = time.monotonic() - clip_began
            logger.info(f"{name}: {len(clip.frames)} frames, fit error {clip.error:.2f} px, {seconds:.1f} s")
    for failure in failures:
        logger.error(failure)
    if prepared + skipped == 0:
        raise HideNerfError(f"{folder}: none of its {len(paths)} clips could be prepared, for the reasons above.")
    seconds = time.monotonic() - began
    print_result(
        f"{output}: {prepared} of {len(paths)} clips prepared, {skipped} before; {frames} frames in {seconds:.1f} s, "
        f"{frames / seconds:.1f} frames/s"
    )


def _clips_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        wrong = "not a folder" if folder.exists() else "no such folder"
        raise HideNerfError(f"{folder}: {wrong}; give the folder that holds the clips.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    if not paths:
        raise HideNerfError(f"{folder}: there are no clips in this folder ({', '.join(VIDEO_SUFFIXES)}); give another.")
    return paths


def _origin_in(target: Path) -> str:
    from hidenerf.training.data.clips.file import open_clip

    try:
        return open_clip(target).clip.origin
    except HideNerfError as error:
        raise HideNerfError(f"{error} It is in the way here: move it or choose another --output.") from None


if __name__ == "__main__":
    main()
