"""Thresholds of parity for each precision."""

from dataclasses import dataclass

from hidenerf.runtime.errors import HideNerfError


@dataclass(frozen=True)
class Thresholds:
    """Lowest values that pass.

    frame_psnr: dB of every whole frame, and of the graph output `frame`; both are uint8. flicker_psnr: dB of the change
    between consecutive frames, with a peak of 255. tensor_cosine, tensor_psnr: of every other tensor; the cosine alone
    does not show a wrong factor.
    """

    frame_psnr: float
    flicker_psnr: float
    tensor_cosine: float
    tensor_psnr: float


# From the most to the least exact precision. FP32 graphs differ from PyTorch by the order of sums only (worst tensor
# measured: 137 dB), FP16 graphs by 11 bits of mantissa (73 dB), INT8 convolutions by the 8 bits of what they read
# (42 dB, cosine 0.9968). Errors that differ from frame to frame lower the PSNR of changes 3 dB below that of frames
# (FP16: 65.6 dB where frames have 67.9). Those of INT8 hardly change from frame to frame (50.7 dB where frames have
# 48.2).
THRESHOLDS = {
    "fp32": Thresholds(frame_psnr=60.0, flicker_psnr=57.0, tensor_cosine=0.9999999, tensor_psnr=110.0),
    "fp16": Thresholds(frame_psnr=45.0, flicker_psnr=42.0, tensor_cosine=0.9999, tensor_psnr=55.0),
    "int8": Thresholds(frame_psnr=40.0, flicker_psnr=40.0, tensor_cosine=0.99, tensor_psnr=35.0),
}


def thresholds_for(*precisions: str) -> Thresholds:
    """The thresholds of the least exact of these precisions. Errors: a precision without thresholds."""
    for precision in precisions:
        if precision not in THRESHOLDS:
            known = ", ".join(THRESHOLDS)
            raise HideNerfError(
                f"Parity has no thresholds for precision {precision!r}, only for {known}; export again."
            )
    return THRESHOLDS[max(precisions, key=list(THRESHOLDS).index)]
