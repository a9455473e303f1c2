"""Building blocks: upsampling by hand, resolutions of the U-Net, and which statistics fold."""

import pytest
import torch
from torch import nn

from hidenerf.model.layers import UNet, running_statistics, upsample


def test_upsampling_is_bilinear_with_half_pixel_centres() -> None:
    row = upsample(torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2))
    assert row[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert row.shape == (1, 1, 2, 4)


@pytest.mark.parametrize(("stem_stride", "sizes"), [(1, [4, 8, 16]), (2, [2, 4, 8])])
def test_unet_returns_its_maps_coarsest_first(stem_stride: int, sizes: list[int]) -> None:
    with torch.no_grad():
        maps = UNet(2, (3, 5, 7), stem_stride).eval()(torch.randn(1, 2, 16, 16))
    assert [tuple(m.shape[1:]) for m in maps] == [(c, s, s) for c, s in zip((7, 5, 3), sizes, strict=True)]


def test_running_statistics_are_those_that_evaluation_uses() -> None:
    norm = nn.BatchNorm2d(2)
    norm.train()(torch.randn(4, 2, 3, 3) * 2 + 1)
    mean, variance = running_statistics(norm)
    x = torch.randn(1, 2, 3, 3)
    expected = (x - mean[:, None, None]) / (variance[:, None, None] + norm.eps).sqrt()
    torch.testing.assert_close(norm.eval()(x), expected)
