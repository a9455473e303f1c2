"""`SourceAligner`: what a frame takes of its source, sampled on the GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.kernels.launch import Kernels

# Most channels of a part of a map: those that a thread samples.
CHANNELS_A_THREAD = 8
# A thread samples fewer channels of a map of few pixels: one per so many, so that small maps have threads enough.
PIXELS_A_CHANNEL = 2048
THREADS = 128
# Of the steps with a block per row.
ROW_THREADS = 256
# Channels of the source's surface, as in hidenerf.model.alignment.
SURFACE = 4
# FP32 pictures [R, R] that the steps pass on (`Picture` in align_source.cuh).
SCRATCH_PICTURES = 26

PARTS = np.dtype([("source", "<u8"), ("sampled", "<u8"), ("channels", "<i4"), ("size", "<i4")])
BLOCKS = np.dtype([("part", "<i4"), ("pixel", "<i4")])


@dataclass(frozen=True)
class SourceMap:
    """A map of the source and its samples.

    source: address of [C, size, size], in the source's coordinates.
    sampled: address of [C, size, size], in the frame's.
    channels: C.
    size: side in pixels: R/4, or twice that, and so on up to S.
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
        most = min(CHANNELS_A_THREAD, max(1, one.size**2 // PIXELS_A_CHANNEL))
        for first in range(0, one.channels, most):
            offset = first * one.size**2 * number_bytes
            channels = min(most, one.channels - first)
            blocks += [(len(parts), pixel) for pixel in range(0, one.size**2, THREADS)]
            parts.append((one.source + offset, one.sampled + offset, channels, one.size))
    return np.array(parts, PARTS), np.array(blocks, BLOCKS)


def aligner_definitions(render_size: int) -> tuple[tuple[str, int], ...]:
    """Macros of align_source.cu for a rendered picture of this side, with their values."""
    return (("RENDER_SIZE", render_size),)


def scratch_numbers(render_size: int, image_size: int) -> int:
    """FP32 numbers of memory that a `SourceAligner` needs: pictures of its steps, and the sights of all sizes."""
    return SCRATCH_PICTURES * render_size**2 + _sight_numbers(render_size, image_size)


class SourceAligner:
    """Samples one model's source. Arguments of its methods are device addresses; everything is asynchronous."""

    def __init__(self, render_size: int, image_size: int, scratch: int) -> None:
        """Compile the kernels.

        render_size, image_size: R and S, S being R or twice it, and so on.
        scratch: FP32 [scratch_numbers(R, S)].
        """
        self._render_size, self._image_size = render_size, image_size
        self._kernels = Kernels("align_source.cu", aligner_definitions(render_size))
        self._scratch, self._sights = scratch, scratch + 4 * SCRATCH_PICTURES * render_size**2

    def align(
        self, place: int, alpha: int, projection: int, surface: int, face_sight: int, guides: int, stream: int
    ) -> None:
        """Find where the source picture shows the frame, and how surely; all FP32.

        place: [3, R, R], the frame's canonical points times alpha.
        alpha: [R, R].
        projection, surface: [3, 4] and [4, R, R] of the source (`SourceView`).
        face_sight: [4, S, S], the frame's (`hidenerf.runtime.face_sight`).
        guides: the result [4, R, R].
        stream: handle of the stream.
        """
        pixels, size = self._render_size**2, np.int32(self._image_size)
        rows, scratch = self._render_size, self._scratch
        # A block per row, and a thread per mean of the face sight.
        blocks = rows + -(-4 * pixels // ROW_THREADS)
        given = [place, alpha, projection, face_sight, scratch]
        self._launch("project", blocks, [*given, size], stream, ROW_THREADS)
        self._launch("see", rows, [surface, scratch, guides], stream, ROW_THREADS)
        self._launch("show", _blocks(pixels), [scratch, guides], stream)
        sight_pixels = _sight_numbers(self._render_size, self._image_size) // 3
        self._launch("sights", _blocks(sight_pixels), [scratch, face_sight, self._sights, size], stream)

    def sample_maps(self, parts: int, blocks: int, count: int, fp16: bool, stream: int) -> None:
        """Sample all maps where `align` found the frame's pixels.

        parts, blocks: the arrays of `sampling_table`.
        count: how many blocks.
        fp16: the maps are FP16, otherwise FP32.
        stream: handle of the stream.
        """
        name = "sample_maps_fp16" if fp16 else "sample_maps_fp32"
        self._launch(name, count, [parts, blocks, self._sights], stream)

    def sample_pictures(self, picture: int, small: int, own: int, own_shown: int, own_small: int, stream: int) -> None:
        """Sample the source picture where `align` found the frame's pixels; all FP32.

        picture, small: [3, S, S] and [3, R, R], the source picture and its means.
        own, own_shown, own_small: the results [3, S, S], [S, S] and [3, R, R] (`SourceSamples`).
        stream: handle of the stream.
        """
        blocks = _blocks(self._image_size**2 + self._render_size**2)
        addresses = [picture, small, self._sights, own, own_shown, own_small]
        self._launch("pictures", blocks, [*addresses, np.int32(self._image_size)], stream)

    def _launch(
        self, name: str, blocks: int, arguments: Sequence[int | np.generic], stream: int, threads: int = THREADS
    ) -> None:
        self._kernels.launch(name, (blocks, 1, 1), threads, stream, arguments)


def _blocks(threads: int) -> int:
    return -(-threads // THREADS)


def _sight_numbers(render_size: int, image_size: int) -> int:
    """3 · ((R/4)² + (R/2)² + … + S²)."""
    return 4 * image_size**2 - (render_size // 4) ** 2
