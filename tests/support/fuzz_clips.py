"""Many damaged clips through reader and writer: python -m tests.support.fuzz_clips -n 100 --seed 1

What it prints stands in docs/reliability.md.
"""

import argparse
import collections
import logging
import random
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.video.reader import VideoReader
from hidenerf.runtime.video.writer import VideoWriter
from tests.support.media import write_clip

# Container, encoder of the pictures and of the sound.
KINDS = (
    (".mp4", "libx264", "aac"),
    (".mov", "mpeg4", "aac"),
    (".mkv", "libx264", "libopus"),
    (".webm", "libvpx", "libopus"),
    (".avi", "libx264", "libmp3lame"),
    (".ts", "libx264", "aac"),
    (".ts", "mpeg2video", "mp2"),
    (".flv", "libx264", "aac"),
)
# Boxes of an MP4 that hold boxes.
PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta")
FRAMES = 60
TRANSPORT_PACKET = 188
Damage = Callable[[random.Random, bytes], bytes]


def overwritten(generator: random.Random, content: bytes) -> bytes:
    """Up to four places have other bytes."""
    data = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        length = generator.choice((1, 4, 50, 1000))
        start = generator.randrange(max(1, len(data) - length))
        data[start : start + length] = generator.randbytes(length)
    return bytes(data)


def cut_out(generator: random.Random, content: bytes) -> bytes:
    """One packet of a transport stream, or as many bytes of another file, are missing."""
    start = generator.randrange(len(content) // TRANSPORT_PACKET) * TRANSPORT_PACKET
    return content[:start] + content[start + TRANSPORT_PACKET :]


def swapped(generator: random.Random, content: bytes) -> bytes:
    """Two parts of the file have changed places."""
    one, other, third = sorted(generator.sample(range(len(content)), 3))
    return content[:one] + content[other:third] + content[one:other] + content[third:]


def ended(generator: random.Random, content: bytes) -> bytes:
    """The end of the file is missing."""
    return content[: generator.randrange(len(content))]


def boxes(content: bytes) -> list[int]:
    """Where the boxes of an MP4 begin, also those within boxes."""
    found: list[int] = []

    def descend(start: int, end: int) -> None:
        while start + 8 <= end:
            size = int.from_bytes(content[start : start + 4], "big")
            if size < 8:
                return
            found.append(start)
            if content[start + 4 : start + 8] in (
                b"moov",
                b"trak",
                b"mdia",
                b"minf",
                b"stbl",
                b"edts",
                b"dinf",
                b"udta",
            ):
                descend(start + 8, min(start + size, end))
            start += size

    descend(0, len(content))
    return found


def outcome(path: Path, content: bytes) -> str:
    """ "video" with its number of frames, or the error's sentence; any other exception or warning goes on."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return f"video of {copied(path, path.with_name('out.mp4'))} frames"
        except HideNerfError as error:
            sentence = str(error)
            assert sentence.startswith(str(path)), sentence
            assert sentence.endswith("."), sentence
            assert "\n" not in sentence, sentence
            return sentence


def copied(path: Path, output: Path) -> int:
    """The number of a clip's frames, after checking them and writing them with its sound."""
    count, last = 0, Fraction(-1)
    with VideoReader(path) as reader, VideoWriter(output, reader.fps, path if reader.has_audio else None) as writer:
        for picture, at in reader:
            assert at > last, (last, at)
            assert picture.shape == (*reader.size, 3)
            writer.write(picture, at)
            count, last = count + 1, at
    return count


def damaged_clips(folder: Path, count: int, number: int) -> Iterator[tuple[str, Path, bytes]]:
    """Name of the kind, path to write to, and content of each damaged clip."""
    damages: tuple[Damage, ...] = (overwritten, cut_out, swapped, ended)
    for suffix, codec, sound in KINDS:
        clip = write_clip(folder / f"whole{suffix}", FRAMES, codec=codec, audio=sound, key_every=10)
        content = clip.read_bytes()
        generator = random.Random(f"{number} {suffix} {codec}")
        for damage in damages:
            for _ in range(count):
                yield f"{suffix} {codec}, {damage.__name__}", folder / f"clip{suffix}", damage(generator, content)
        if suffix in (".mp4", ".mov"):
            for place in boxes(content):
                for end in (place, place + 4, place + 8):
                    yield f"{suffix} {codec}, cut at a box", folder / f"clip{suffix}", content[:end]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=100, help="of each kind of damage for each kind of clip")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()
    videos: collections.Counter[str] = collections.Counter()
    total: collections.Counter[str] = collections.Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory() as name:
        for kind, path, content in damaged_clips(Path(name), arguments.count, arguments.seed):
            start = time.perf_counter()
            found = outcome(path, content)
            longest = max(longest, time.perf_counter() - start)
            total[kind] += 1
            videos[kind] += found.startswith("video")
    for kind, files in total.items():
        print(f"{kind}: {files} files, {videos[kind]} videos")
    print(f"seed {arguments.seed}: {total.total()} files, {videos.total()} videos, longest {longest:.2f} s,", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")


if __name__ == "__main__":
    main()
