"""The matting network, an ONNX file that gives the opacity of the people in a picture.

A file that fits has one input [1, 3, H, W] in FP32, H = W or both free, and as its first output [1, 1, H, W] in [0, 1].
Its metadata `mean` and `scale`, one number or three with commas between, say what it sees: (RGB from 0 to 255 − mean) /
scale. `python -m hidenerf.assets.matting_network` makes such files; the one that ships is MediaPipe's selfie
segmentation.
"""

import importlib.resources
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.backends.onnxruntime_cpu import PROVIDER, import_onnxruntime
from hidenerf.runtime.backends.onnxruntime_session import new_session
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of

Float = NDArray[np.float32]
Picture = NDArray[np.uint8]

logger = logging.getLogger(__name__)

# Side of the picture for a network that takes any, pixels.
FREE_SIZE = 512
# Networks up to this side also see the picture mirrored, which evens out their errors; larger ones are exact enough.
MIRRORED_UP_TO = 256
# By how much the first output may leave [0, 1].
TOLERANCE = 0.01

_MAKE = "make one with: python -m hidenerf.assets.matting_network"


@dataclass(frozen=True)
class MattingNetwork:
    """An opened matting network.

    path: of its file. sha256: of the same.
    size: side of the picture that it takes, pixels.
    mean, scale: [3] float32, see above.
    session: ONNX Runtime's; it may run in several threads at once.
    """

    path: Path
    sha256: str
    size: int
    mean: Float
    scale: Float
    session: Any

    def opacity(self, picture: Picture) -> Float:
        """The opacity [H, W] float32 in [0, 1], H = W = `size`, of the people in a picture.

        picture: [H, W, 3] uint8 RGB of any size; it is stretched to a square.
        Errors: what comes out is no opacity.
        """
        method = cv2.INTER_AREA if min(picture.shape[:2]) > self.size else cv2.INTER_LINEAR
        square = np.asarray(cv2.resize(picture, (self.size, self.size), interpolation=method), np.uint8)
        opacity = self._run(square)
        if self.size <= MIRRORED_UP_TO:
            opacity = np.asarray((opacity + self._run(square[:, ::-1])[:, ::-1]) / 2, np.float32)
        return opacity

    def _run(self, square: Picture) -> Float:
        seen = ((square.astype(np.float32) - self.mean) / self.scale).transpose(2, 0, 1)[None]
        first = self.session.get_outputs()[0].name
        opacity = self.session.run([first], {self.session.get_inputs()[0].name: np.ascontiguousarray(seen)})[0]
        expected = (1, 1, self.size, self.size)
        if opacity.shape != expected:
            raise HideNerfError(
                f"{self.path}: the network's first output has shape {list(opacity.shape)} where a matting network has "
                f"{list(expected)}; {_MAKE}."
            )
        low, high = float(opacity.min()), float(opacity.max())
        # Not a number is neither.
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
            raise HideNerfError(
                f"{self.path}: the network gives values from {low:.3g} to {high:.3g} where a matting network gives "
                f"opacities from 0 to 1; {_MAKE}."
            )
        return np.asarray(opacity[0, 0], np.float32).clip(0, 1)


def open_matting_network(path: Path | None = None) -> MattingNetwork | None:
    """Open the network of a file; None opens the one that ships.

    Returns None if that is wanted and ONNX Runtime is not installed, which is logged.
    Errors: no such file, a file that does not fit, ONNX Runtime is needed and not installed.
    """
    if path is not None and not path.is_file():
        raise HideNerfError(f"{path}: no such file (--matting); give a matting network (.onnx), or leave it out.")
    try:
        onnxruntime = import_onnxruntime()
    except HideNerfError:
        if path is not None:
            raise HideNerfError(
                f"{path}: a matting network needs onnxruntime; install it with: pip install 'hidenerf[cpu]'"
            ) from None
        logger.warning(
            "The person is cut out by colour alone, since onnxruntime is not installed; a network does it better: "
            "pip install 'hidenerf[cpu]'"
        )
        return None
    return _open(onnxruntime, path or shipped_matting_path())


def shipped_matting_path() -> Path:
    """The network that ships."""
    return Path(str(importlib.resources.files("hidenerf.runtime.data") / "matting.onnx"))


def _open(onnxruntime: Any, path: Path) -> MattingNetwork:
    try:
        session = new_session(onnxruntime, str(path), PROVIDER)
    except Exception as error:  # ONNX Runtime raises its own types, one for each status code
        raise HideNerfError(f"{path}: ONNX Runtime does not load it as a network ({error}); {_MAKE}.") from None
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    # A free length is a name, or None.
    fixed = [one for one in shape[2:] if isinstance(one, int)]
    fits = len(shape) == 4 and shape[1] == 3 and (shape[0] == 1 or not isinstance(shape[0], int))
    if not fits or inputs[0].type != "tensor(float)" or not (fixed == [] or fixed == shape[3:] * 2):
        found = "; ".join(f"{one.name} {one.shape} {one.type}" for one in inputs)
        raise HideNerfError(
            f"{path}: a matting network has one input [1, 3, H, W] in FP32 with H = W, but this network has {found}; "
            f"{_MAKE}."
        )
    metadata = session.get_modelmeta().custom_metadata_map
    mean, scale = (_colours(path, metadata, key) for key in ("mean", "scale"))
    if not scale.all():
        raise HideNerfError(f"{path}: its metadata have the scale {metadata['scale']}, which must not be 0; {_MAKE}.")
    return MattingNetwork(path, sha256_of(path), fixed[0] if fixed else FREE_SIZE, mean, scale, session)


def _colours(path: Path, metadata: dict[str, str], key: str) -> Float:
    """The three numbers [3] of a key in a network's metadata."""
    if key not in metadata:
        raise HideNerfError(
            f"{path}: its metadata have no {key}, so that what the network sees is not known; {_MAKE}, or add mean and "
            "scale to metadata_props: it sees (RGB from 0 to 255 - mean) / scale."
        )
    try:
        numbers = np.array([float(one) for one in metadata[key].split(",")], np.float32)
    except ValueError:
        numbers = np.zeros(0, np.float32)
    if numbers.shape not in ((1,), (3,)) or not np.isfinite(numbers).all():
        raise HideNerfError(f"{path}: its metadata have {key} = {metadata[key]!r}, not one or three numbers; {_MAKE}.")
    return np.broadcast_to(numbers, (3,))
