"""Many damaged and odd motion files through the readers: python -m tests.support.fuzz_motion_files -n 20000 --seed 1

What it prints stands in docs/reliability.md.
"""

import argparse
import logging
from pathlib import Path

from hidenerf.runtime.drivers.arkit_csv import load_arkit_csv
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.motion import load_motion
from tests.support.fuzzing import run
from tests.support.motion_file_bytes import motion_file_bytes, take_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()
    face_model = load_face_model(default_face_model_path())

    def read_take(path: Path) -> str:
        return f"read {len(load_arkit_csv(path, face_model))} frames"

    def read_motion(path: Path) -> str:
        return f"read {len(load_motion(path))} frames"

    run("take.csv", read_take, take_bytes(), arguments.count, arguments.seed)
    run("motion.npz", read_motion, motion_file_bytes(), arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
