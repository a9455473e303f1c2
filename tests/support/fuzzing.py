"""Many damaged and odd files through a reader: each must end in a result, or in one error that is one sentence."""

import collections
import re
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError


def outcome(load: Callable[[Path], str], path: Path, content: bytes) -> str:
    """What `load` says of the file, or the error's sentence; any other exception or warning goes on.

    load: reads a file and says in words what it found; its errors begin with the file's path.
    """
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return load(path)
        except HideNerfError as error:
            sentence = str(error)
            assert sentence.startswith(str(path)), sentence
            assert sentence.endswith("."), sentence
            assert "\n" not in sentence, sentence
            assert sentence.isprintable(), sentence
            return sentence


def run(name: str, load: Callable[[Path], str], files: st.SearchStrategy[bytes], count: int, number: int) -> None:
    """Try files and print what became of them. name: of the file. number: the seed."""
    outcomes: collections.Counter[str] = collections.Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(files)
        def check(content: bytes) -> None:
            nonlocal longest
            start = time.perf_counter()
            found = outcome(load, path, content).replace(str(path), "").replace(folder, "")
            longest = max(longest, time.perf_counter() - start)
            outcomes[re.sub(r"[\d.]+|\"[^\"]*\"|'[^']*'|\(.*?\)", "_", found)[:60]] += 1

        check()
    read = sum(count for found, count in outcomes.items() if found.startswith("read"))
    print(f"{name}, seed {number}: {outcomes.total()} files, {read} read, longest {longest:.3f} s,", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")
    for found, times in outcomes.most_common(40):
        print(f"  {times:6} {found}")
