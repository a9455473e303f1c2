"""Loss of frames when some convolutions are INT8, measured with ONNX Runtime on the CPU."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from hidenerf.calibration.precision.data import CalibrationData
from hidenerf.calibration.precision.onnx_graphs import Session, Tensors, refiner_inputs, renderer_alone
from hidenerf.export.passes.quantisation import Int8Convolutions
from hidenerf.runtime.bundle import GRAPH_NAMES
from hidenerf.runtime.metrics import PEAK, Picture, psnr, psnr_of

# Graph → layer that is INT8 → scale of its activation.
Int8 = Mapping[str, Mapping[str, float]]

KEPT_STATES = 3


@dataclass(frozen=True)
class FrameLoss:
    """The loss against FP32 over all frames.

    worst: the lowest PSNR of a frame, dB. mean: PSNR of the mean square, dB. mean_square: squared levels of 255. PSNR
    is infinite where nothing differs.
    """

    worst: float
    mean: float
    mean_square: float


def frame_loss(reference: Sequence[Picture], frames: Sequence[Picture]) -> FrameLoss:
    """The loss of frames against their references, both [S, S, 3] uint8 and of one length."""
    pairs = list(zip(reference, frames, strict=True))
    squares = [float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean()) for a, b in pairs]
    square = float(np.mean(squares))
    return FrameLoss(min(psnr(a, b, PEAK) for a, b in pairs), psnr_of(square, PEAK), square)


class Int8Frames:
    """Frames of the calibration data with any set of INT8 convolutions in the FP32 graphs.

    Results that a change does not affect are not computed again: the last few states of encoder and renderer are kept.

    models: FP32, `source_encoder`, `led`, `renderer_refiner` and `refiner`. data: sources and samples. chosen: numbers
    of the samples to render.
    """

    def __init__(
        self,
        models: Mapping[str, ir.Model],
        data: CalibrationData,
        chosen: Sequence[int],
    ) -> None:
        self._models = dict(models) | {"renderer": renderer_alone(models["renderer_refiner"])}
        self._data = data
        self._samples = [data.samples[number] for number in chosen]
        self._states: OrderedDict[tuple[Any, ...], list[Tensors]] = OrderedDict()
        self._renderer = Session(self._models["renderer"])

    def frames(self, int8: Int8) -> list[Picture]:
        """One frame [S, S, 3] per sample."""
        encoder, led, refiner = (int8.get(name, {}) for name in GRAPH_NAMES)
        keys = frozenset(encoder.items()), frozenset(led.items())
        encoded = self._state(("encoded", keys[0]), lambda: self._encode(encoder))
        rendered = self._state(("rendered", *keys), lambda: self._render(encoded, led))
        session = self._session("refiner", refiner)
        whole = self._models["renderer_refiner"]
        return [
            session.run(refiner_inputs(whole, encoded[sample.source] | sample.tensors, tensors))["frame"]
            for sample, tensors in zip(self._samples, rendered, strict=True)
        ]

    def _encode(self, scales: Mapping[str, float]) -> list[Tensors]:
        session = self._session("source_encoder", scales)
        return [session.run(inputs) for inputs in self._data.sources]

    def _render(self, encoded: list[Tensors], scales: Mapping[str, float]) -> list[Tensors]:
        led = self._session("led", scales)
        rendered = []
        for sample in self._samples:
            tensors = encoded[sample.source] | sample.tensors
            rendered.append(self._renderer.run(tensors | led.run(tensors)))
        return rendered

    def _session(self, name: str, scales: Mapping[str, float]) -> Session:
        return Session(Int8Convolutions(scales)(self._models[name].clone()))

    def _state(self, key: tuple[Any, ...], make: Callable[[], list[Tensors]]) -> list[Tensors]:
        if key not in self._states:
            self._states[key] = make()
        self._states.move_to_end(key)
        # The FP32 states serve every group of another graph.
        fixed: set[tuple[Any, ...]] = {("encoded", frozenset()), ("rendered", frozenset(), frozenset())}
        passing = [k for k in self._states if k not in fixed]
        for old in passing[: max(0, len(passing) - KEPT_STATES)]:
            del self._states[old]
        return self._states[key]


def whole_frames(models: Mapping[str, ir.Model], data: CalibrationData) -> list[Picture]:
    """One frame per sample, held out or not, by three graphs as a bundle holds them."""
    encoder, led, renderer = (Session(models[name]) for name in ("source_encoder", "led", "renderer_refiner"))
    encoded = [encoder.run(inputs) for inputs in data.sources]
    frames = []
    for sample in data.samples:
        tensors = encoded[sample.source] | sample.tensors
        frames.append(renderer.run(tensors | led.run(tensors))["frame"])
    return frames
