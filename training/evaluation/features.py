"""Feature networks: the user's ONNX files that map images to feature vectors, run on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError

_BATCH = 32


class FeatureNetwork:
    """A network [B, 3, side, side] float32 → [B, D] from an ONNX file, B free or 1; `side` says which it takes.

    path: of the file.
    sides: of the input images that are possible; the first if the file leaves it free.
    option: of the command line that gave the file, for errors.
    purpose: what the file should be, for errors.
    Errors: onnxruntime is not installed; no such file; no ONNX file; other inputs or outputs; features that are not
        finite.
    """

    def __init__(self, path: Path, sides: Sequence[int], option: str, purpose: str) -> None:
        self._where = f"{path}: {option} wants {purpose}"
        shapes = " or ".join(f"[B, 3, {side}, {side}]" for side in sides)
        self._expected = f"one input {shapes} of float32 and one output [B, D]"
        if not path.is_file():
            raise HideNerfError(f"{path}: no such file ({option}); give {purpose} in ONNX, or leave the option out.")
        self._session = self._open(path)
        self._input, self.side = self._checked_input(sides)
        free = not isinstance(self._input.shape[0], int)
        self._batch = _BATCH if free else 1
        self.dimensions = self(np.zeros((1, 3, self.side, self.side), np.float32)).shape[1]

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

    def _checked_input(self, sides: Sequence[int]) -> tuple[Any, int]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        fitting = [side for side in sides if _fits(shape, [1, 3, side, side])]
        if not fitting or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{value.name} {value.shape} {value.type}" for value in (*inputs, *outputs))
            raise HideNerfError(f"{self._where} with {self._expected}, but this file has {found}; export it so.")
        return inputs[0], fitting[0]

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


def _fits(shape: Sequence[int | str | None], expected: Sequence[int]) -> bool:
    """Whether a network takes tensors of the expected shape. shape: its input's; sizes that are no numbers are free."""
    return len(shape) == len(expected) and all(
        not isinstance(size, int) or size == wanted for size, wanted in zip(shape, expected, strict=True)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
