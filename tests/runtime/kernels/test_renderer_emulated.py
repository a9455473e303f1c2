"""TriplaneRender's kernels on the host, lane by lane, against PyTorch in FP64; and their parts against mathematics."""

import ctypes
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hidenerf.model.geometry import rays_from_camera
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.emulated import EmulatedRenderer, aligned, build, pointer
from tests.support.kernels.scenes import (
    ODD,
    Scene,
    camera_of,
    head_scene,
    placed_reference,
    plane_sizes,
    random_scene,
    reference,
)

# One level and no padding; three levels with a deep ray; more hidden units than 64.
PLAIN = RendererSizes(render_size=8, samples=4, rendered=15, levels=1, channels=16, finest=8, width=32, octaves=1)
DEEP = RendererSizes(render_size=8, samples=24, rendered=31, levels=3, channels=16, finest=32, width=64, octaves=6)
WIDE = RendererSizes(render_size=5, samples=5, rendered=3, levels=2, channels=32, finest=16, width=96, octaves=2)
ALL = {"odd": ODD, "plain": PLAIN, "deep": DEEP, "wide": WIDE}

# FP16 planes, weights and hidden values.
LARGEST = 1.5e-3
# Canonical points of these scenes: |p + Δ| stays below this, so errors of weights count as much more in `place`.
FARTHEST = 2.0


def largest_error(scene: Scene, octaves: int, rendered: NDArray, alpha: NDArray) -> float:
    expected, expected_alpha = (t.numpy() for t in reference(scene, octaves))
    assert np.isfinite(rendered).all()
    assert np.isfinite(alpha).all()
    return float(max(np.abs(rendered - expected).max(), np.abs(alpha - expected_alpha).max()))


@pytest.mark.parametrize("name", ALL)
def test_matches_pytorch_in_fp64(name: str, emulated_kernels: Path) -> None:
    sizes = ALL[name]
    ready = EmulatedRenderer(sizes, random_scene(sizes, 11), emulated_kernels)
    assert not np.isnan(ready.merged).any()
    assert largest_error(ready.scene, sizes.octaves, *ready.render()) < LARGEST
    assert largest_error(ready.scene, sizes.octaves, *ready.render_direct()) < LARGEST
    assert ready.flags[0] == 0


def test_light_that_is_left_where_a_ray_ends_is_below_the_bound(emulated_kernels: Path) -> None:
    """An opaque head: most of what it hides is never computed, and 0.1 % of the light is all that may be missing."""
    ready = EmulatedRenderer(DEEP, head_scene(DEEP, 1), emulated_kernels)
    rendered, alpha = ready.render()
    expected, expected_alpha = reference(ready.scene, DEEP.octaves)
    assert (expected_alpha > 0.999).double().mean() > 0.15
    assert (expected_alpha < 0.01).double().mean() > 0.3
    assert largest_error(ready.scene, DEEP.octaves, rendered, alpha) < 5e-3
    assert np.abs(rendered - expected.numpy()).mean() < 3e-4


def test_fp16_output_is_the_fp32_output_rounded(emulated_kernels: Path) -> None:
    ready = EmulatedRenderer(ODD, random_scene(ODD, 2), emulated_kernels)
    full, alpha = ready.render()
    fp16, fp16_alpha = ready.render(fp16=True)
    np.testing.assert_array_equal(fp16, full.astype(np.float16))
    np.testing.assert_array_equal(alpha, fp16_alpha)


def with_place(sizes: RendererSizes) -> RendererSizes:
    return dataclasses.replace(sizes, place=1)


def place_error(scene: Scene, octaves: int, place: NDArray) -> float:
    expected = placed_reference(scene, octaves)[2].numpy()
    assert place.shape == expected.shape
    assert np.isfinite(place).all()
    return float(np.abs(place - expected).max())


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_place_is_pytorchs_in_fp64(name: str, fp16: bool, emulated_kernels: Path) -> None:
    """And the other two outputs are, bit for bit, those of the kernels without it."""
    sizes = ALL[name]
    scene = random_scene(sizes, 11)
    plain = EmulatedRenderer(sizes, scene, emulated_kernels)
    ready = EmulatedRenderer(with_place(sizes), scene, emulated_kernels)
    for found, same in zip(ready.render(fp16), plain.render(fp16), strict=True):
        np.testing.assert_array_equal(found, same)
    assert place_error(scene, sizes.octaves, ready.place) < FARTHEST * LARGEST
    for found, same in zip(ready.render_direct(), plain.render_direct(), strict=True):
        np.testing.assert_array_equal(found, same)
    assert place_error(scene, sizes.octaves, ready.place) < FARTHEST * LARGEST
    assert plain.place.size == 0


