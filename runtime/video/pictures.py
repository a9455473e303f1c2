"""Picture files: recognised by content, read upright, written whole or not at all."""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.video.animation import is_animation

Picture = NDArray[np.uint8]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_JPEG_QUALITY = 95
_ORIENTATION_TAG = 0x0112
# What OpenCV decodes, unless the environment says otherwise.
_MOST_PIXELS = 2**30
_LONGEST_SIDE = 2**20
_PNG_END = b"IEND\xaeB`\x82"


def is_picture(path: Path) -> bool:
    """Whether the file is a still picture by its first bytes, whatever its name; False where there is no such file.

    Animated pictures count as clips.
    """
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(16)
    still = (
        start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*"))
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or start[4:12] == b"ftypavif"
        or _is_heic(start)
    )
    return still and not is_animation(path)


def read_picture(path: Path) -> Picture:
    """A picture file as uint8 RGB [H, W, 3], turned upright by its EXIF orientation; alpha is dropped.

    Errors: no such file, a folder, not a picture, a damaged one.
    """
    return _decode(_read_bytes(path), path)


def read_picture_with_alpha(path: Path) -> tuple[Picture, Picture | None]:
    """As `read_picture`, and its alpha [H, W] uint8, 255 opaque; None without alpha or where all is opaque."""
    data = _read_bytes(path)
    picture = _decode(data, path)
    with _one_sentence(data, path):
        raw, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.ndim != 3 or raw.shape[2] != 4:
        return picture, None
    alpha = np.asarray(raw[..., 3] // 256 if raw.dtype == np.uint16 else raw[..., 3], np.uint8)
    for kind, block in zip(kinds, blocks, strict=True):
        if kind == cv2.IMAGE_METADATA_EXIF:
            alpha = _turn(alpha, exif_orientation(np.asarray(block, np.uint8).tobytes()))
    return picture, None if alpha.min() == 255 else np.ascontiguousarray(alpha)


def write_picture(picture: Picture, path: Path) -> None:
    """Write uint8 RGB [H, W, 3] as PNG or JPEG, by the name's suffix; the file appears whole or not at all.

    Errors: another suffix, a folder of that name, a place that cannot be written to, a full disk.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise HideNerfError(f"{path}: pictures are written as .png or .jpg; end the name with one of these.")
    if path.is_dir():
        raise HideNerfError(f"{path}: this is a folder; choose another output.")
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode(suffix, bgr, options)
    try:
        with atomic_path(path) as partial:
            partial.write_bytes(data.tobytes())
    except OSError as error:
        raise HideNerfError(f"{path}: cannot be written ({error.strerror}); choose another output.") from None


def resized(picture: Picture, size: int) -> Picture:
    """A square picture [S, S, …] uint8 at another side: means where that is smaller, bicubic where it is larger."""
    if len(picture) == size:
        return picture
    method = cv2.INTER_AREA if len(picture) > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.uint8)


def centred_on_black(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture [h, w, 3] in the middle of black. size: (height, width) of the result, not smaller."""
    height, width = size
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    whole = np.zeros((height, width, 3), np.uint8)
    whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def exif_orientation(block: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block (a TIFF header and its first directory); 1 where none is stated."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return 1
    (position,) = struct.unpack_from(order + "I", block, 4)
    if position + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(order + "H", block, position)
    for entry in range(position + 2, min(position + 2 + 12 * count, len(block) - 11), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", block, entry)
        if tag == _ORIENTATION_TAG and 1 <= value <= 8:
            return int(value)
    return 1


def _turn(picture: Picture, orientation: int) -> Picture:
    """Turn a picture upright: from 5 on swap rows and columns, then mirror x for 2, 3, 6, 7 and y for 3, 4, 7, 8."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    flip_x = orientation in (2, 3, 6, 7)
    flip_y = orientation in (3, 4, 7, 8)
    return picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise HideNerfError(f"{path}: this is a folder; give the path of a picture.")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise HideNerfError(f"{path}: no such file; give the path of a picture.") from None
    except OSError as error:
        raise HideNerfError(f"{path}: cannot be read ({error.strerror}); give another picture.") from None


def _decode(data: bytes, path: Path) -> Picture:
    if _is_heic(data[:16]):
        raise HideNerfError(f"{path}: HEIC pictures are not supported; save it as .jpg or .png first.")
    # libpng prints to stderr about sides beyond its own limit, and about a truncated file.
    if max(_stated_size(data) or (0, 0)) > _LONGEST_SIDE:
        raise _too_large(data, path)
    complete = bool(data) and not (data.startswith(b"\x89PNG") and _PNG_END not in data)
    with _one_sentence(data, path):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if complete else None
    if picture is None:
        raise HideNerfError(f"{path}: not a readable picture, or damaged; give a .png or .jpg file.")
    return np.asarray(picture, np.uint8)


@contextlib.contextmanager
def _one_sentence(data: bytes, path: Path) -> Iterator[None]:
    """While OpenCV decodes a file: its errors as one of ours, without its own words on stderr."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise _too_large(data, path) from None
        raise HideNerfError(
            f"{path}: the picture cannot be decoded ({error.err or error.code}); save it anew."
        ) from None
    except MemoryError:
        raise HideNerfError(
            f"{path}: the picture{_in_words(_stated_size(data))} does not fit into memory; scale it first."
        ) from None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _too_large(data: bytes, path: Path) -> HideNerfError:
    return HideNerfError(
        f"{path}: the picture{_in_words(_stated_size(data))} has more pixels than can be read ({_MOST_PIXELS:,} in "
        f"all, {_LONGEST_SIDE:,} a side); scale or crop it first."
    )


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in a PNG's header; None for other formats."""
    if len(data) < 24 or not data.startswith(b"\x89PNG"):
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _in_words(size: tuple[int, int] | None) -> str:
    return "" if size is None else f" of {size[0]} × {size[1]} pixels"


def _is_heic(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in {b"heic", b"heix", b"heim", b"heis", b"mif1", b"hevc"}
