"""The C++ sample (examples/cpp) against the Python backend: are frames the same bytes, and how long do they take?

    python benchmarks/tensorrt_cpp.py BUNDLE --out OUT        (on a GPU: benchmarks/tensorrt_session.sh cpp NAME)

Builds the sample by CMake against the libnvinfer that Python's module has loaded, prepares inputs of the shipped source
and motion, and renders them with the sample and with the backend `tensorrt`, from the engines that `hidenerf-export
BUNDLE --backend tensorrt` built. Prints a line of JSON and writes it to OUT/NAME.cpp.json. Exit code 1 where bytes
differ. Needs no PyTorch.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.tensorrt.library import load_library

SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cpp"
FRAMES = 8
TIMES = re.compile(r"median ([\d.]+) ms, p99 ([\d.]+) ms")


def run(command: list[Any]) -> str:
    """Stdout of a command; what it printed, and SystemExit, where it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def loaded_library() -> Path:
    """The file of libnvinfer in this process."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return next(Path(line.split()[-1]) for line in maps if "/libnvinfer.so" in line)


def build_sample(folder: Path) -> Path:
    """The sample, built in a folder for the TensorRT of this Python."""
    version = load_library("tensorrt").version
    definitions = {"TENSORRT_LIBRARY": loaded_library(), "TENSORRT_VERSION": version}
    run(["cmake", "-S", SAMPLE, "-B", folder, *(f"-D{name}={value}" for name, value in definitions.items())])
    run(["cmake", "--build", folder])
    return folder / "hidenerf_sample"


def arrays(folder: Path) -> dict[str, Any]:
    """The arrays of a folder of .npy files by name."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def python_frames(bundle: Path, inputs: Path) -> tuple[list[Any], dict[str, float]]:
    """Frame and alpha of each of the prepared inputs by the Python backend, and its times in milliseconds."""
    backend = open_backend("tensorrt", open_bundle(bundle), StageTimes())
    backend.encode_source(**arrays(inputs / "source"))
    driven = [arrays(folder) for folder in sorted((inputs / "frames").iterdir())]
    frames = [backend.render_secc(**one) for one in driven]
    milliseconds = []
    for _ in range(1000):
        start = time.perf_counter()
        backend.render_secc(**driven[-1])
        milliseconds.append(1e3 * (time.perf_counter() - start))
    backend.close()
    median, slow = (round(float(np.percentile(milliseconds, percent)), 4) for percent in (50, 99))
    return frames, {"median": median, "p99": slow}


def compared(bundle: Path, folder: Path) -> dict[str, Any]:
    """Build, prepare, run and compare, all files in `folder`."""
    sample, inputs, output = build_sample(folder / "build"), folder / "inputs", folder / "frames"
    run([sys.executable, SAMPLE / "prepare_inputs.py", bundle, inputs, "--frames", FRAMES])
    printed = run([sample, bundle, inputs, output, "--alpha"])
    found = TIMES.search(printed)
    assert found is not None
    expected, python_ms = python_frames(bundle, inputs)
    differences = []
    for index, (frame, alpha) in enumerate(expected):
        written = cv2.imread(str(output / f"{index:06}.png"))
        written_alpha = cv2.imread(str(output / f"{index:06}.alpha.png"), cv2.IMREAD_GRAYSCALE)
        assert written is not None
        assert written_alpha is not None
        grey = (np.clip(alpha, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        pairs = ((frame, written[..., ::-1]), (grey, written_alpha))
        differences.append(max(int(np.abs(one.astype(int) - other).max()) for one, other in pairs))
    return {
        "sample": printed.splitlines()[0],
        "frames": len(differences),
        "largest_difference": max(differences),
        "same_bytes": max(differences) == 0,
        "cpp_frame_ms": {"median": float(found[1]), "p99": float(found[2])},
        "python_frame_ms": python_ms,
    }


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = {"bundle": arguments.bundle.name} | compared(arguments.bundle, Path(folder))
    text = json.dumps(report)
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{arguments.bundle.name}.cpp.json").write_text(text + "\n")
    sys.exit(0 if report["same_bytes"] else 1)


if __name__ == "__main__":
    main()
