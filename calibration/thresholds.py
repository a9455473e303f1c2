"""What parity asks of a bundle."""

from dataclasses import dataclass

from hidenerf.runtime.errors import HideNerfError


@dataclass(frozen=True)
class Thresholds:
    """Least values. frame_psnr: dB of every whole frame, and of the renderer's output `frame`, both being uint8.
    tensor_cosine, tensor_psnr: of every other tensor; the cosine alone does not see one too large by a factor.
    """

    frame_psnr: float
    tensor_cosine: float
    tensor_psnr: float


# FP32 graphs differ from PyTorch by the order of sums only (worst tensor measured: 137 dB), FP16 graphs by 11 bits of
# mantissa (73 dB).
THRESHOLDS = {
    "fp32": Thresholds(frame_psnr=60.0, tensor_cosine=0.9999999, tensor_psnr=110.0),
    "fp16": Thresholds(frame_psnr=45.0, tensor_cosine=0.9999, tensor_psnr=55.0),
}


def thresholds_for(precision: str) -> Thresholds:
    """The thresholds of a bundle's precision. Errors: a precision that has none."""
    if precision not in THRESHOLDS:
        known = ", ".join(THRESHOLDS)
        raise HideNerfError(f"Parity has no thresholds for precision {precision!r}, only for {known}; export again.")
    return THRESHOLDS[precision]
