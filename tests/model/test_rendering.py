"""The field and Eq. 5 against hand numbers and FP64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hidenerf.model.rendering import Renderer, positional_encoding, ray_weights, sample_planes, triplane_render
from tests.support import reference
from tests.support.reference import frontal_camera, general_camera
from tests.support.tiny import TINY


@pytest.mark.parametrize("octaves", [1, 4, 6])
def test_positional_encoding_against_direct_sines(octaves: int) -> None:
    """In the box within 3e-7 · 2^octaves: the rounding of π·p in FP32, which each octave doubles."""
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 3, 2000))).float()
    encoded = positional_encoding(points, octaves)
    exact = points.double().numpy()[0]
    bands = [f(2.0**k * math.pi * exact) for k in range(octaves) for f in (np.sin, np.cos)]
    assert encoded.shape == (1, 6 * octaves, 2000)
    np.testing.assert_allclose(encoded[0], np.concatenate(bands), atol=3e-7 * 2**octaves)


def test_positional_encoding_by_hand() -> None:
    encoded = positional_encoding(torch.tensor([[0.25, 0.5, 1.0]]).reshape(1, 3, 1), 2).flatten()
    root = math.sqrt(0.5)
    expected = [root, 1, 0, root, 0, -1, 1, 0, 0, 0, -1, 1]
    torch.testing.assert_close(encoded, torch.tensor(expected), atol=1e-6, rtol=0)


def one_plane(values: list[list[float]], index: int) -> torch.Tensor:
    """Planes [1, 3, 1, 2, 2] of which only one is not zero, three times too large to undo the mean."""
    planes = torch.zeros(1, 3, 1, 2, 2)
    planes[0, index, 0] = 3 * torch.tensor(values)
    return planes


@pytest.mark.parametrize(("plane", "columns", "rows"), [(0, 0, 1), (1, 0, 2), (2, 1, 2)])
def test_each_plane_has_its_own_two_axes(plane: int, columns: int, rows: int) -> None:
    planes = one_plane([[1.0, 2.0], [10.0, 20.0]], plane)
    point = torch.full((3,), 9.0)  # far outside along the plane's normal, which must not matter
    for at, expected in (
        ((-0.5, -0.5), 1.0),  # centre of the first cell
        ((0.5, -0.5), 2.0),  # one to the right along the columns' axis
        ((-0.5, 0.5), 10.0),  # one down along the rows' axis
        ((0.0, -0.5), 1.5),
        ((0.25, 0.0), (1 * 0.25 + 2 * 0.75 + 10 * 0.25 + 20 * 0.75) / 2),
        ((-1.0, -0.5), 0.5),  # the edge of the box: half a cell
        ((-1.5, -0.5), 0.0),
        ((-0.5, 1.6), 0.0),
    ):
        point[columns], point[rows] = at
        sampled = sample_planes(planes, point.reshape(1, 3, 1, 1))
        # The other two planes are zero wherever they are sampled.
        torch.testing.assert_close(sampled.flatten(), torch.tensor([expected]))


def test_sample_planes_against_loops() -> None:
    rng = np.random.default_rng(2)
    planes = rng.standard_normal((2, 3, 4, 5, 5))
    points = rng.uniform(-1.5, 1.5, (2, 3, 6, 7))
    sampled = sample_planes(torch.from_numpy(planes), torch.from_numpy(points)).numpy()
    assert sampled.shape == (2, 4, 6, 7)
    for batch, i, j in np.ndindex(2, 6, 7):
        expected = reference.plane_features(planes[batch], points[batch, :, i, j])
        np.testing.assert_allclose(sampled[batch, :, i, j], expected, atol=1e-12)


def composite_one(sigma: list[float], colour: list[float], length: float) -> tuple[float, float]:
    """One ray's colour and alpha."""
    weights = ray_weights(torch.tensor(sigma).reshape(1, len(sigma), 1), torch.full((1, 1, 1), length))
    assert weights.shape == (1, len(sigma), 1)
    return (weights.flatten() @ torch.tensor(colour)).item(), weights.sum().item()


def test_composite_of_two_intervals_by_hand() -> None:
    # σδ = ln 2, then ln 4: the first lets half through, the second a quarter of that.
    picture, alpha = composite_one([2 * math.log(2), 2 * math.log(4)], [0.8, 0.4], 0.5)
    assert alpha == pytest.approx(0.5 + 0.5 * 0.75)
    assert picture == pytest.approx(0.5 * 0.8 + 0.5 * 0.75 * 0.4)


def test_composite_sees_only_an_opaque_front() -> None:
    assert composite_one([1e4, 1e4, 5.0], [0.3, 0.9, 0.9], 0.1) == pytest.approx((0.3, 1.0))


