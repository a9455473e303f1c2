"""A MobileNetV2 in torchvision's names whose features are known: every layer hands means on."""

import torch
from torch import Tensor


def norm(name: str, channels: int, gain: float, shift: float = 0.0, mean: float = 0.0) -> dict[str, Tensor]:
    """A batch norm with (x - mean) / 2 · gain + shift."""
    values = {"weight": gain, "bias": shift, "running_mean": mean, "running_var": 4 - 1e-5}
    return {f"{name}.{kind}": torch.full((channels,), float(value)) for kind, value in values.items()}


def mobilenet_tensors() -> dict[str, Tensor]:
    """A MobileNetV2 whose every convolution hands the mean of its inputs on.

    The first batch norm gives (x - 3) / 200 + 0.02, so that nothing is clipped; the others change nothing.
    """
    tensors = {"features.0.0.weight": torch.zeros(32, 3, 3, 3)} | norm("features.0.1", 32, 0.01, 0.02, mean=3)
    tensors["features.0.0.weight"][:, :, 1, 1] = 1 / 3
    inputs = 32
    widths = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96]
    for block, outputs in enumerate(widths, 1):
        inner = inputs * (1 if block == 1 else 6)
        depthwise = torch.zeros(inner, 1, 3, 3)
        depthwise[:, :, 1, 1] = 1
        pieces = [] if block == 1 else [("0.0", "0.1", torch.full((inner, inputs, 1, 1), 1 / inputs))]
        at = len(pieces)
        pieces += [(f"{at}.0", f"{at}.1", depthwise)]
        pieces += [(f"{at + 1}", f"{at + 2}", torch.full((outputs, inner, 1, 1), 1 / inner))]
        for name, of_norm, weight in pieces:
            tensors[f"features.{block}.conv.{name}.weight"] = weight
            tensors |= norm(f"features.{block}.conv.{of_norm}", len(weight), 2.0)
        inputs = outputs
    return tensors
