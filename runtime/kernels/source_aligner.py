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
# Channels of the source's surface and of the guides, as in hidenerf.model.alignment.
SURFACE = 4
GUIDES = 4
# As in hidenerf.model.refinement.
CHANNEL_MULTIPLE = 8
# Channels that a thread samples of a map with channels last.
VECTOR = 8
# FP32 pictures [R, R] that the steps pass on (`Picture` in align_source.cuh).
SCRATCH_PICTURES = 26

PARTS = np.dtype([("source", "<u8"), ("sampled", "<u8"), ("absent", "<u8"), ("channels", "<i4"), ("size", "<i4")])
BLOCKS = np.dtype([("part", "<i4"), ("pixel", "<i4")])


@dataclass(frozen=True)
class SourceMap:
    """A map of the source and its samples.

    source: address of [C, size, size], in the source's coordinates.
    sampled: address of [C, size, size], in the frame's.
    absent: address of FP32 [C], what the samples are where the source shows nothing.
    channels: C.
    size: side in pixels: R/4, or twice that, and so on up to S.
    """

    source: int
    sampled: int
    absent: int
    channels: int
    size: int


@dataclass(frozen=True)
class StemInput:
    """What the refiner's first convolution reads.

    address: of FP16 or FP32 [stem_channels(rendered, pictured), R, R].
    rendered: K, channels of the rendered picture.
    pictured: whether the source picture is in it.
    number_bytes: of a number, 2 or 4.
    """

    address: int
    rendered: int
    pictured: bool
    number_bytes: int

    def channel(self, index: int, render_size: int) -> int:
        """Address of a channel."""
        return self.address + index * render_size**2 * self.number_bytes


@dataclass(frozen=True)
class OwnPixels:
    """Where the source picture's samples go (`hidenerf.model.refinement.RefinerInputs`); addresses.

    own, shown: FP32 [3, S, S] and [S, S].
    detail_input: [4, s, s] in the stem input's numbers; s is S, or S/2 with an enlarger.
    enlarger_input: [16, S/2, S/2], the same; 0 for a model without enlarger.
    """

    own: int
    shown: int
    detail_input: int
    enlarger_input: int = 0


