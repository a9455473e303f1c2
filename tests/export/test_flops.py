"""FLOPs against a count by hand from the config, and the gain of hoisting."""

import itertools

import pytest

from hidenerf.export.flops import frame_flops
from hidenerf.model.config import PRESETS, ModelConfig
from tests.support.tiny import TINY, aligned_config


def convolution(inputs: int, outputs: int, kernel: int, size: int) -> int:
    return 2 * inputs * outputs * kernel**2 * size**2


def refiner(config: ModelConfig, hoisted: bool) -> int:
    """Encoder from R to R/4, then two 3×3 convolutions a scale, a 1×1 where channels change, the head, the enlarger."""
    at_render_size = config.refiner_channels[-3:]
    size = config.render_size
    guides = {"none": 0, "maps": 4, "maps and picture": 4 + 3}[config.alignment]
    total = convolution(config.render_channels + 1 + guides, at_render_size[0], 3, size)
    for fine, coarse in itertools.pairwise(at_render_size):
        size //= 2
        total += convolution(fine, coarse, 3, size)
    before = config.refiner_channels[-1]
    width = config.spade_width
    for scale, after in enumerate(config.refiner_channels[::-1]):
        identity = config.identity_channels[::-1][scale]
        total += convolution(before, after, 3, size) + convolution(after, after, 3, size)
        if before != after:
            total += convolution(before, after, 1, size)
        constant = config.alignment != "none" and scale >= config.aligned_scales
        if not hoisted and not constant:
            for channels in (before, after):
                total += convolution(identity, width, 3, size) + 2 * convolution(width, channels, 3, size)
        before = after
        size *= 2
    own_pixels = config.alignment == "maps and picture"
    if own_pixels:
        total += convolution(4, config.refiner_channels[1], 3, config.working_size)
    if config.enlarger_width is not None:
        # Four pixels of four channels are seen, four of five are made.
        enlarger = config.refiner_channels[0] + 16, config.enlarger_width, config.enlarger_width, 20
        total += sum(convolution(*pair, 3, config.working_size) for pair in itertools.pairwise(enlarger))
    return total + convolution(config.refiner_channels[0], 5 if own_pixels else 4, 3, config.working_size)


def led(config: ModelConfig) -> int:
    size, width, position = config.render_size, config.expression_channels, config.position_channels
    looked_up = config.lookup_channels * config.samples_per_ray // config.lookup_stride
    total = convolution(3, width, 5, size) + 3 * convolution(width, width, 3, size)
    total += convolution(width, config.lookup_channels, 1, size)
    total += convolution(3 * config.samples_per_ray, 2 * position, 1, size) + convolution(
        2 * position, position, 3, size
    )
    channels = config.deformation_channels
    total += convolution(width + position + looked_up, channels[0], 3, size)
    total += convolution(channels[0], 3 * config.samples_per_ray, 3, size)
    for fine, coarse in itertools.pairwise(channels):
        total += convolution(coarse + fine, fine, 3, size)
        size //= 2
        total += convolution(fine, coarse, 3, size) + convolution(coarse, coarse, 3, size)
    return total + 2 * convolution(channels[-1], channels[-1], 3, size)


def mlp(config: ModelConfig) -> int:
    points = config.samples_per_ray * config.render_size**2
    inputs = len(config.plane_sizes) * config.plane_channels + 6 * config.encoding_octaves
    return 2 * points * config.mlp_width * (inputs + config.render_channels + 1)


ALIGNED = [aligned_config("maps", 2), aligned_config("maps and picture", 8)]


@pytest.mark.parametrize("config", [TINY, *PRESETS.values(), *ALIGNED], ids=lambda c: f"{c.name}, {c.alignment}")
def test_the_count_is_that_of_the_configs_convolutions(config: ModelConfig) -> None:
    counted = frame_flops(config)
    assert counted.refiner == refiner(config, hoisted=True)
    assert counted.refiner_unhoisted == refiner(config, hoisted=False)
    assert counted.led == led(config)
    assert counted.renderer == mlp(config)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_hoisting_leaves_at_most_45_percent_of_the_refiner(name: str) -> None:
    counted = frame_flops(PRESETS[name])
    assert counted.refiner_ratio == counted.refiner / counted.refiner_unhoisted
    assert counted.refiner_ratio <= 0.45
