"""Every backend on real bundles: what it renders, what it keeps, and what it refuses.

The CUDA backend runs twice: on a GPU, and without one on the emulated kernels (host_gpu.py). So does TensorRT: what its
emulation (host_tensorrt.py) tests is the backend's own doing, and nothing of TensorRT.
"""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.backends import BACKEND_NAMES, onnxruntime_cuda
from hidenerf.runtime.backends import tensorrt as tensorrt_backend
from hidenerf.runtime.backends.base import Backend
from hidenerf.runtime.backends.onnxruntime_cuda import import_onnxruntime
from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import Bundle, GraphSpec, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.profiling import StageTimes
from tests.support.engine_builds import build_engines
from tests.support.host_gpu import use_host_gpu
from tests.support.host_tensorrt import use_host_tensorrt, write_emulated_set
from tests.support.model_inputs import Float, motion, source

EMULATED = "onnxruntime-cuda, emulated"
EMULATED_TENSORRT = {"tensorrt, emulated": "tensorrt", "tensorrt-rtx, emulated": "tensorrt-rtx"}
# The CUDA backend's kernel computes in FP16 what the graph computes in FP32.
LEAST_PSNR = 45.0


@pytest.fixture(scope="module", params=["bundle_fp32", "bundle_fp16", "bundle_aligned"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A copy, which may get engines."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    return open_bundle(shutil.copytree(request.getfixturevalue(request.param), folder))


@pytest.fixture(
    params=[
        "onnxruntime-cpu",
        EMULATED,
        *EMULATED_TENSORRT,
        *(pytest.param(name, marks=pytest.mark.gpu) for name in ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx")),
    ],
)
def name(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    emulated_kernels: Path,
    tmp_path: Path,
    bundle: Bundle,
) -> str:
    """A backend's name, which opens `bundle` here."""
    if backend := EMULATED_TENSORRT.get(request.param):
        use_host_tensorrt(monkeypatch, emulated_kernels, tmp_path / "cache")
        write_emulated_set(bundle, backend)
        return backend
    if request.param in EMULATED_TENSORRT.values():
        build_engines(bundle, request.param)
    if request.param == EMULATED:
        use_host_gpu(monkeypatch, emulated_kernels)
        return "onnxruntime-cuda"
    if request.param == "onnxruntime-cuda":
        try:
            import_onnxruntime()
            Device().close()
        except HideNerfError as error:
            pytest.skip(f"{error}")
    return str(request.param)


def opened(name: str, bundle: Bundle, times: StageTimes | None = None) -> Backend:
    return open_backend(name, bundle, times or StageTimes())


@pytest.fixture
def backend(bundle: Bundle, name: str) -> Iterator[Backend]:
    backend = opened(name, bundle)
    yield backend
    backend.close()


def agree(backend: str, frame: NDArray, expected: NDArray) -> bool:
    """Whether a frame is the CPU's: to one step on the CPU, as a picture elsewhere."""
    difference = np.abs(frame.astype(int) - expected.astype(int))
    if backend == "onnxruntime-cpu":
        return bool(difference.max() <= 1)
    return bool(10 * np.log10(255.0**2 / max(np.square(difference).mean(), 1e-9)) >= LEAST_PSNR)


def chained_by_hand(bundle: Bundle, source_: tuple[Float, ...], motion_: tuple[Float, ...]) -> dict[str, NDArray]:
    """The three graphs one after the other through ONNX Runtime's plainest interface."""
    names = ["source_image", "source_camera", "secc_canonical", "secc_driving", "camera"]
    names += ["face_sight"] * bundle.takes_face_sight
    values: dict[str, NDArray] = dict(zip(names, (*source_, *motion_), strict=True))
    for name in ("source_encoder", "led", "renderer_refiner"):
        graph = bundle.graphs[name]
        session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
        outputs = list(graph.outputs)
        results = session.run(outputs, {key: values[key] for key in graph.inputs})
        values |= dict(zip(outputs, results, strict=True))
    return values


def test_backends_open_by_name(backend: Backend, name: str) -> None:
    assert name in BACKEND_NAMES
    assert backend.name == name


def test_an_unknown_backend_is_refused_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(HideNerfError, match=r"'cuda'.*onnxruntime-cpu"):
        open_backend("cuda", bundle, StageTimes())


def test_the_backend_is_the_three_graphs_in_a_row(bundle: Bundle, backend: Backend) -> None:
    backend.encode_source(*source(bundle))
    frame, alpha = backend.render_secc(*motion(bundle))
    expected = chained_by_hand(bundle, source(bundle), motion(bundle))
    assert frame.dtype == np.uint8
    assert frame.shape == (bundle.image_size, bundle.image_size, 3)
    assert alpha.dtype == np.float32
    assert alpha.shape == (bundle.image_size, bundle.image_size)
    assert frame.std() > 1
    assert agree(backend.name, frame, expected["frame"])
    np.testing.assert_allclose(alpha, expected["alpha"], atol=1e-5 if backend.name == "onnxruntime-cpu" else 5e-3)


def test_rendering_twice_gives_the_same_bytes(bundle: Bundle, backend: Backend) -> None:
    backend.encode_source(*source(bundle))
    first = backend.render_secc(*motion(bundle))
    backend.render_secc(*motion(bundle, seed=1, yaw=-20))
    second = backend.render_secc(*motion(bundle))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_a_returned_frame_is_the_callers_own(bundle: Bundle, backend: Backend) -> None:
    backend.encode_source(*source(bundle))
    frame, alpha = backend.render_secc(*motion(bundle))
    kept, kept_alpha = frame.copy(), alpha.copy()
    other, other_alpha = backend.render_secc(*motion(bundle, seed=1, yaw=-20))
    assert not np.array_equal(kept, other)
    assert not np.array_equal(kept_alpha, other_alpha)
    assert np.array_equal(frame, kept)
    assert np.array_equal(alpha, kept_alpha)
    frame[:], alpha[:] = 7, 7.0
    again, again_alpha = backend.render_secc(*motion(bundle))
    assert np.array_equal(again, kept)
    assert np.array_equal(again_alpha, kept_alpha)


def test_frames_outlive_the_backend(bundle: Bundle, name: str) -> None:
    backend = opened(name, bundle)
    backend.encode_source(*source(bundle))
    frame, alpha = backend.render_secc(*motion(bundle))
    kept = frame.copy(), alpha.copy()
    backend.close()
    assert np.array_equal(frame, kept[0])
    assert np.array_equal(alpha, kept[1])


def test_a_new_source_takes_the_old_ones_place(bundle: Bundle, backend: Backend) -> None:
    backend.encode_source(*source(bundle))
    first, _ = backend.render_secc(*motion(bundle))
    backend.encode_source(*source(bundle, seed=5))
    second, _ = backend.render_secc(*motion(bundle))
    assert not np.array_equal(first, second)
    expected = chained_by_hand(bundle, source(bundle, seed=5), motion(bundle))["frame"]
    assert agree(backend.name, second, expected)


def test_inputs_need_not_be_contiguous_nor_single_precision(bundle: Bundle, backend: Backend) -> None:
    picture, camera, secc = source(bundle)
    backend.encode_source(picture, camera, secc)
    expected, _ = backend.render_secc(*motion(bundle))
    wide = np.repeat(picture, 2, axis=-1)[..., ::2]
    assert not wide.flags.c_contiguous
    backend.encode_source(wide, camera.astype(np.float64), np.asfortranarray(secc))
    driving, view, *sight = motion(bundle)
    found, _ = backend.render_secc(np.asfortranarray(driving), view.astype(np.float64), *map(np.asfortranarray, sight))
    assert np.array_equal(found, expected)


def test_the_callers_inputs_are_copied(bundle: Bundle, backend: Backend) -> None:
    arrays = source(bundle)
    backend.encode_source(*arrays)
    expected, _ = backend.render_secc(*motion(bundle))
    for array in arrays:
        array[:] = 0
    found, _ = backend.render_secc(*motion(bundle))
    assert np.array_equal(found, expected)


def test_rendering_before_a_source_is_refused(bundle: Bundle, backend: Backend) -> None:
    with pytest.raises(HideNerfError, match="No source"):
        backend.render_secc(*motion(bundle))


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_source_of_the_wrong_shape_is_refused_by_name(bundle: Bundle, backend: Backend, position: int) -> None:
    arrays = list(source(bundle))
    good, bad = list(arrays[position].shape), list(arrays[position].shape)
    bad[-1] += 1
    arrays[position] = np.zeros(bad, np.float32)
    with pytest.raises(HideNerfError) as caught:
        backend.encode_source(*arrays)
    name = ("source_image", "source_camera", "secc_canonical")[position]
    assert str(caught.value).startswith(f"{name} ")
    assert str(good) in str(caught.value)
    assert str(bad) in str(caught.value)


@pytest.mark.parametrize("position", [0, 1])
def test_motion_of_the_wrong_shape_is_refused_and_the_next_frame_is_right(
    bundle: Bundle, backend: Backend, position: int
) -> None:
    backend.encode_source(*source(bundle))
    expected, _ = backend.render_secc(*motion(bundle))
    arrays = list(motion(bundle))
    arrays[position] = arrays[position][0]
    with pytest.raises(HideNerfError, match=("secc_driving", "camera")[position]):
        backend.render_secc(*arrays)
    found, _ = backend.render_secc(*motion(bundle))
    assert np.array_equal(found, expected)


def turned_round(graph: GraphSpec) -> GraphSpec:
    inputs, outputs = (dict(reversed(tensors.items())) for tensors in (graph.inputs, graph.outputs))
    return dataclasses.replace(graph, inputs=inputs, outputs=outputs)


def test_tensors_bind_by_name_and_not_by_position(bundle: Bundle, name: str) -> None:
    """A manifest that lists the tensors in another order describes the same bundle."""
    parts = bundle.kernel_parts
    assert parts is not None
    turned = dataclasses.replace(
        bundle,
        graphs={key: turned_round(graph) for key, graph in bundle.graphs.items()},
        kernel_parts=dataclasses.replace(parts, refiner=turned_round(parts.refiner)),
    )
    frames = []
    for described in (bundle, turned):
        backend = opened(name, described)
        backend.encode_source(*source(bundle))
        frames.append(backend.render_secc(*motion(bundle))[0])
        backend.close()
    assert np.array_equal(*frames)


def test_the_time_of_each_stage_is_measured(bundle: Bundle, name: str) -> None:
    times = StageTimes()
    backend = opened(name, bundle, times)
    backend.encode_source(*source(bundle))
    for _ in range(3):
        backend.render_secc(*motion(bundle))
    backend.close()
    counts = {line.split()[0]: line.split()[1] for line in times.table().splitlines()[1:]}
    frame = {"onnxruntime-cpu": ("led", "renderer_refiner"), "onnxruntime-cuda": onnxruntime_cuda.STAGES}
    assert counts == {"source_encoder": "1"} | dict.fromkeys(frame.get(name, tensorrt_backend.STAGES), "3")


def test_a_graph_that_onnx_runtime_does_not_load_is_named(bundle_fp32: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_fp32, folder)
    broken = open_bundle(folder)
    (folder / "led.onnx").write_bytes(b"not a graph")
    with pytest.raises(HideNerfError, match=r"led\.onnx"):
        open_backend("onnxruntime-cpu", broken, StageTimes())


WITHOUT_ONNXRUNTIME = """
import sys
sys.modules["onnxruntime"] = None
from pathlib import Path
from hidenerf.runtime.backends.open import open_backend
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.device import Device
from hidenerf.runtime.profiling import StageTimes
try:
    open_backend("auto", open_bundle(Path(sys.argv[1])), StageTimes())
except HideNerfError as error:
    print(error)
"""


def test_without_onnxruntime_the_error_says_what_to_install(bundle_fp32: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNXRUNTIME, str(bundle_fp32)], capture_output=True, text=True, check=True
    )
    assert "pip install 'hidenerf[cpu]'" in result.stdout
