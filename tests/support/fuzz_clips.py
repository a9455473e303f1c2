"""Clips that end early or are damaged through the reader: python -m tests.support.fuzz_clips -n 500 --seed 1

Each must end in pictures, or in one error that is one sentence. What it prints stands in docs/reliability.md.
"""

import argparse
import collections
import itertools
import logging
import re
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hidenerf.runtime.video.reader import VideoReader
from hidenerf.runtime.video.sound import has_sound
from tests.support.damaged_clips import FORMATS, boundaries, small_clip
from tests.support.fuzzing import outcome
from tests.support.motion_file_bytes import damaged


def read_clip(path: Path) -> str:
    """How many pictures a clip has, and whether sound."""
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader)
    return f"read {count} pictures, {'with' if has_sound(path) else 'without'} sound"


def early_ends(content: bytes, kind: str) -> Iterator[bytes]:
    """A clip's beginnings: to every boundary, and a byte less and more."""
    places = itertools.chain.from_iterable((at - 1, at, at + 1) for at in boundaries(content, kind))
    return (content[:place] for place in sorted(set(places)) if 0 <= place < len(content))


def with_other_streams(path: Path, folder: Path) -> Iterator[bytes]:
    """The clip with its streams in another order, without one of them, and with one of them twice."""
    for number, order in enumerate(([1, 0], [1], [0], [0, 0], [1, 1, 0], [0, 1, 1])):
        other = folder / f"streams{number}{path.suffix}"
        with av.open(str(path)) as source, av.open(str(other), "w") as target:
            streams = {at: target.add_stream_from_template(source.streams[at]) for at in dict.fromkeys(order)}
            more = [(at, target.add_stream_from_template(source.streams[at])) for at in order if order.count(at) > 1]
            for packet in source.demux():
                if packet.dts is None or packet.stream.index not in streams:
                    continue
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
            del more  # Streams without a packet.
        yield other.read_bytes()


def run(kind: str, what: str, contents: Iterable[bytes]) -> None:
    """Try contents and print what became of them."""
    outcomes: collections.Counter[str] = collections.Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip.{kind}"
        for content in contents:
            start = time.perf_counter()
            found = outcome(read_clip, path, content).replace(str(path), "")
            longest = max(longest, time.perf_counter() - start)
            outcomes[re.sub(r"[\d.]+|\"[^\"]*\"|'[^']*'|\(.*?\)", "_", found)[:60]] += 1
    read = sum(count for found, count in outcomes.items() if found.startswith("read"))
    print(f"{kind}, {what}: {outcomes.total()} files, {read} read, longest {longest:.3f} s,", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")
    for found, times in outcomes.most_common(12):
        print(f"  {times:6} {found}")


def damaged_at_random(content: bytes, count: int, number: int) -> list[bytes]:
    """The clip with bytes changed, cut out, repeated or put in. number: the seed."""
    drawn: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        drawn.append(data.draw(damaged(content)))

    draw()
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=200, help="random damages of each format")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()
    av.logging.set_level(None)
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            clip = small_clip(Path(folder) / f"clip.{kind}")
            content = clip.read_bytes()
            run(kind, "ends early", early_ends(content, kind))
            run(kind, "streams exchanged", with_other_streams(clip, Path(folder)))
            run(kind, f"damaged, seed {arguments.seed}", damaged_at_random(content, arguments.count, arguments.seed))


if __name__ == "__main__":
    main()
