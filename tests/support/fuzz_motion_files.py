"""Many damaged and odd motion files through the readers: python -m tests.support.fuzz_motion_files -n 20000 --seed 1

What it prints stands in docs/reliability.md.
"""

import argparse
import collections
import logging
import re
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hidenerf.runtime.drivers.arkit_csv import load_arkit_csv
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.motion import Motion, load_motion
from tests.support.motion_file_bytes import motion_file_bytes, take_bytes


def outcome(load: Callable[[Path], Motion], path: Path, content: bytes) -> str:
    """ "motion" with its number of frames, or the error's sentence; any other exception or warning goes on."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return f"motion of {len(load(path))} frames"
        except HideNerfError as error:
            sentence = str(error)
            assert sentence.startswith(str(path)), sentence
            assert sentence.endswith("."), sentence
            assert "\n" not in sentence, sentence
            return sentence


def run(name: str, load: Callable[[Path], Motion], files: st.SearchStrategy[bytes], count: int, number: int) -> None:
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
            found = outcome(load, path, content).replace(str(path), "")
            longest = max(longest, time.perf_counter() - start)
            outcomes[re.sub(r"[\d.]+|\"[^\"]*\"|'[^']*'|\(.*?\)", "_", found)[:60]] += 1

        check()
    motions = sum(count for found, count in outcomes.items() if found.startswith("motion"))
    print(f"{name}, seed {number}: {outcomes.total()} files, {motions} motions, longest {longest:.3f} s,", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")
    for found, times in outcomes.most_common(40):
        print(f"  {times:6} {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()
    face_model = load_face_model(default_face_model_path())
    run("take.csv", lambda path: load_arkit_csv(path, face_model), take_bytes(), arguments.count, arguments.seed)
    run("motion.npz", load_motion, motion_file_bytes(), arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