def test_place_misses_no_more_than_the_light_that_is_left_at_points_so_far_away(emulated_kernels: Path) -> None:
    scene = head_scene(DEEP, 1)
    ready = EmulatedRenderer(with_place(DEEP), scene, emulated_kernels)
    for run in (ready.render, ready.render_direct):
        run()
        assert place_error(scene, DEEP.octaves, ready.place) < FARTHEST * 5e-3
        assert np.abs(ready.place - placed_reference(scene, DEEP.octaves)[2].numpy()).mean() < FARTHEST * 3e-4


def test_place_counts_samples_whose_colours_are_skipped(emulated_kernels: Path) -> None:
    """As alpha does, so that their ratio is a point."""
    scene = random_scene(ODD, 3)
    scene.weight_2[-1] = 0.0
    scene.bias_2[-1] = -16.0  # weights of about 4e-7
    ready = EmulatedRenderer(with_place(ODD), scene, emulated_kernels)
    rendered, alpha = ready.render()
    expected, expected_alpha, expected_place = (t.numpy() for t in placed_reference(scene, ODD.octaves))
    assert (rendered == 0).all()
    # Half a unit in the last place of 1 for each sample, in `1 - exp`.
    rounding = ODD.samples * 2.0**-24
    assert np.abs(expected).max() < ODD.samples * 1e-6
    assert np.abs(expected_place).max() > 3 * FARTHEST * rounding
    assert np.abs(alpha - expected_alpha).max() < 2 * rounding
    assert np.abs(ready.place - expected_place).max() < FARTHEST * rounding


