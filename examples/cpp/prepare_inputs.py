"""Write what hidenerf_sample reads: prepare_inputs.py BUNDLE INPUTS [PORTRAIT [CLIP]] [--frames N] [--features].

INPUTS/source/NAME.npy are the source encoder's inputs; with --features also its outputs, for machines without its plan.
INPUTS/frames/000000/NAME.npy and so on are the inputs of one frame. NAME is the tensor's name in the graphs, and the
array has its type and shape. Runs on any machine with the bundle, without its GPU.
"""

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hidenerf.commands.errors import user_errors
from hidenerf.runtime import Animator
from hidenerf.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpuBackend
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import atomic_folder
from hidenerf.runtime.retarget import Retargeter, View

SOURCE, FRAMES = "source", "frames"


def write_arrays(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write each array as NAME.npy into a new folder."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array))


def source_features(animator: Animator, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the source encoder makes of its inputs, by name, computed on the CPU."""
    session = OnnxRuntimeCpuBackend.load_graphs(animator.bundle)["source_encoder"]
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def prepare(bundle: Path, inputs: Path, portrait: Path, clip: Path, frames: int | None, features: bool) -> int:
    """Write the folder of inputs, whole or not at all. frames: at most so many. Returns the number of frames."""
    if inputs.exists() and (not inputs.is_dir() or {path.name for path in inputs.iterdir()} - {SOURCE, FRAMES}):
        raise HideNerfError(f"{inputs}: holds something else than inputs; choose another folder.")
    count = 0
    with Animator(bundle, OnnxRuntimeCpuBackend.name) as animator, atomic_folder(inputs) as partial:
        source = animator.set_source(portrait)
        tensors = animator.source_inputs()
        write_arrays(partial / SOURCE, tensors | (source_features(animator, tensors) if features else {}))
        driver = animator.open_driver(clip)
        retargeter = Retargeter(source, "absolute", View(), driver.expression_names)
        try:
            for frame in itertools.islice(driver, frames):
                drawn = animator.frame_inputs(*retargeter.apply(frame))
                write_arrays(partial / FRAMES / f"{count:06}", drawn)
                count += 1
        finally:
            driver.close()
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("inputs", type=Path, metavar="INPUTS")
    parser.add_argument("portrait", type=Path, nargs="?", default=demo_source_path())
    parser.add_argument("clip", type=Path, nargs="?", default=demo_motion_path())
    parser.add_argument("--frames", type=int, help="write no more frames than this; one of FP32 takes up to some MB")
    parser.add_argument("--features", action="store_true", help="also write the source's features")
    given = parser.parse_args()
    with user_errors("cpu"):
        print(f"{prepare(**vars(given))} frames in {given.inputs}")
