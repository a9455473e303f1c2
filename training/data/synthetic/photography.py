"""Synthetic camera: grading, blur, noise and JPEG of batches of cut-out heads, on their device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# The noise of all pictures is cut out of one tile of this side, so that it depends on its position alone.
_NOISE_SIZE = 512
_BLUR_REACH = 2
_BLOCK = 8
# The JPEG standard's tables of steps for luminance and colour at quality 50.
_LUMINANCE_STEPS = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOUR_STEPS = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class Camera:
    """Applies camera settings to pictures on one device; each result depends on its own picture and settings alone."""

    def __init__(self, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 3, _NOISE_SIZE, _NOISE_SIZE, generator=generator)
        # A camera interpolates colours and smooths noise, so it is a little coarse.
        noise = F.avg_pool2d(F.pad(noise, (0, 1, 0, 1), mode="circular"), 2, stride=1)
        self._noise = (2 * noise[0]).to(device)
        index = torch.arange(_BLOCK, dtype=torch.float64)
        basis = torch.cos(math.pi * (2 * index + 1) * index[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
        basis[0] /= math.sqrt(2)
        self._basis = basis.float().to(device)
        to_ycc = torch.tensor(_TO_YCC)
        self._to_ycc, self._from_ycc = to_ycc.to(device), torch.linalg.inv(to_ycc).to(device)
        steps = torch.tensor([_LUMINANCE_STEPS, _COLOUR_STEPS, _COLOUR_STEPS], dtype=torch.float32)
        self._steps = steps.reshape(3, 1, _BLOCK, 1, _BLOCK).to(device)

    def take(self, color: Tensor, mask: Tensor, settings: dict[str, Tensor]) -> Tensor:
        """Pictures [n, 3, S, S] with the camera's effects; black where the mask is 0.

        color: [n, 3, S, S] in [0, 1], over black. S is a multiple of 8.
        mask: [n, 1, S, S] in [0, 1].
        settings: [n, size] by name, see `photo_settings.PHOTO_SIZES`.
        """
        setting = {name: values[..., None, None] for name, values in settings.items()}
        share = mask.clamp_min(1e-3)
        graded = (color / share).clamp(0, 1)
        graded = graded ** setting["gamma"] * setting["gain"] * setting["gain_of_colour"]
        grey = torch.einsum("c,nchw->nhw", self._to_ycc[0], graded)[:, None]
        graded = (grey + (graded - grey) * setting["saturation"]).clamp(0, 1)
        # The person is cut out of a photograph, so that what is behind shines through at the edges a little.
        behind = (1 - mask) * setting["background"]
        photograph = _blurred(graded * mask + behind, settings["blur"])
        amount = setting["noise"] * (0.4 + 1.2 * photograph.clamp(0, 1)).sqrt()
        photograph = (photograph + amount * self._cut_noise(settings["noise_place"], color.shape[-1])).clamp(0, 1)
        photograph = torch.where(setting["quality"] > 0, self._compressed(photograph, settings["quality"]), photograph)
        return torch.minimum((photograph - behind).clamp_min(0), mask)

    def _cut_noise(self, place: Tensor, size: int) -> Tensor:
        """Noise [n, 3, size, size] at places [n, 2]."""
        start = (place * _NOISE_SIZE).long()[..., None] + torch.arange(size, device=place.device)
        rows, columns = (start % _NOISE_SIZE).unbind(1)
        return self._noise[:, rows[:, :, None], columns[:, None]].transpose(0, 1)

    def _compressed(self, picture: Tensor, quality: Tensor) -> Tensor:
        count, _, height, width = picture.shape
        # JPEG's values are about 0.
        ycc = torch.einsum("dc,nchw->ndhw", self._to_ycc, picture * 255 - 128)
        blocks = ycc.reshape(count, 3, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
        basis = self._basis
        amplitude = torch.einsum("ai,ncyixj,bj->ncyaxb", basis, blocks, basis)
        quality = quality.clamp(1, 99)
        scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
        steps = (self._steps * scale.reshape(-1, 1, 1, 1, 1, 1)).round().clamp_min(1)
        amplitude = (amplitude / steps).round() * steps
        blocks = torch.einsum("ai,ncyaxb,bj->ncyixj", basis, amplitude, basis)
        rgb = torch.einsum("dc,nchw->ndhw", self._from_ycc, blocks.reshape(ycc.shape))
        return ((rgb + 128) / 255).clamp(0, 1)


def _blurred(pictures: Tensor, deviation: Tensor) -> Tensor:
    """Pictures [n, 3, S, S], each under a Gaussian of its own deviation [n, 1], pixels."""
    offset = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=pictures.device)
    weight = torch.exp(-(offset**2) / (2 * deviation.clamp_min(0.05) ** 2))
    weight = weight / weight.sum(1, keepdim=True)
    count, channels, height, width = pictures.shape
    # Each picture's channels are groups of their own.
    kernels = weight.repeat_interleave(channels, 0)[:, None]
    flat = pictures.reshape(1, count * channels, height, width)
    for axis, padding in ((-1, (_BLUR_REACH, _BLUR_REACH, 0, 0)), (-2, (0, 0, _BLUR_REACH, _BLUR_REACH))):
        kernel = kernels[:, :, None] if axis == -1 else kernels[..., None]
        flat = F.conv2d(F.pad(flat, padding, mode="replicate"), kernel, groups=count * channels)
    return flat.reshape(pictures.shape)