def stem_channels(rendered: int, pictured: bool) -> int:
    """Channels of the stem input, of which the last may be zeros. Arguments: see `StemInput`."""
    return -(-_stem_used(rendered, pictured) // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE


def _stem_used(rendered: int, pictured: bool) -> int:
    return rendered + 1 + GUIDES + 3 * pictured


def sampling_table(maps: Sequence[SourceMap], number_bytes: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Parts of maps and blocks of threads for the kernel `sample_maps`: arrays of `PARTS` and of `BLOCKS`.

    maps: all of one frame. number_bytes: of a number in a map, 2 or 4.
    """
    parts: list[tuple[int, int, int, int, int]] = []
    blocks: list[tuple[int, int]] = []
    for one in maps:
        most = min(CHANNELS_A_THREAD, max(1, one.size**2 // PIXELS_A_CHANNEL))
        for first in range(0, one.channels, most):
            offset = first * one.size**2 * number_bytes
            channels = min(most, one.channels - first)
            blocks += [(len(parts), pixel) for pixel in range(0, one.size**2, THREADS)]
            addresses = one.source + offset, one.sampled + offset, one.absent + 4 * first
            parts.append((*addresses, channels, one.size))
    return np.array(parts, PARTS), np.array(blocks, BLOCKS)


def sampling_table_last(maps: Sequence[SourceMap]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """The same for the kernel `sample_maps_last`: of FP16 maps with channels last.

    maps: their `source` and `sampled` are addresses of [size, size, C], and their channels C a multiple of 8.
    """
    parts, blocks = [], []
    for index, one in enumerate(maps):
        vectors = one.channels // VECTOR
        parts.append((one.source, one.sampled, one.absent, vectors, one.size))
        blocks += [(index, first) for first in range(0, one.size**2 * vectors, THREADS)]
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
        self,
        place: int,
        alpha: int,
        rendered: int,
        projection: int,
        surface: int,
        face_sight: int,
        stem: StemInput,
        stream: int,
    ) -> None:
        """Find where the source picture shows the frame, and how surely; all FP32 but the result.

        place: [3, R, R], the frame's canonical points times alpha.
        alpha: [R, R].
        rendered: [K, R, R], the frame's.
        projection, surface: [3, 4] and [4, R, R] of the source (`SourceView`).
        face_sight: [4, S, S], the frame's (`hidenerf.runtime.face_sight`).
        stem: the result, without the source picture's channels.
        stream: handle of the stream.
        """
        pixels, size = self._render_size**2, np.int32(self._image_size)
        rows, scratch, kind = self._render_size, self._scratch, _kind(stem.number_bytes)
        # A block per row, and a thread per mean of the face sight and per value of the stem input that is as rendered
        # or 0.
        zeros = stem_channels(stem.rendered, stem.pictured) - _stem_used(stem.rendered, stem.pictured)
        blocks = rows + -(-(4 + stem.rendered + 1 + zeros) * pixels // ROW_THREADS)
        given = [place, alpha, rendered, projection, face_sight, scratch, stem.address]
        sizes = np.int32(stem.rendered), np.int32(stem.pictured), size
        self._launch(f"project_{kind}", blocks, [*given, *sizes], stream, ROW_THREADS)
        guides = stem.channel(stem.rendered + 1, self._render_size)
        self._launch(f"see_{kind}", rows, [surface, scratch, guides], stream, ROW_THREADS)
        self._launch(f"show_{kind}", _blocks(pixels), [scratch, guides], stream)
        sight_pixels = _sight_numbers(self._render_size, self._image_size) // 3
        self._launch("sights", _blocks(sight_pixels), [scratch, face_sight, self._sights, size], stream)

    def sample_maps(self, parts: int, blocks: int, count: int, number_bytes: int, stream: int) -> None:
        """Sample all maps where `align` found the frame's pixels, and add what they are elsewhere.

        parts, blocks: the arrays of `sampling_table`.
        count: how many blocks.
        number_bytes: of a number in a map, 2 or 4.
        stream: handle of the stream.
        """
        self._launch(f"sample_maps_{_kind(number_bytes)}", count, [parts, blocks, self._sights], stream)

    def sample_maps_last(self, parts: int, blocks: int, count: int, stream: int) -> None:
        """The same of FP16 maps with channels last. parts, blocks: the arrays of `sampling_table_last`."""
        self._launch("sample_maps_last", count, [parts, blocks, self._sights], stream)

    def sample_pictures(self, picture: int, small: int, to: OwnPixels, stem: StemInput, stream: int) -> None:
        """Sample the source picture where `align` found the frame's pixels.

        picture, small: FP32 [3, S, S] and [3, R, R], the source picture and its means.
        to, stem: the results; of the stem input, the source picture's channels.
        stream: handle of the stream.
        """
        side = self._image_size // (2 if to.enlarger_input else 1)
        of_stem = stem.channel(stem.rendered + 1 + GUIDES, self._render_size)
        addresses = [picture, small, self._sights, to.own, to.shown, to.detail_input, to.enlarger_input, of_stem]
        blocks = _blocks(side**2 + self._render_size**2)
        name = f"pictures_{_kind(stem.number_bytes)}"
        self._launch(name, blocks, [*addresses, np.int32(self._image_size)], stream)

    def _launch(
        self, name: str, blocks: int, arguments: Sequence[int | np.generic], stream: int, threads: int = THREADS
    ) -> None:
        self._kernels.launch(name, (blocks, 1, 1), threads, stream, arguments)


def _kind(number_bytes: int) -> str:
    return "fp16" if number_bytes == 2 else "fp32"


def _blocks(threads: int) -> int:
    return -(-threads // THREADS)


def _sight_numbers(render_size: int, image_size: int) -> int:
    """3 · ((R/4)² + (R/2)² + … + S²)."""
    return 4 * image_size**2 - (render_size // 4) ** 2
