"""Feature networks: the user's ONNX files that map images to feature vectors, run on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError

_BATCH = 32


class FeatureNetwork:
    """A network [B, 3, side, side] float32 → [B, D] from an ONNX file, B free or 1.

    path: of the file.
    side: of the input images.
    option: of the command line that gave the file, for errors.
    purpose: what the file should be, for errors.
    Errors: onnxruntime is not installed; no such file; no ONNX file; other inputs or outputs; features that are not
        finite.
    """

    def __init__(self, path: Path, side: int, option: str, purpose: str) -> None:
        self._where = f"{path}: {option} wants {purpose}"
        self._expected = f"one input [B, 3, {side}, {side}] of float32 and one output [B, D]"
        if not path.is_file():
            raise HideNerfError(f"{path}: no such file ({option}); give {purpose} in ONNX, or leave the option out.")
        self._session = self._open(path)
        self._input = self._checked_input(side)
        free = not isinstance(self._input.shape[0], int)
        self._batch = _BATCH if free else 1
        self.dimensions = self(np.zeros((1, 3, side, side), np.float32)).shape[1]

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features [B, D] of images [B, 3, side, side], as the network returns them."""
        parts = [self._run(images[start : start + self._batch]) for start in range(0, len(images), self._batch)]
        return np.concatenate(parts)

    def _open(self, path: Path) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise HideNerfError(
                f"{self._where}, which onnxruntime runs, and it is not installed; run: pip install 'hidenerf[cpu]'."
            ) from None
        options = onnxruntime.SessionOptions()
        # What it has to say comes as exceptions too.
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise HideNerfError(
                f"{self._where} in ONNX, and onnxruntime cannot read this file ({_first_line(error)}); export it anew."
            ) from None

    def _checked_input(self, side: int) -> Any:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        expected = [1, 3, side, side]
        # Sizes that are no numbers are free.
        fits = len(shape) == 4 and all(not isinstance(a, int) or a == b for a, b in zip(shape, expected, strict=True))
        if not fits or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{value.name} {value.shape} {value.type}" for value in (*inputs, *outputs))
            raise HideNerfError(f"{self._where} with {self._expected}, but this file has {found}; export it so.")
        return inputs[0]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        try:
            (found,) = self._session.run(None, {self._input.name: np.ascontiguousarray(images, np.float32)})
        except Exception as error:
            raise HideNerfError(
                f"{self._where} with {self._expected}, but running it fails ({_first_line(error)}); export it anew."
            ) from None
        features = np.asarray(found, np.float64)
        if features.ndim == 4 and features.shape[2:] == (1, 1):
            # As pytorch-fid's network gives them.
            features = features[:, :, 0, 0]
        if features.ndim != 2 or len(features) != len(images):
            raise HideNerfError(
                f"{self._where} with {self._expected}, but a batch of {len(images)} gave {list(np.shape(found))}; "
                "export it so."
            )
        if not np.isfinite(features).all():
            raise HideNerfError(f"{self._where}, but its output holds values that are not finite; export it anew.")
        return features


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
