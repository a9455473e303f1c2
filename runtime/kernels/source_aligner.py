"""`SourceAligner`: what a frame takes of its source, sampled on the GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.kernels.launch import Kernels

# Channels of a part of a map: those that a thread samples.
CHANNELS_A_THREAD = 16
THREADS = 128
# Half widths of the boxes and of the band, shares of R, as in hidenerf.model.alignment.
BOX_SHARES = (1 / 64, 3 / 64, 8 / 64)
BAND_SHARE = 4 / 64
# Channels of the source's surface, as in hidenerf.model.alignment.
SURFACE = 4
# FP32 pictures [R, R] that the steps pass on: moved times head (2), head, depth, moved (2), seen, shown.
SCRATCH_PICTURES = 8

PARTS = np.dtype([("source", "<u8"), ("sampled", "<u8"), ("channels", "<i4"), ("size", "<i4")])
BLOCKS = np.dtype([("part", "<i4"), ("pixel", "<i4")])


@dataclass(frozen=True)
class SourceMap:
    """A map of the source and its samples.

    source: address of [C, size, size], in the source's coordinates.
    sampled: address of [C, size, size], in the frame's.
    channels: C.
    size: side in pixels, a multiple of R or R a multiple of it.
    """

    source: int
    sampled: int
    channels: int
    size: int


def sampling_table(maps: Sequence[SourceMap], number_bytes: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Parts of maps and blocks of threads for the kernel `sample_maps`: arrays of `PARTS` and of `BLOCKS`.

    maps: all of one frame. number_bytes: of a number in a map, 2 or 4.
    """
    parts: list[tuple[int, int, int, int]] = []
    blocks: list[tuple[int, int]] = []
    for one in maps:
        for first in range(0, one.channels, CHANNELS_A_THREAD):
            offset = first * one.size**2 * number_bytes
            channels = min(CHANNELS_A_THREAD, one.channels - first)
            blocks += [(len(parts), pixel) for pixel in range(0, one.size**2, THREADS)]
            parts.append((one.source + offset, one.sampled + offset, channels, one.size))
    return np.array(parts, PARTS), np.array(blocks, BLOCKS)


def reach_definitions(render_size: int) -> tuple[tuple[str, int], ...]:
    """Macros of align_source.cu for a rendered picture of this side, with their values."""
    reaches = [max(1, round(render_size * share)) for share in BOX_SHARES]
    named = [(f"REACH_{number}", reach) for number, reach in enumerate(reaches, start=1)]
    return (*named, ("BAND", round(render_size * BAND_SHARE)))


class SourceAligner:
    """Samples one model's source. Arguments of its methods are device addresses; everything is asynchronous."""

    def __init__(self, render_size: int, image_size: int, scratch: int) -> None:
        """Compile the kernels.

        render_size, image_size: R and S.
        scratch: FP32 [SCRATCH_PICTURES, R, R].
        """
        self._render_size, self._image_size = render_size, image_size
        self._kernels = Kernels("align_source.cu", reach_definitions(render_size))
        picture = 4 * render_size**2
        self._weighted, self._head, self._depth, self._moved, self._seen, self._shown = (
            scratch + picture * index for index in (0, 2, 3, 4, 6, 7)
        )

    def align(self, place: int, alpha: int, projection: int, surface: int, guides: int, stream: int) -> None:
        """Find where the source picture shows the frame, and how surely; all FP32.

        place: [3, R, R], the frame's canonical points times alpha.
        alpha: [R, R].
        projection, surface: [3, 4] and [4, R, R] of the source (`SourceView`).
        guides: the result [4, R, R].
        stream: handle of the stream.
        """
        size = np.int32(self._render_size)
        self._launch("project", [place, alpha, projection, self._weighted, self._head, self._depth, size], stream)
        found = [self._moved, self._seen, guides]
        self._launch("see", [self._weighted, self._head, self._depth, surface, *found, size], stream)
        self._launch("show", [self._seen, self._head, self._shown, guides, size], stream)

    def sample_maps(self, parts: int, blocks: int, count: int, fp16: bool, stream: int) -> None:
        """Sample all maps where `align` found the frame's pixels.

        parts, blocks: the arrays of `sampling_table`.
        count: how many blocks.
        fp16: the maps are FP16, otherwise FP32.
        stream: handle of the stream.
        """
        arguments: list[int | np.generic] = [parts, blocks, self._moved, self._shown, np.int32(self._render_size)]
        name = "sample_maps_fp16" if fp16 else "sample_maps_fp32"
        self._kernels.launch(name, (count, 1, 1), THREADS, stream, arguments)

    def sample_pictures(self, picture: int, small: int, own: int, own_shown: int, own_small: int, stream: int) -> None:
        """Sample the source picture where `align` found the frame's pixels; all FP32.

        picture, small: [3, S, S] and [3, R, R], the source picture and its means.
        own, own_shown, own_small: the results [3, S, S], [S, S] and [3, R, R] (`SourceSamples`).
        stream: handle of the stream.
        """
        sizes = np.int32(self._image_size), np.int32(self._render_size)
        arguments: list[int | np.generic] = [
            picture,
            small,
            self._moved,
            self._shown,
            own,
            own_shown,
            own_small,
            *sizes,
        ]
        threads = self._image_size**2 + self._render_size**2
        self._kernels.launch("pictures", (-(-threads // THREADS), 1, 1), THREADS, stream, arguments)

    def _launch(self, name: str, arguments: Sequence[int | np.generic], stream: int) -> None:
        blocks = -(-(self._render_size**2) // THREADS)
        self._kernels.launch(name, (blocks, 1, 1), THREADS, stream, arguments)