def test_composite_of_nothing_is_black_and_clear() -> None:
    assert composite_one([0.0, 0.0], [0.9, 0.9], 0.1) == (0.0, 0.0)
    assert composite_one([50.0, 50.0], [0.9, 0.9], 0.0) == (0.0, 0.0)


@settings(max_examples=50)
@given(sigma=st.lists(st.floats(0, 200), min_size=1, max_size=12), length=st.floats(0, 0.2))
def test_alpha_is_what_the_whole_optical_depth_absorbs(sigma: list[float], length: float) -> None:
    picture, alpha = composite_one(sigma, [1.0] * len(sigma), length)
    assert alpha == pytest.approx(1 - math.exp(-math.fsum(sigma) * length), abs=2e-6)
    assert picture == pytest.approx(alpha, abs=1e-6)


def random_field(rng: np.random.Generator, samples: int, size: int, octaves: int) -> list[np.ndarray]:
    width, channels, sizes = 8, 3, (4, 6)
    inputs = channels * len(sizes) + 6 * octaves
    arrays = [
        rng.uniform(-0.4, 0.4, (3 * samples, size, size)),
        *[rng.standard_normal((3, channels, r, r)) for r in sizes],
        rng.standard_normal((width, inputs)) * 0.5,
        rng.standard_normal(width),
        rng.standard_normal((6, width)) * 0.5,
        rng.standard_normal(6) - [0, 0, 0, 0, 0, 1],
    ]
    return [array.astype(np.float32).astype(np.float64) for array in arrays]


@pytest.mark.parametrize(
    ("camera", "size"), [(general_camera(), 4), (frontal_camera(3.0, 0.7), 5)], ids=["general", "wide, R = 5"]
)
def test_triplane_render_against_loops(camera: np.ndarray, size: int) -> None:
    """The wide camera's outer rays miss the box, and Δ pushes points of both out of it."""
    samples, octaves = 3, 3
    deformation, *planes, weight_1, bias_1, weight_2, bias_2 = random_field(
        np.random.default_rng(7), samples, size, octaves
    )
    expected, expected_alpha = reference.render(
        deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves
    )
    assert expected_alpha.max() > 0.5
    single = [torch.from_numpy(a).float() for a in (weight_1, bias_1, weight_2, bias_2)]
    rendered, alpha = triplane_render(  # type: ignore[call-arg]
        torch.from_numpy(deformation).float()[None],
        torch.from_numpy(camera).float()[None],
        [torch.from_numpy(plane).float()[None] for plane in planes],
        *single,
        octaves,
    )
    assert rendered.shape == (1, 5, size, size)
    assert alpha.shape == (1, 1, size, size)
    np.testing.assert_allclose(rendered[0], expected, atol=2e-5)
    np.testing.assert_allclose(alpha[0, 0], expected_alpha, atol=2e-5)
    if size == 5:
        assert alpha[0, 0, 0, 0] == 0.0
        assert rendered[0, :, 0, 0].tolist() == [0.0] * 5


def test_a_batch_renders_as_its_members_do() -> None:
    torch.manual_seed(0)
    renderer = Renderer(TINY).eval()
    deformation = torch.rand(2, 3 * TINY.samples_per_ray, 4, 4) * 0.2
    cameras = torch.from_numpy(np.stack([general_camera(), frontal_camera(5.0, 2.0)])).float()
    planes = [torch.randn(2, 3, TINY.plane_channels, r, r) for r in TINY.plane_sizes]
    with torch.no_grad():
        together = renderer(deformation, cameras, planes)
        for index in range(2):
            one = slice(index, index + 1)
            alone = renderer(deformation[one], cameras[one], [plane[one] for plane in planes])
            torch.testing.assert_close(together[0][one], alone[0])
            torch.testing.assert_close(together[1][one], alone[1])


def test_half_planes_and_weights_keep_coordinates_and_compositing_in_single() -> None:
    arrays = random_field(np.random.default_rng(3), 3, 4, 2)
    deformation, *planes, weight_1, bias_1, weight_2, bias_2 = [torch.from_numpy(a) for a in arrays]
    camera = torch.from_numpy(general_camera()).float()[None]

    def run(kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        mlp = [a.half().to(kind) for a in (weight_1, bias_1, weight_2, bias_2)]
        rounded = [plane[None].half().to(kind) for plane in planes]
        return triplane_render(deformation.float()[None], camera, rounded, *mlp, 2)  # type: ignore[call-arg]

    rendered, alpha = run(torch.float16)
    exact_rendered, exact_alpha = run(torch.float32)
    assert rendered.dtype == alpha.dtype == torch.float32
    torch.testing.assert_close(rendered, exact_rendered, atol=5e-3, rtol=0)
    torch.testing.assert_close(alpha, exact_alpha, atol=5e-3, rtol=0)