def test_what_is_not_finite_counts_as_not_moved_in_place(emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    bad = scene.deformation.clone()
    bad[0, 0, 2, 2], bad[0, 4, 3, 5], bad[0, 2, 4, 4] = math.nan, math.inf, -math.inf
    # With features of outside on either side, whose mean is the observed point.
    sides = [scene._replace(deformation=torch.where(torch.isfinite(bad), bad, torch.tensor(x))) for x in (50.0, -50.0)]
    expected = sum(placed_reference(side, ODD.octaves)[2].numpy() for side in sides) / 2
    ready = EmulatedRenderer(with_place(ODD), scene._replace(deformation=bad), emulated_kernels)
    for run in (ready.render, ready.render_direct):
        ready.flags[0] = 0
        run()
        assert np.abs(ready.place - expected).max() < FARTHEST * LARGEST
        assert ready.flags[0] == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_place_is_zero_where_a_camera_sees_nothing(value: float, emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    for entry in (0, 3, 11, 16, 20):
        camera = scene.camera.clone()
        camera[0, entry] = value
        ready = EmulatedRenderer(with_place(ODD), scene._replace(camera=camera), emulated_kernels)
        for run in (ready.render, ready.render_direct):
            _, alpha = run()
            assert np.isfinite(ready.place).all()
            assert (ready.place[:, alpha == 0] == 0).all()


def test_points_outside_the_box_have_no_features(emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    ready = EmulatedRenderer(ODD, scene._replace(deformation=scene.deformation * 20), emulated_kernels)
    assert largest_error(ready.scene, ODD.octaves, *ready.render()) < LARGEST
    assert largest_error(ready.scene, ODD.octaves, *ready.render_direct()) < LARGEST
    assert ready.flags[0] == 0


def test_what_is_not_finite_lies_outside_and_is_said(emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    bad = scene.deformation.clone()
    bad[0, 0, 2, 2], bad[0, 4, 3, 5], bad[0, 2, 4, 4] = math.nan, math.inf, -math.inf
    outside = scene._replace(deformation=torch.where(torch.isfinite(bad), bad, torch.full_like(bad, 50.0)))
    ready = EmulatedRenderer(ODD, scene._replace(deformation=bad), emulated_kernels)
    assert largest_error(outside, ODD.octaves, *ready.render()) < LARGEST
    assert ready.flags[0] == 1
    ready.flags[0] = 0
    assert largest_error(outside, ODD.octaves, *ready.render_direct()) < LARGEST
    assert ready.flags[0] == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_camera_that_is_not_finite_sees_nothing(value: float, emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    for entry in (0, 3, 11, 16, 20):
        camera = scene.camera.clone()
        camera[0, entry] = value
        rendered, alpha = EmulatedRenderer(ODD, scene._replace(camera=camera), emulated_kernels).render()
        # An infinite focal length is a narrow view, and that is finite.
        if not (math.isinf(value) and entry >= 16):
            assert (rendered == 0).all()
            assert (alpha == 0).all()
        assert np.isfinite(rendered).all()


def test_a_camera_that_looks_away_sees_nothing(emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    camera = scene.camera.clone()
    camera[0, [0, 2, 4, 6, 8, 10]] *= -1
    rendered, alpha = EmulatedRenderer(ODD, scene._replace(camera=camera), emulated_kernels).render()
    assert (rendered == 0).all()
    assert (alpha == 0).all()


def test_planes_beyond_fp16_are_said(emulated_kernels: Path) -> None:
    scene = random_scene(ODD, 3)
    scene.planes[0][0, 0, 0, 3, 3] = 1e7
    ready = EmulatedRenderer(ODD, scene, emulated_kernels)
    assert ready.flags[0] == 2
    assert np.isfinite(ready.merged).all()


def test_merged_planes_are_the_first_layer_of_the_sampled_planes(emulated_kernels: Path) -> None:
    """At any point of the box: bilinear in the merged planes = first layer of the mean of bilinear samples."""
    scene = random_scene(DEEP, 4)
    ready = EmulatedRenderer(DEEP, scene, emulated_kernels)
    points = torch.rand(1, 3, 1, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    from hidenerf.model.rendering import sample_planes
    from hidenerf.runtime.kernels.packing import unit_order

    features = torch.cat([sample_planes(p.double(), points) for p in scene.planes], 1)[0, :, 0]
    expected = scene.weight_1[:, : len(features)].double() @ features
    side = DEEP.points
    merged = torch.from_numpy(ready.merged.reshape(3, side, side, -1).astype(np.float64)).permute(0, 3, 1, 2)
    # The same world coordinates on a grid whose ends stand at ±(1 + 1 / coarsest).
    reach = 1 + 1 / plane_sizes(DEEP)[0]
    grid = torch.stack([points[0, [a, b], 0].T for a, b in ((0, 1), (0, 2), (1, 2))])[:, None] / reach
    found = torch.nn.functional.grid_sample(merged, grid, padding_mode="zeros", align_corners=True)[:, :, 0].sum(0)
    assert (found - expected[unit_order(DEEP.padded_width)]).abs().max() < 5e-3 * expected.abs().max()


@pytest.fixture(scope="module")
def parts(emulated_kernels: Path) -> ctypes.CDLL:
    library = build("kernels/renderer_emulated.cpp", emulated_kernels, *ODD.definitions())
    library.to_half.restype, library.to_half.argtypes = ctypes.c_ushort, [ctypes.c_float]
    library.from_half.restype, library.from_half.argtypes = ctypes.c_float, [ctypes.c_ushort]
    for name in ("exact_sigmoid", "exact_softplus"):
        getattr(library, name).restype, getattr(library, name).argtypes = ctypes.c_float, [ctypes.c_float]
    return library


def test_every_half_is_read_and_written(parts: ctypes.CDLL) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float32)
    read = np.array([parts.from_half(int(b)) for b in bits], np.float32)
    np.testing.assert_array_equal(read, values)
    written = np.array([parts.to_half(float(v)) for v in values], np.uint16)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(written[finite], bits[finite])


@given(value=st.floats(width=32, allow_nan=False))
@settings(max_examples=300)
def test_halves_are_rounded_to_nearest_even(parts: ctypes.CDLL, value: float) -> None:
    with np.errstate(over="ignore"):
        assert parts.to_half(value) == np.float32(value).astype(np.float16).view(np.uint16)


def test_elementary_functions(parts: ctypes.CDLL) -> None:
    for x in (-200.0, -30.0, -3.0, -1e-3, 0.0, 1e-3, 2.0, 30.0, 200.0):
        assert parts.exact_sigmoid(x) == pytest.approx(1 / (1 + math.exp(-x)), abs=1e-6)
        assert parts.exact_softplus(x) == pytest.approx(math.log1p(math.exp(-abs(x))) + max(x, 0), rel=1e-6, abs=1e-7)
    out = np.zeros(2, np.float32)
    parts.sine_cosine(ctypes.c_float(0.25), pointer(out))
    np.testing.assert_allclose(out, math.sqrt(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("position", "cell", "fraction"),
    [(0.0, 0, 0.0), (2.75, 2, 0.75), (4.0, 3, 1.0), (-7.0, 0, 0.0), (9.0, 3, 1.0), (math.nan, 0, 0.0)],
)
def test_cells_of_a_line_of_five_points(parts: ctypes.CDLL, position: float, cell: int, fraction: float) -> None:
    index, found = ctypes.c_int(), ctypes.c_float()
    parts.cell(ctypes.c_float(position), 5, ctypes.byref(index), ctypes.byref(found))
    assert (index.value, found.value) == (cell, fraction)


def test_rays_are_the_models(parts: ctypes.CDLL) -> None:
    camera = camera_of(5, 30.0)
    camera[0, 17] = 0.1
    expected = rays_from_camera(camera.double(), 7)
    given_camera = aligned(camera.numpy())
    for row in range(7):
        for column in range(7):
            out = np.zeros(8, np.float32)
            parts.ray(pointer(given_camera), column, row, 7, 10, pointer(out))
            np.testing.assert_allclose(out[:3], expected.origin[0, :, 0, 0], rtol=1e-6)
            np.testing.assert_allclose(out[3:6], expected.direction[0, :, row, column], atol=2e-7)
            length = float(expected.far[0, 0, row, column] - expected.near[0, 0, row, column]) / 10
            assert out[7] == pytest.approx(length, abs=2e-6)
            if length > 0:
                assert out[6] == pytest.approx(float(expected.near[0, 0, row, column]), abs=5e-6)
