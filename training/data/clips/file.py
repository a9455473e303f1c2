"""Prepared clip: frames of one person with identity, expressions and cameras, and the file that holds them.

The file (format `hidenerf-clip`, version 1) is a NumPy archive without pickle. It is not compressed, so that one frame
can be read without the rest:

| key                | dtype, shape     | meaning                                                                      |
|--------------------|------------------|------------------------------------------------------------------------------|
| `format`           | str              | `hidenerf-clip`                                                              |
| `version`          | int              | 1                                                                            |
| `source`           | str              | file name of the clip                                                        |
| `origin`           | str              | JSON: input files and options, to see whether the clip is up to date         |
| `face_model`       | str              | name of the face model the coefficients belong to                            |
| `expression_names` | str [E]          | the names of its expressions                                                 |
| `size`             | int              | S                                                                            |
| `fps`              | int64 [2]        | the clip's frame rate, numerator and denominator                             |
| `number`           | int64 [T]        | frame numbers in the clip, from 0, ascending                                 |
| `identity`         | float32 [K]      | one for all frames                                                           |
| `expression`       | float32 [T, E]   |                                                                              |
| `camera`           | float32 [T, 25]  | see `hidenerf.runtime.camera`                                                |
| `frames`           | uint8            | for each frame the JPEG of its picture, then the PNG of its masks, no gaps   |
| `ends`             | int64 [T, 2]     | end offsets of the two in `frames`                                           |
| `checksums`        | uint32 [T]       | CRC-32 of a frame's part of `frames`                                         |

The PNG is grey, [2S, S]: the mask above the region. Nothing here imports torch.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from hidenerf.runtime.archive import open_archive, save_archive
from hidenerf.runtime.errors import HideNerfError

CLIP_FORMAT = "hidenerf-clip"
CLIP_VERSION = 1
CLIP_SUFFIX = ".npz"

# The mean error is about 0.6 of 255.
JPEG_QUALITY = 95


class ClipFrame(NamedTuple):
    """One frame of a prepared clip; see `hidenerf.training.data.batch.Batch`.

    picture: [S, S, 3] uint8 RGB, over black.
    mask, region: [S, S] uint8.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    region: NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A prepared clip of T frames without its pictures; the fields are those of the file.

    Errors: ValueError for wrong shapes and for values that are not finite.
    """

    source: str
    origin: str
    face_model: str
    expression_names: tuple[str, ...]
    size: int
    fps: Fraction
    number: NDArray[np.int64]
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check shapes and values."""
        frames = len(self.number)
        expected = {"expression": (frames, len(self.expression_names)), "camera": (frames, 25)}
        for key, shape in expected.items():
            found = getattr(self, key).shape
            if found != shape:
                raise ValueError(f"its {key} has shape {list(found)} where {list(shape)} is needed")
        for key in ("identity", "expression", "camera"):
            if not np.isfinite(getattr(self, key)).all():
                raise ValueError(f"its {key} has values that are not finite")

    def __len__(self) -> int:
        """T."""
        return len(self.number)


