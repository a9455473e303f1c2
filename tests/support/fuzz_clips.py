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
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from hidenerf.runtime.video.reader import VideoReader
from hidenerf.runtime.video.writer import VideoWriter
from tests.support.damaged_clips import BOUNDARIES, ends_at_boundaries
from tests.support.fuzzing import outcome
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


def copy_clip(path: Path) -> str:
    """Read a clip and write it beside; "video" with its number of frames."""
    return f"video of {copied(path, path.with_name('out.mp4'))} frames"


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
        if suffix in BOUNDARIES:
            for end in ends_at_boundaries(content, suffix):
                yield f"{suffix} {codec}, ends at a boundary", folder / f"clip{suffix}", content[:end]
        for other in with_other_streams(clip, folder):
            yield f"{suffix} {codec}, other streams", folder / f"clip{suffix}", other


def with_other_streams(path: Path, folder: Path) -> Iterator[bytes]:
    """The clip with its streams in the other order, and with one of them alone."""
    for number, order in enumerate(([1, 0], [1], [0])):
        other = folder / f"streams{number}{path.suffix}"
        with av.open(str(path)) as source, av.open(str(other), "w") as target:
            streams = {at: target.add_stream_from_template(source.streams[at]) for at in order}
            for packet in source.demux():
                if packet.dts is not None and packet.stream.index in streams:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
        yield other.read_bytes()


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
            found = outcome(copy_clip, path, content)
            longest = max(longest, time.perf_counter() - start)
            total[kind] += 1
            videos[kind] += found.startswith("video")
    for kind, files in total.items():
        print(f"{kind}: {files} files, {videos[kind]} videos")
    print(f"seed {arguments.seed}: {total.total()} files, {videos.total()} videos, longest {longest:.2f} s,", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")


if __name__ == "__main__":
    main()
