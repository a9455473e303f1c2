from dataclasses import replace

import numpy as np
import pytest
import torch

from hidenerf.model.config import ModelConfig
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.batch import Batch
from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING
from hidenerf.training.data.synthetic.heads import HeadMesh, load_head_mesh
from hidenerf.training.data.synthetic.occlusion import bake_occlusion, harmonics
from hidenerf.training.data.synthetic.painting import _noise, _noise_volume
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import Pair, make_pair
from hidenerf.training.data.synthetic.rasterise import Rasteriser

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


@pytest.fixture(scope="module")
def pairs(mesh: HeadMesh) -> list[Pair]:
    return [make_pair(mesh.face_model, number) for number in range(12)]


@pytest.fixture(scope="module")
def batch(small_config: ModelConfig, pairs: list[Pair]) -> Batch:
    return render_pairs(small_config, CPU, pairs)


def test_everything_is_over_black(batch: Batch) -> None:
    """Colour times alpha: nothing is brighter than its alpha allows, and the region is part of the head."""
    for picture, mask in ((batch.source_image, batch.source_mask), (batch.target, batch.mask)):
        assert (picture <= mask + 1.01 / 255).all()
        assert picture.amax() > 0.3
        assert 0.1 < mask.mean() < 0.7
    assert (batch.region <= batch.mask + 1.01 / 255).all()
    share = batch.region.sum((1, 2, 3)) / batch.mask.sum((1, 2, 3))
    assert (share > 0.03).all()
    assert (share < 0.4).all()


def test_mask_is_the_coverage_of_the_supersampled_picture(
    small_config: ModelConfig, mesh: HeadMesh, pairs: list[Pair]
) -> None:
    size = small_config.image_size
    person = replace(pairs[0].person, style=replace(pairs[0].person.style, body=False, curtain_end=None))
    person.look["fading"][:] = 0
    pair = replace(pairs[0], person=person, camera=canonical_camera(yaw=20, pitch=5))
    fine = np.empty((SUPERSAMPLING * size,) * 2, np.int16)
    shape = mesh.shape(person.style, mesh.hair_depth(person.style))
    Rasteriser(mesh.triangles, SUPERSAMPLING * size).draw(
        mesh.vertices(shape, person.identity, pair.expression),
        pair.camera,
        mesh.visible_triangles(person.style),
        mesh.curtain_start,
        fine,
        np.empty((2, *fine.shape), np.uint8),
    )
    alpha = (fine > 0).reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean(axis=(1, 3))
    painted = render_pairs(small_config, CPU, [pair]).mask[0, 0].numpy()
    np.testing.assert_allclose(painted, alpha, atol=0.5 / 255 + 1e-6)
    assert len(np.unique(alpha)) == 5


def test_a_pair_looks_the_same_in_any_batch(small_config: ModelConfig, pairs: list[Pair], batch: Batch) -> None:
    for found, expected in zip(render_pairs(small_config, CPU, [pairs[5], pairs[2]]), batch, strict=True):
        assert torch.equal(found, expected[[5, 2]])


def _expressions(pair: Pair, mesh: HeadMesh, *actions: str) -> Pair:
    """From rest to these actions, seen from the front."""
    names = mesh.face_model.expression_names
    rest = np.zeros(len(names), np.float32)
    acting = np.array([float(name in actions) for name in names], np.float32)
    camera = canonical_camera()
    return replace(pair, source_expression=rest, expression=acting, source_camera=camera, camera=camera)


@pytest.mark.parametrize("actions", [("jawOpen",), ("eyeBlinkLeft", "eyeBlinkRight"), ("browInnerUp",)])
def test_expressions_change_the_region_above_all(
    small_config: ModelConfig, mesh: HeadMesh, pairs: list[Pair], actions: tuple[str, ...]
) -> None:
    batch = render_pairs(small_config, CPU, [_expressions(pair, mesh, *actions) for pair in pairs[:4]])
    change = (batch.target - batch.source_image).square().sum(1, keepdim=True)
    assert ((change * batch.region).sum((1, 2, 3)) > 0.5 * change.sum((1, 2, 3))).all()


def test_an_open_mouth_shows_teeth_before_its_dark_inside(
    small_config: ModelConfig, mesh: HeadMesh, pairs: list[Pair]
) -> None:
    config = replace(small_config, image_size=128, render_size=32, secc_size=64, plane_sizes=(16, 32, 64))
    opened = render_pairs(config, CPU, [_expressions(pairs[0], mesh, "jawOpen")]).target[0]
    # The picture spans ±1.03 units, and the mouth is 0.36 to 0.5 below the middle.
    mouth = opened[:, 84:97, 54:75]
    brightness = mouth.mean(0)
    cheek = opened[:, 68:74, 80:86].mean()
    assert brightness.min() < 0.75 * cheek
    assert brightness.max() > 2 * brightness.min()
    white = mouth.flatten(1)[:, brightness.argmax()]
    assert white.min() > 0.75 * white.max()


def test_light_from_the_left_lights_the_left(small_config: ModelConfig, mesh: HeadMesh, pairs: list[Pair]) -> None:
    lit = []
    for side in (1.0, -1.0):
        look = {**pairs[1].person.look, "key_direction": np.float32([0.9 * side, 0, np.sqrt(1 - 0.81)])}
        look["fill"] = np.zeros(3, np.float32)
        lit.append(_expressions(replace(pairs[1], person=replace(pairs[1].person, look=look)), mesh))
    left_lit, right_lit = render_pairs(small_config, CPU, lit).target[:, :, 30:45]
    # The subject's left is the picture's right.
    for picture, bright, dark in ((left_lit, slice(34, 42), slice(22, 30)), (right_lit, slice(22, 30), slice(34, 42))):
        assert picture[..., bright].mean() > 1.3 * picture[..., dark].mean()


def test_occlusion_is_dark_in_hollows_and_open_on_the_nose(mesh: HeadMesh) -> None:
    ambient, shadow = bake_occlusion(mesh)

    def near(*place: float) -> int:
        return int(np.linalg.norm(mesh.mean - place, axis=1).argmin())

    nose, under_chin, in_the_ear = near(0, -0.13, 0.66), near(0.0, -0.62, 0.35), near(0.45, -0.07, -0.05)
    assert ambient[nose] > 0.95
    assert ambient[under_chin] < 0.7
    assert ambient[in_the_ear] < 0.6
    light = harmonics(torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)).numpy()
    assert (shadow[nose] @ light.T > 0.6).all()
    # The chin is in the way of light from above.
    assert shadow[under_chin] @ light[1] < 0.1


def test_noise_repeats_without_seams_and_takes_its_values_at_the_lattice() -> None:
    volume = _noise_volume()
    cells = torch.tensor([[3.0, 31.0, 0.0], [4.0, 0.0, 31.0], [5.0, 7.0, 31.0]])
    expected = torch.stack([volume[0, :, int(z), int(y), int(x)] for x, y, z in cells.T], 1)
    torch.testing.assert_close(_noise(volume, cells), expected, atol=1e-5, rtol=0)
    points = 32 * torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_noise(volume, points), _noise(volume, points - 64), atol=1e-3, rtol=0)
    across = torch.tensor([[31.999, 0.001], [5.3, 5.3], [9.9, 9.9]])
    assert _noise(volume, across).diff(dim=1).abs().max() < 1e-2
