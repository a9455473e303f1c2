"""RaySampler's kernels on the host, against hidenerf.model.deformation in FP64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.model.config import PRESETS
from hidenerf.runtime.kernels import ray_sampler
from hidenerf.runtime.kernels.compile import FOLDER
from hidenerf.runtime.kernels.ray_sampler import SAMPLES_A_THREAD, THREADS, RaySampler, SampleSizes
from tests.support.host_gpu import EmulatedRayKernels, HostDevice
from tests.support.kernels.ray_scenes import BASE, DEMO, ODD, expected_samples, ray_scene
from tests.support.reference import frontal_camera

# What FP32 may leave of a point in the box, where a ray that grazes one of its faces enters and leaves uncertainly; and
# of features, of which a unit of the world has R/2.
POINT, FEATURE = 2e-5, 1e-5


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    monkeypatch.setattr(EmulatedRayKernels, "folder", emulated_kernels, raising=False)
    monkeypatch.setattr(ray_sampler, "Kernels", EmulatedRayKernels)


def wide_camera() -> Tensor:
    """The outer rays of its picture miss the box and the SECC."""
    return torch.from_numpy(frontal_camera(5.0, 0.6)).float()[None]


def sampled(sizes: SampleSizes, camera: Tensor, features: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both results; outputs are poisoned before the run."""
    device, size = HostDevice(), sizes.render_size
    half = features.dtype == torch.float16
    kind = np.float16 if half else np.float32
    points, looked_up = (np.full((rows, size, size), np.nan, kind) for rows in sizes.rows)
    results = device.allocate_copy(points), device.allocate_copy(looked_up)
    given = device.allocate_copy(camera.numpy()), device.allocate_copy(features.numpy())
    RaySampler(sizes).sample(*given, *results, half, HostDevice.stream)
    for array, address in zip((points, looked_up), results, strict=True):
        device.download(array, address)
    return points.astype(np.float64), looked_up.astype(np.float64)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [ODD, SampleSizes(16, 6, 3, 4), SampleSizes(16, 8, 2, 1), DEMO],
    ids=["odd", "tiny", "one feature", "demo"],
)
def test_points_and_looked_up_features_are_the_model_s(sizes: SampleSizes, fp16: bool) -> None:
    """In FP16 they are those of FP32 rounded once: half a unit in the last place more, and no error that adds up."""
    for seed in range(1 if sizes == DEMO else 3):
        camera, features = ray_scene(sizes, seed, fp16=fp16)
        points, looked_up = (one.numpy() for one in expected_samples(camera, features, sizes))
        found = sampled(sizes, camera, features)
        # Points of rays that miss the box may be far away.
        errors = POINT * (1 + points**2), np.array(FEATURE * sizes.render_size)
        for values, right, error in zip(found, (points, looked_up), errors, strict=True):
            rounding = 0.5 * np.spacing(np.abs(right).astype(np.float16)).astype(np.float64) if fp16 else 0.0
            assert (np.abs(values - right) <= error + rounding).all()
        assert np.abs(points).max() > 1
        assert looked_up.std() > 0.3


def test_a_ray_that_misses_the_box_has_its_points_in_one_place() -> None:
    """As `ray_points` has it, where far is near."""
    camera, features = wide_camera(), ray_scene(ODD, 1)[1]
    points, _ = sampled(ODD, camera, features)
    corner = points.reshape(ODD.samples, 3, 9, 9)[:, :, 0, 0]
    assert np.ptp(corner, 0).max() == 0
    right = expected_samples(camera, features, ODD)[0].numpy()
    assert (np.abs(points - right) <= POINT * (1 + right**2)).all()


def test_features_beside_the_secc_are_zero_even_where_its_edge_is_not_finite() -> None:
    camera, features = wide_camera(), ray_scene(ODD, 2)[1]
    right = expected_samples(camera, features, ODD)[1].numpy()
    features[:, :, :, 0] = features[:, :, 0] = np.nan
    _, looked_up = sampled(ODD, camera, features)
    outside = expected_samples(camera, torch.ones_like(features), ODD)[1].numpy() == 0
    assert outside.mean() > 0.2
    assert (looked_up[outside] == 0).all()
    inside = np.isfinite(looked_up)
    np.testing.assert_allclose(looked_up[inside], right[inside], atol=FEATURE * ODD.render_size)


def test_a_camera_that_is_not_finite_reads_no_features() -> None:
    camera, features = ray_scene(ODD, 0)
    camera[0, 3] = np.nan
    points, looked_up = sampled(ODD, camera, features)
    assert np.isnan(points[0::3]).all()
    assert (looked_up == 0).all()


def test_the_sizes_are_the_model_s_and_the_source_s() -> None:
    assert SampleSizes.of_model(PRESETS["base"].to_dict()) == BASE
    assert SampleSizes.of_model(PRESETS["demo"].to_dict()) == DEMO
    header, source = ((FOLDER / f"ray_samples.{suffix}").read_text() for suffix in ("cuh", "cu"))
    assert f"kSamplesAThread = {SAMPLES_A_THREAD};" in header
    assert source.count(f"__launch_bounds__({THREADS})") == 2
    assert [name for name, _ in BASE.definitions() if name not in source] == []
