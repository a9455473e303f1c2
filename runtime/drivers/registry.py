"""The registry of drivers: every kind of driving input that `hidenerf-run -d` takes, with how it is recognised.

To add a kind, write its module and add one entry to `DRIVER_KINDS` (docs/extending.md). The registry imports nothing
heavy; a kind's module is imported when its input is opened.
"""

import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hidenerf.runtime.errors import HideNerfError

if TYPE_CHECKING:
    from hidenerf.runtime.drivers.base import Driver
    from hidenerf.runtime.face_model import FaceModel
    from hidenerf.runtime.profiling import StageTimes

_START_LENGTH = 16


@dataclass(frozen=True)
class DriverOptions:
    """What a loader gets beside the name of its input.

    face_model: the bundle's.
    landmarker: MediaPipe's model file, see `find_landmarker_model`.
    face: which of several faces, from 1, counted from the left.
    smoothing: strength of the smoothing of tracked motion, 0 for none.
    times: collects the durations of the driver's stages.
    """

    face_model: "FaceModel"
    landmarker: Path | None = None
    face: int | None = None
    smoothing: float = 1.0
    times: "StageTimes | None" = None


@dataclass(frozen=True)
class DriverKind:
    """One kind of driving input.

    name: of the kind.
    takes: what it takes, in a few words, for the help and for errors.
    loader: "module:function"; the function takes the input's name and `DriverOptions` and returns a `Driver`.
    prefix: with which the name of an input that is no file begins, such as "camera:".
    suffixes: lower-case endings of its files' names.
    signatures: bytes with which its files begin.
    folder_suffix: lower-case ending of the names of files that make a folder one of its inputs.
    any_folder: whether it takes every folder that no kind before it recognises.
    any_file: whether it takes every file that no kind before it recognises.
    """

    name: str
    takes: str
    loader: str
    prefix: str | None = None
    suffixes: Sequence[str] = ()
    signatures: Sequence[bytes] = ()
    folder_suffix: str | None = None
    any_folder: bool = False
    any_file: bool = False

    def recognises_file(self, suffix: str, start: bytes) -> bool:
        """Whether a file with this lower-case suffix and these first bytes is of this kind."""
        return self.any_file or suffix in self.suffixes or any(start.startswith(first) for first in self.signatures)

    def recognises_folder(self, suffixes: Collection[str]) -> bool:
        """Whether a folder whose files have these lower-case suffixes is of this kind."""
        return self.any_folder or self.folder_suffix in suffixes

    def load(self, spec: str, options: DriverOptions) -> "Driver":
        """The driver of an input of this kind. Errors: those of the loader."""
        module, function = self.loader.split(":")
        driver: Driver = getattr(importlib.import_module(module), function)(spec, options)
        return driver


# In the order in which files and folders are tried.
DRIVER_KINDS = (
    DriverKind(
        name="motion",
        takes="a motion file (.npz)",
        loader="hidenerf.runtime.drivers.motion_file:open_motion_file",
        suffixes=(".npz",),
        signatures=(b"PK\x03\x04",),
    ),
    DriverKind(
        name="arkit-csv",
        takes="an ARKit take (.csv, .tsv)",
        loader="hidenerf.runtime.drivers.arkit_csv:open_arkit_csv",
        suffixes=(".csv", ".tsv"),
        signatures=(
            b"Timecode",
            b"timecode",
            b"timeCode",
            b"\xef\xbb\xbfTimecode",
            "\ufeffTimecod".encode("utf-16-le")[:16],
        ),
    ),
    DriverKind(
        name="deep3d-mat",
        takes="Deep3DFaceRecon coefficients (.mat or a folder of them)",
        loader="hidenerf.runtime.drivers.deep3d_mat:open_deep3d_mat",
        suffixes=(".mat",),
        signatures=(b"MATLAB ",),
        folder_suffix=".mat",
    ),
    DriverKind(
        name="camera",
        takes="a camera (camera:N)",
        loader="hidenerf.runtime.drivers.video:open_camera",
        prefix="camera:",
    ),
    DriverKind(
        name="video",
        takes="a clip, a picture or a folder of pictures",
        loader="hidenerf.runtime.drivers.video:open_clip_or_pictures",
        any_file=True,
        any_folder=True,
    ),
)
# Files of motion that is read by no kind, and of programs' objects: without this they would be tried as a clip.
OTHER_MOTION_SUFFIXES = (".json", ".bvh", ".fbx", ".usd", ".usda", ".npy", ".pkl", ".pickle", ".pt", ".pth", ".xlsx")


def kinds_in_words() -> str:
    """All kinds of driving input as one phrase: "a motion file (.npz), … or a clip, a picture or …"."""
    *others, last = [kind.takes for kind in DRIVER_KINDS]
    return f"{', '.join(others)}, or {last}"


def kind_of(spec: str) -> DriverKind:
    """The kind of a driving input: a file's or folder's by its content and suffix, any other's by its prefix.

    Errors: no such file (never taken for a camera), an unreadable file or folder, motion of another program.
    """
    for kind in DRIVER_KINDS:
        if kind.prefix is not None and spec.startswith(kind.prefix):
            return kind
    path = Path(spec)
    if path.is_dir():
        suffixes = _suffixes_in(path)
        return next(kind for kind in DRIVER_KINDS if kind.recognises_folder(suffixes))
    if not path.is_file():
        raise HideNerfError(f"{path}: no such file; give {kinds_in_words()}.")
    start = _first_bytes(path)
    found = next(kind for kind in DRIVER_KINDS if kind.recognises_file(path.suffix.lower(), start))
    if found.any_file and path.suffix.lower() in OTHER_MOTION_SUFFIXES:
        raise HideNerfError(f"{path}: no driving input ({path.suffix} is not read); give {kinds_in_words()}.")
    return found


def _suffixes_in(folder: Path) -> set[str]:
    try:
        return {path.suffix.lower() for path in folder.iterdir()}
    except OSError as error:
        raise HideNerfError(f"{folder}: cannot be read ({error.strerror}); check its permissions.") from None


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_START_LENGTH)
    except OSError as error:
        raise HideNerfError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None
