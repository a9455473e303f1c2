"""The source: a prepared portrait with what the source encoder and the SECC need, and its file.

The file (format `hidenerf-source`, version 1) is a NumPy archive read without pickle; its keys are the fields of
`Source`. With it, a portrait that was prepared once can be animated on a machine without the tracker.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.archive import load_archive, numbers, save_archive, text
from hidenerf.runtime.errors import HideNerfError, shown

SOURCE_FORMAT = "hidenerf-source"
SOURCE_VERSION = 1


@dataclass(frozen=True)
class Source:
    """A portrait cropped and aligned to S × S, with what was fitted to it.

    picture: [S, S, 3] uint8 RGB, black where `mask` is 0.
    mask: [S, S] uint8, 255 on the person.
    background: [S, S, 3] uint8 RGB, the crop with the person painted out.
    camera: [25] float32.
    identity: [K] float32, coefficients of the face model named `face_model`.
    expression: [E] float32, likewise.
    face_model: its name.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    background: NDArray[np.uint8]
    camera: NDArray[np.float32]
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    face_model: str


def save_source(source: Source, path: Path) -> None:
    """Write a prepared source; the file appears whole or not at all."""
    content = {field.name: getattr(source, field.name) for field in fields(source)}
    save_archive(path, SOURCE_FORMAT, SOURCE_VERSION, content)


def load_source(path: Path) -> Source:
    """Read a prepared source. Errors: no such file, another kind of file, a newer version, a missing key."""
    archive = load_archive(path, SOURCE_FORMAT, SOURCE_VERSION, "prepared source")
    try:
        source = Source(
            picture=numbers(archive, "picture", np.uint8),
            mask=numbers(archive, "mask", np.uint8),
            background=numbers(archive, "background", np.uint8),
            camera=numbers(archive, "camera", np.float32),
            identity=numbers(archive, "identity", np.float32),
            expression=numbers(archive, "expression", np.float32),
            face_model=text(archive, "face_model"),
        )
    except KeyError as error:
        raise HideNerfError(f"{path}: the prepared source lacks {error}; prepare the portrait again.") from None
    except ValueError as error:
        raise HideNerfError(f"{path}: the prepared source is damaged ({shown(error)}); prepare it again.") from None
    if source.picture.ndim != 3:
        raise HideNerfError(f"{path}: the source's picture has shape {list(source.picture.shape)}; prepare it again.")
    size = len(source.picture)
    expected = {"picture": (size, size, 3), "mask": (size, size), "background": (size, size, 3), "camera": (25,)}
    for key, shape in expected.items():
        found = getattr(source, key).shape
        if found != shape:
            raise HideNerfError(f"{path}: the source's {key} has shape {list(found)} where {list(shape)} is needed.")
    return source