class StoredFrame(NamedTuple):
    """Place of one frame in a file: its JPEG is at [start, middle), its PNG at [middle, end), in bytes.

    path: of the file.
    checksum: CRC-32 of these bytes.
    """

    path: Path
    start: int
    middle: int
    end: int
    checksum: int

    def read(self) -> ClipFrame:
        """Read the frame. Errors: the file cannot be read, or is damaged at this place."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.start)
                stored = stream.read(self.end - self.start)
        except OSError as error:
            raise HideNerfError(
                f"{self.path}: this clip can no longer be read ({error.strerror}); prepare it again."
            ) from None
        if zlib.crc32(stored) != self.checksum:
            raise HideNerfError(f"{self.path}: the prepared clip is damaged at byte {self.start}; prepare it again.")
        return decode_frame(stored, self.middle - self.start)


@dataclass(frozen=True)
class ClipFile:
    """An open prepared clip, whose pictures are still in the file.

    path: of the file.
    clip: all but the pictures.
    start: offset of the first frame in the file, bytes.
    ends: [T, 2], end offsets of each frame's JPEG and PNG in the file, bytes.
    checksums: [T], CRC-32 of each frame.
    """

    path: Path
    clip: Clip
    start: int
    ends: NDArray[np.int64]
    checksums: NDArray[np.uint32]

    def frame(self, index: int) -> StoredFrame:
        """Place of frame `index`, 0 to T - 1."""
        start = self.start if index == 0 else int(self.ends[index - 1, 1])
        middle, end = self.ends[index].tolist()
        return StoredFrame(self.path, start, middle, end, int(self.checksums[index]))


def encode_frame(frame: ClipFrame, quality: int = JPEG_QUALITY) -> tuple[bytes, int]:
    """Encode a frame: the bytes of its JPEG and then its PNG, and the JPEG's length.

    quality: of the JPEG, 1 to 100.
    """
    # No chroma subsampling, since lips and irises are small.
    colours = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    _, picture = cv2.imencode(".jpg", frame.picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality, *colours))
    runs = cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE
    _, masks = cv2.imencode(".png", np.vstack([frame.mask, frame.region]), runs)
    return picture.tobytes() + masks.tobytes(), len(picture)


def decode_frame(stored: bytes, middle: int) -> ClipFrame:
    """Decode what `encode_frame` returns; pixels outside the mask are set back to black.

    stored: bytes of JPEG and PNG. middle: the JPEG's length.
    """
    both = np.frombuffer(stored, np.uint8)
    colours = np.asarray(cv2.imdecode(both[:middle], cv2.IMREAD_COLOR_RGB), np.uint8)
    masks = np.asarray(cv2.imdecode(both[middle:], cv2.IMREAD_GRAYSCALE), np.uint8)
    mask, region = np.split(masks, 2)
    return ClipFrame(colours * (mask > 0)[..., None], mask, region)


def save_clip(clip: Clip, frames: Sequence[tuple[bytes, int]], path: Path) -> None:
    """Write a prepared clip, atomically.

    frames: T results of `encode_frame`.
    path: of the new file. Errors: it cannot be written.
    """
    stops = np.cumsum([len(stored) for stored, _ in frames])
    middles = stops + [middle - len(stored) for stored, middle in frames]
    content = {
        "source": clip.source,
        "origin": clip.origin,
        "face_model": clip.face_model,
        "expression_names": np.array(clip.expression_names),
        "size": clip.size,
        "fps": np.array([clip.fps.numerator, clip.fps.denominator], np.int64),
        "number": clip.number,
        "identity": clip.identity,
        "expression": clip.expression,
        "camera": clip.camera,
        "frames": np.frombuffer(b"".join(stored for stored, _ in frames), np.uint8),
        "ends": np.stack([middles, stops], 1),
        "checksums": np.array([zlib.crc32(stored) for stored, _ in frames], np.uint32),
    }
    save_archive(path, CLIP_FORMAT, CLIP_VERSION, content, compressed=False)


def open_clip(path: Path) -> ClipFile:
    """Open a prepared clip; its pictures are read later, by `StoredFrame.read`.

    Errors: no such file, another format or version, damage outside the pictures.
    """
    with open_archive(path, CLIP_FORMAT, CLIP_VERSION, "prepared clip") as archive:
        return _read(path, archive)


def _read(path: Path, archive: NpzFile) -> ClipFile:
    """The open clip in an archive. Errors: ValueError for content that does not fit together."""
    assert archive.zip is not None
    numerator, denominator = archive["fps"].tolist()
    clip = Clip(
        source=str(archive["source"]),
        origin=str(archive["origin"]),
        face_model=str(archive["face_model"]),
        expression_names=tuple(str(name) for name in archive["expression_names"]),
        size=int(archive["size"]),
        fps=Fraction(numerator, denominator),
        number=np.asarray(archive["number"], np.int64),
        identity=np.asarray(archive["identity"], np.float32),
        expression=np.asarray(archive["expression"], np.float32),
        camera=np.asarray(archive["camera"], np.float32),
    )
    ends, checksums = np.asarray(archive["ends"], np.int64), np.asarray(archive["checksums"], np.uint32)
    start, length = _place_of_bytes(archive.zip, "frames.npy")
    if ends.shape != (len(clip), 2) or checksums.shape != (len(clip),):
        raise ValueError(f"it places {len(ends)} and checks {len(checksums)} of {len(clip)} frames")
    if len(clip) == 0 or ends[0, 0] <= 0 or (np.diff(ends.ravel()) <= 0).any() or ends[-1, 1] != length:
        raise ValueError("its frames do not lie end to end")
    return ClipFile(path, clip, start, ends + start, checksums)


def _place_of_bytes(archive: zipfile.ZipFile, name: str) -> tuple[int, int]:
    """Offset in a ZIP file of the data of the uint8 array in the member `name`, and its length.

    Errors: ValueError for a compressed member or another array.
    """
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    stream = archive.fp
    assert stream is not None
    # Offset 26 of a member's local header: the lengths of the name and the extra field, which precede the content.
    stream.seek(entry.header_offset + 26)
    between = sum(struct.unpack("<2H", stream.read(4)))
    stream.seek(between, 1)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(stream)](stream)
    if len(shape) != 1 or dtype != np.uint8:
        raise ValueError(f"{name} holds {dtype} of shape {list(shape)}")
    return stream.tell(), shape[0]
