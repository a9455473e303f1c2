"""RaySampler's kernels on the host, against hidenerf.model.deformation in FP64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.model.config import PRESETS
from hidenerf.runtime.kernels.compile import FOLDER
from hidenerf.runtime.kernels.ray_sampler import (
    PIXELS_A_BLOCK,
    SAMPLES_A_THREAD,
    THREADS,
    THREADS_OF_MAPS,
    RaySampler,
    SampleSizes,
)
from tests.support.host_gpu import HostDevice
from tests.support.kernels.plan_kernels import run_plan, use_emulated_plans
from tests.support.kernels.ray_scenes import BASE, DEMO, ODD, expected_samples, ray_scene, rays_plan
from tests.support.reference import frontal_camera

# What FP32 may leave of a point in the box, where a ray that grazes one of its faces enters and leaves uncertainly; and
# of features, of which a unit of the world has R/2.
POINT, FEATURE = 2e-5, 1e-5

Sampler = Callable[[SampleSizes, Tensor, Tensor], tuple[NDArray[np.float64], NDArray[np.float64]]]


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, emulated_kernels: Path) -> None:
    use_emulated_plans(monkeypatch, emulated_kernels)


def sampled_maps(
    sizes: SampleSizes, camera: Tensor, features: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same by a launch plan's step (`rays_plan`)."""
    of_points, of_looked_up = sizes.rows
    inputs = {"camera": camera.numpy(), "features": features.numpy()}
    _, read = run_plan(rays_plan(sizes), {}, inputs, {})
    found = []
    for values, rows in ((read("points"), of_points), (read("all")[..., 8:], of_looked_up)):
        assert not values[..., rows:].any()
        found.append(values[..., :rows].astype(np.float64).transpose(2, 0, 1))
    # What is beside them is not touched.
    assert np.isnan(read("all")[..., :8]).all()
    return found[0], found[1]


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


@pytest.mark.parametrize("sampler", [sampled, sampled_maps])
@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [ODD, SampleSizes(16, 6, 3, 4), SampleSizes(16, 8, 2, 1), DEMO],
    ids=["odd", "tiny", "one feature", "demo"],
)
def test_points_and_looked_up_features_are_the_model_s(sizes: SampleSizes, fp16: bool, sampler: Sampler) -> None:
    """In FP16 they are those of FP32 rounded once: half a unit in the last place more, and no error that adds up."""
    if sampler is sampled_maps and not fp16:
        pytest.skip("maps are FP16")
    for seed in range(1 if sizes == DEMO else 3):
        camera, features = ray_scene(sizes, seed, fp16=fp16)
        points, looked_up = (one.numpy() for one in expected_samples(camera, features, sizes))
        found = sampler(sizes, camera, features)
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
    _, in_map = sampled_maps(ODD, camera, features.half())
    outside = expected_samples(camera, torch.ones_like(features), ODD)[1].numpy() == 0
    assert outside.mean() > 0.2
    assert (looked_up[outside] == 0).all()
    assert (in_map[outside] == 0).all()
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
    assert f"kPixelsABlock = {PIXELS_A_BLOCK};" in header
    assert source.count(f"__launch_bounds__({THREADS_OF_MAPS})") == 1
    assert source.count(f"__launch_bounds__({THREADS})") == 2
    assert [name for name, _ in BASE.definitions() if name not in source] == []
