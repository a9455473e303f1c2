"""The C++ sample on an emulation of CUDA and TensorRT, and compiled against TensorRT's real headers."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.cpp_sample.build import (
    Tensor,
    build_emulated,
    build_with_headers,
    emulated_outputs,
    plan_text,
)
from tests.support.made_once import MadeOnce

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")]

SIZE = 8
SOURCE: list[Tensor] = [("source_image", "float32", (1, 3, SIZE, SIZE)), ("source_camera", "float32", (1, 25))]
FEATURES: list[Tensor] = [("planes_0", "float16", (1, 3, 4, 4)), ("led_canonical", "float16", (1, 5))]
SECC: Tensor = ("secc_driving", "float32", (1, 3, 4, 4))
CAMERA: Tensor = ("camera", "float32", (1, 25))
SIGHT: Tensor = ("face_sight", "float32", (1, 4, SIZE, SIZE))
DEFORMATION: Tensor = ("deformation", "float32", (1, 6, 4, 4))
PICTURES: list[Tensor] = [("frame", "uint8", (SIZE, SIZE, 3)), ("alpha", "float32", (SIZE, SIZE))]
LED_INPUTS = [SECC, CAMERA, FEATURES[1]]
REFINER_INPUTS = [DEFORMATION, CAMERA, FEATURES[0], SIGHT]
PLANS = {
    "source_encoder": plan_text(SOURCE, FEATURES),
    "led": plan_text(LED_INPUTS, [DEFORMATION]),
    "renderer_refiner": plan_text(REFINER_INPUTS, PICTURES),
}
# Of the emulation: version and SM.
SETS = {8: "tensorrt-8.6.2-sm87", 10: "tensorrt-10.12.0.36-sm87"}
FRAMES = 3

Arrays = dict[str, np.ndarray]


def random_arrays(tensors: list[Tensor], seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape).astype(dtype) for name, dtype, shape in tensors}


class Case:
    """A bundle with engines of the emulation, and prepared inputs."""

    def __init__(self, sample: Path, folder: Path, major: int) -> None:
        self.sample, self.bundle, self.inputs, self.output = sample, *(folder / n for n in ("bundle", "inputs", "out"))
        self.plans = self.bundle / "engines" / SETS[major]
        self.plans.mkdir(parents=True)
        (self.bundle / "manifest.json").write_text("{}")
        for name, text in PLANS.items():
            (self.plans / f"{name}.plan").write_text(text)
        self.source = random_arrays(SOURCE, 0)
        self.frames = [random_arrays([SECC, CAMERA, SIGHT], 1 + index) for index in range(FRAMES)]
        self.write("source", self.source)
        for index, frame in enumerate(self.frames):
            self.write(f"frames/{index:06}", frame)

    def write(self, name: str, arrays: Arrays) -> None:
        (self.inputs / name).mkdir(parents=True, exist_ok=True)
        for tensor, array in arrays.items():
            np.save(self.inputs / name / f"{tensor}.npy", array)

    def run(self, *options: str, gpu: str = "") -> "subprocess.CompletedProcess[str]":
        paths = [str(path) for path in (self.sample, self.bundle, self.inputs, self.output)]
        environment = os.environ | {"HIDENERF_HOST_GPU": gpu}
        command = [*paths, "--replays", "5", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def expected(self, frame: Arrays, features: Arrays) -> Arrays:
        known = frame | features
        made = emulated_outputs([known[name] for name, _, _ in LED_INPUTS], [DEFORMATION])
        known = known | made
        return dict(emulated_outputs([known[name] for name, _, _ in REFINER_INPUTS], PICTURES))

    def features(self) -> Arrays:
        return dict(emulated_outputs(list(self.source.values()), FEATURES))

    def require_frames(self, features: Arrays) -> None:
        for index, frame in enumerate(self.frames):
            right = self.expected(frame, features)
            written = cv2.imread(str(self.output / f"{index:06}.png"))
            assert written is not None
            np.testing.assert_array_equal(written[..., ::-1], right["frame"])
        assert sorted(path.name for path in self.output.glob("0?????.png")) == [f"{i:06}.png" for i in range(FRAMES)]

    def require_error(self, sentence: str, *options: str, gpu: str = "") -> None:
        done = self.run(*options, gpu=gpu)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("hidenerf_sample: ")
        assert done.stderr.count("\n") == 1
        assert sentence in done.stderr


@pytest.fixture(params=[8, 10])
def case(request: pytest.FixtureRequest, made_once: MadeOnce, tmp_path: Path) -> Case:
    """Once for each spelling of TensorRT."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        build_emulated(folder, request.param)

    folder = made_once(f"cpp-sample-{request.param}", fill)
    return Case(folder / f"hidenerf_sample_{request.param}", tmp_path, request.param)


