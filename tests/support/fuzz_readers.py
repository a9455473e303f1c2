"""Many damaged and odd files of a bundle, of its engines and of sources: python -m tests.support.fuzz_readers -n 3000

Their readers must give a result or one sentence. What it prints stands in docs/reliability.md.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from hidenerf.export.precision import FloatPrecision
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.defaults import demo_source_path
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.launch_plan import parse_plan
from hidenerf.runtime.manifest import MANIFEST_NAME
from hidenerf.runtime.sources.source import load_source
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from tests.support.bundles import write_untrained
from tests.support.engine_sets import sidecar
from tests.support.fuzzing import run
from tests.support.odd_files import odd_archive, odd_json
from tests.support.tiny import TINY

Reader = tuple[str, Callable[[Path], str], st.SearchStrategy[bytes]]


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive of ours."""
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def readers(bundle: Path) -> list[Reader]:
    """File names, readers and strategies. bundle: a small one, in FP16."""

    def read_bundle(path: Path) -> str:
        for file in bundle.iterdir():
            copy = path.parent / file.name
            if file.name != MANIFEST_NAME and not copy.exists():
                copy.symlink_to(file)
        try:
            return f"read a bundle in {open_bundle(path.parent).precision}"
        except HideNerfError as error:
            # Its errors begin with the bundle's folder.
            raise HideNerfError(str(error).replace(str(path.parent), str(path), 1)) from None

    def read_launch_plan(path: Path) -> str:
        return f"read {len(parse_plan(path.read_bytes().decode(errors='replace'), path).steps)} steps"

    def read_engine(path: Path) -> str:
        try:
            return f"read an engine for SM {read_sidecar(path.parent, path.stem).sm}"
        except HideNerfError as error:
            # Its callers add what to do.
            raise HideNerfError(f"{error}.") from None

    def read_prepared(path: Path) -> str:
        return f"read a source of {len(load_source(path).picture)} pixels"

    def read_face_model(path: Path) -> str:
        return f"read {len(load_face_model(path).mean)} vertices"

    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    plan = json.loads((bundle / "refiner_plan.json").read_text())
    return [
        (MANIFEST_NAME, read_bundle, odd_json(manifest)),
        ("refiner_plan.json", read_launch_plan, odd_json(plan)),
        ("led.json", read_engine, odd_json(sidecar("led"))),
        ("source.npz", read_prepared, odd_archive(arrays_of(demo_source_path()))),
        ("face_model.npz", read_face_model, odd_archive(arrays_of(default_face_model_path()))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="name of one file")
    arguments = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_untrained(TINY, Path(folder) / "bundle", precision=FloatPrecision.FP16)
        for name, load, files in readers(bundle):
            if arguments.only in (None, name):
                run(name, load, files, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
