"""Enlarger: the last part of a refine network whose other parts work at half of the picture's side.

The networks of a 512² model thus cost what those of a 256² model cost, and are the same. What a picture of 512² shows
beyond them is the source's own detail, sampled where the source camera saw what a pixel shows.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.layers import LEAK, upsample

# Channels of the refined picture before the source's own pixels are blended in: colours, alpha, share of these pixels.
PICTURE_CHANNELS = 5
_OWN_CHANNELS = 4


class Refined(NamedTuple):
    """What a refine network makes of the rendered picture, before the source's own pixels are blended in.

    picture [B, 4, H, W]: colours and alpha.
    own_logit [B, 1, H, W]: of the share of the source's own pixels, where the source shows them.
    """

    picture: Tensor
    own_logit: Tensor


def detail_channels(own: Tensor, known: Tensor) -> Tensor:
    """The source's own pixels as convolutions read them: 2x - 1, times `known` where that is above 0; and `known`.

    own [B, 3, H, W], known [B, 1, H, W]: see `SourceSamples`. Returns [B, 4, H, W].
    """
    return torch.cat([known.clamp_min(0.0) * (own * 2.0 - 1.0), known], 1)


def enlarger_input(own: Tensor, known: Tensor) -> Tensor:
    """What an enlarger reads of the source's own pixels [B, 3, 2H, 2W] and [B, 1, 2H, 2W]: [B, 16, H, W].

    Four pixels of `detail_channels` are channels of one: channel 4c + 2 row + column.
    """
    return F.pixel_unshuffle(detail_channels(own, known), 2)


class Enlarger(nn.Module):
    """The refined picture at twice its side.

    Bilinear, plus a change that a small network finds in the decoder's features and the source's own pixels. The
    network works at the smaller side: four pixels of the larger picture are channels of one of the smaller (sub-pixel
    convolution). Its last layer begins with weights of 0.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features + 4 * _OWN_CHANNELS, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.change = nn.Conv2d(width, 4 * PICTURE_CHANNELS, 3, 1, 1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)  # type: ignore[arg-type]

    def forward(self, refined: Refined, features: Tensor, pixels: Tensor) -> Refined:
        """The refined picture at H × W → at 2H × 2W.

        features [B, F, H, W]: of the decoder's last block.
        pixels [B, 16, H, W]: of `enlarger_input`.
        """
        x = torch.cat([F.leaky_relu(features, LEAK), pixels], 1)
        x = F.leaky_relu(self.first(x), LEAK)
        x = F.leaky_relu(self.second(x), LEAK)
        larger = upsample(torch.cat(refined, 1)) + F.pixel_shuffle(self.change(x), 2)
        return Refined(larger[:, :4], larger[:, 4:])