@pytest.fixture
def one_case(made_once: MadeOnce, tmp_path: Path) -> Case:
    """Of one spelling, for mistakes."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        build_emulated(folder, 10)

    return Case(made_once("cpp-sample-10", fill) / "hidenerf_sample_10", tmp_path, 10)


def test_tensors_are_shared_by_name_and_every_frame_is_written(case: Case) -> None:
    done = case.run("--alpha")
    assert done.returncode == 0, done.stderr
    case.require_frames(case.features())
    lines = done.stdout.splitlines()
    assert lines[0].endswith("SM 87: source_encoder, led, renderer_refiner")
    assert lines[1] == f"{FRAMES} frames written to {case.output}"
    assert lines[2].startswith("frame: median ")
    for index, frame in enumerate(case.frames):
        grey = cv2.imread(str(case.output / f"{index:06}.alpha.png"), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        np.testing.assert_array_equal(grey, np.rint(case.expected(frame, case.features())["alpha"] * 255))


def test_without_the_source_encoder_features_come_from_files(case: Case) -> None:
    (case.plans / "source_encoder.plan").unlink()
    features = random_arrays(FEATURES, 9)
    case.write("source", features)
    done = case.run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(": led, renderer_refiner")
    case.require_frames(features)


def test_a_folder_of_plans_will_do(one_case: Case) -> None:
    one_case.bundle = one_case.plans
    assert one_case.run().returncode == 0
    one_case.require_frames(one_case.features())


@pytest.mark.parametrize("beside", [False, True])
def test_a_plugin_is_given_or_lies_beside(one_case: Case, tmp_path: Path, beside: bool) -> None:
    (one_case.plans / "led.plan").write_text(PLANS["led"] + "needs-plugin\n")
    one_case.require_error("no creator of TriplaneRender")
    library = (one_case.plans if beside else tmp_path) / "libhidenerf_plugin.so"
    library.touch()
    assert one_case.run(*([] if beside else ["--plugin", str(library)])).returncode == 0


def _without_plan(case: Case) -> str:
    (case.plans / "led.plan").unlink()
    return "led.plan: missing or empty; build the engines again"


def _damaged_plan(case: Case) -> str:
    (case.plans / "led.plan").write_text("damaged\n")
    return "TensorRT 10.12.0 does not load it (not a plan)"


def _failing_plan(case: Case) -> str:
    (case.plans / "led.plan").write_text(PLANS["led"] + "fails\n")
    return "The engine led does not run on this GPU (an illegal address)"


def _foreign_plan(case: Case) -> str:
    (case.plans / "led.plan").write_text(PLANS["led"].replace("float32 1 6 4 4", "float32 1 9 4 4"))
    return "deformation is FP32 [1, 9, 4, 4] and FP32 [1, 6, 4, 4]; build all of them from one bundle"


def _plan_of_other_type(case: Case) -> str:
    (case.plans / "led.plan").write_text(PLANS["led"].replace("camera float32", "camera int32"))
    return "the tensor camera is not FP32, FP16 or UINT8"


def _plan_of_open_size(case: Case) -> str:
    (case.plans / "led.plan").write_text(PLANS["led"].replace("camera float32 1", "camera float32 -1"))
    return "the tensor camera is not of fixed size"


def _plan_without_a_frame(case: Case) -> str:
    (case.plans / "renderer_refiner.plan").write_text(plan_text(REFINER_INPUTS, PICTURES[1:]))
    return "No engine makes frame"


def _no_engines(case: Case) -> str:
    case.plans.rename(case.plans.with_name("tensorrt-10.3.0-sm90"))
    return "no engines for TensorRT 10.12.0 and SM 87, only tensorrt-10.3.0-sm90; build them with: hidenerf-export"


def _two_sets(case: Case) -> str:
    (case.bundle / "engines" / "tensorrt-10.12.0.35-sm87").mkdir()
    return "several folders are for TensorRT 10.12.0 and SM 87; give one of them"


def _no_bundle(case: Case) -> str:
    case.bundle = case.bundle / "nowhere"
    return "nowhere: no such folder"


def _no_frames(case: Case) -> str:
    shutil.rmtree(case.inputs / "frames")
    return "it has no frames/000000"


def _missing_array(case: Case) -> str:
    (case.inputs / "frames" / "000001" / "camera.npy").unlink()
    return "camera.npy: cannot be read"


def _truncated_array(case: Case) -> str:
    path = case.inputs / "source" / "source_image.npy"
    path.write_bytes(path.read_bytes()[:-5])
    return "source_image.npy: has 763 bytes of data where FP32 [1, 3, 8, 8] takes 768"


def _wrong_shape(case: Case) -> str:
    case.write("frames/000002", {"camera": np.zeros((1, 16), np.float32)})
    return "camera.npy: is FP32 [1, 16] where the engines need FP32 [1, 25]"


def _wrong_type(case: Case) -> str:
    case.write("source", {"source_camera": np.zeros((1, 25), np.float16)})
    return "source_camera.npy: is FP16 [1, 25] where the engines need FP32 [1, 25]"


def _output_is_a_file(case: Case) -> str:
    case.output.touch()
    return "out: cannot make this folder"


MISTAKES = [
    _without_plan,
    _damaged_plan,
    _failing_plan,
    _foreign_plan,
    _plan_of_other_type,
    _plan_of_open_size,
    _plan_without_a_frame,
    _no_engines,
    _two_sets,
    _no_bundle,
    _no_frames,
    _missing_array,
    _truncated_array,
    _wrong_shape,
    _wrong_type,
    _output_is_a_file,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__.strip("_"))
def test_a_mistake_is_one_sentence(one_case: Case, mistake: Callable[[Case], str]) -> None:
    one_case.require_error(mistake(one_case))


@pytest.mark.parametrize(
    ("gpu", "sentence"),
    [("none", "No NVIDIA GPU is usable (no CUDA-capable device is detected)"), ("full", "The GPU's memory is full")],
)
def test_without_a_gpu_or_memory_it_says_so(one_case: Case, gpu: str, sentence: str) -> None:
    one_case.require_error(sentence, gpu=gpu)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--replays", "0"], "--replays 0: give a whole number"),
        (["--replays", "3x"], "--replays 3x"),
        (["--plugin"], "--plugin needs a value"),
        (["--plugin", "a.txt"], "a.txt: TensorRT does not load this plugin"),
        (["--fast"], "There is no option --fast"),
        (["another"], "Give three folders"),
    ],
)
def test_options_are_checked(one_case: Case, options: list[str], sentence: str) -> None:
    one_case.require_error(sentence, *options)


def test_help_lists_every_option(one_case: Case) -> None:
    done = one_case.run("--help")
    assert done.returncode == 0
    readme = Path("examples/cpp/README.md").read_text(encoding="utf-8")
    for option in ("--plugin LIBRARY", "--alpha", "--replays N"):
        assert option in done.stdout
        assert f"`{option}`" in readme


@pytest.mark.parametrize("version", ["installed", "8.6.1", "10.12.0", "11.1.0"])
def test_compiles_against_the_real_headers_without_a_warning(version: str, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    sample, printed = build_with_headers(tmp_path, version)
    assert "warning" not in printed
    done = subprocess.run([str(sample)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "hidenerf_sample: Give three folders, BUNDLE INPUTS OUTPUT; see --help.\n"
