"""The aligned identity path: where the source saw a point, whether it did, and that hoisting is exact."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from hidenerf.model.alignment import (
    FACE_SIGHT_CHANNELS,
    SURFACE,
    Alignment,
    SourceView,
    align,
    continued,
    displacement,
    drift,
    projected,
    sample,
    source_projection,
    source_view,
)
from hidenerf.model.config import ModelConfig
from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.errors import HideNerfError
from tests.support.tiny import TINY, aligned_model, tiny_inputs

VARIANTS = [("maps", 8), ("maps", 2), ("maps and picture", 8), ("maps and picture", 3)]


def test_points_are_projected_as_the_runtime_does() -> None:
    camera = canonical_camera(25.0, -10.0)
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (7, 3)).astype(np.float32)
    projection = source_projection(torch.from_numpy(camera)[None])[0].numpy()
    image = projection @ np.concatenate([points, np.ones((7, 1), np.float32)], 1).T
    expected = 2 * project(points.astype(np.float64), camera) - 1
    np.testing.assert_allclose((image[:2] / image[2:]).T, expected, atol=1e-5)


NO_FACE = torch.zeros(1, FACE_SIGHT_CHANNELS, 8, 8)


def seen_by_itself(depth: float, behind: float, face_sight: Tensor = NO_FACE) -> Alignment:
    """A wall before a frontal camera at some depth, and the frame's points so far behind it."""
    camera = torch.from_numpy(canonical_camera())[None]
    projection = source_projection(camera)
    alpha = torch.ones(1, 1, 8, 8)
    source = SourceView(projection, torch.cat([depth * alpha, alpha, 0.0 * alpha, 0.0 * alpha], 1))
    position, forward = camera[0, [3, 7, 11]], camera[0, [2, 6, 10]]
    place = (position + forward * (depth + behind))[None, :, None, None].expand(1, 3, 8, 8)
    return align(source, place, alpha, face_sight)


def test_what_lies_behind_the_sources_surface_is_not_shown() -> None:
    assert seen_by_itself(9.0, 0.0).shown.min() > 0.9
    assert seen_by_itself(9.0, 0.3).shown.max() < 0.01
    assert seen_by_itself(9.0, -0.3).shown.min() > 0.99
    guides = seen_by_itself(9.0, 0.25).guides
    torch.testing.assert_close(guides[:, 1], torch.full((1, 8, 8), 0.5), atol=1e-3, rtol=0)


def test_where_no_ray_ends_nothing_is_shown_and_all_is_finite() -> None:
    source = SourceView(source_projection(torch.from_numpy(canonical_camera())[None]), torch.zeros(1, SURFACE, 8, 8))
    nothing = align(source, torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), NO_FACE)
    for size in (2, 8, 32):
        sight = nothing.at(size)
        assert sight.shown.shape == (1, 1, size, size)
        assert sight.shown.abs().max() == 0
        assert torch.isfinite(sight.grid).all()
    assert nothing.guides.abs().max() == 0


def at_depth(camera: Tensor, depth: Tensor) -> Tensor:
    """The points [1, 3, R, R] at these depths [R, R] on the rays through the pixels of a camera [1, 25]."""
    rotation, position = camera[0, :16].reshape(4, 4)[:3, :3], camera[0, [3, 7, 11]]
    size = len(depth)
    pixel = (torch.arange(size) + 0.5) / size
    lens = camera[0, 16:].reshape(3, 3)
    x, y = (pixel - lens[0, 2]) / lens[0, 0], (pixel - lens[1, 2]) / lens[1, 1]
    rays = torch.stack([x[None].expand(size, size), y[:, None].expand(size, size), torch.ones(size, size)], -1)
    return (position + depth[..., None] * rays @ rotation.T).permute(2, 0, 1)[None]


def test_a_source_seen_through_its_own_camera_lies_where_it_was() -> None:
    """By hand: a plane through the head's centre, so that the picture must come back."""
    camera, size = torch.from_numpy(canonical_camera())[None], 16
    place = at_depth(camera, torch.full((size, size), 9.0))
    alpha = torch.ones(1, 1, size, size)
    source = SourceView(source_projection(camera), torch.cat([9.0 * alpha, alpha, 0.0 * alpha, 0.0 * alpha], 1))
    picture = torch.rand(1, 3, 4 * size, 4 * size, generator=torch.Generator().manual_seed(0))
    sight = align(source, place, alpha, NO_FACE).at(4 * size)
    inner = slice(4, -4)
    found = sample(picture, sight.grid)[..., inner, inner]
    torch.testing.assert_close(found, picture[..., inner, inner], atol=2e-2, rtol=0)


@pytest.mark.parametrize(("alignment", "scales"), VARIANTS)
def test_folded_maps_give_the_same_frame(alignment: str, scales: int) -> None:
    model, inputs = aligned_model(alignment, scales), tiny_inputs(2)
    with torch.no_grad():
        expected = model(**inputs)
        planes = model.appearance(inputs["source_image"], inputs["source_camera"])
        view = model.source_view(planes, inputs["secc_canonical"], inputs["source_camera"])
        seen = align(view, expected.place, expected.rendered_alpha, inputs["face_sight"])
        assert 0.02 < seen.shown.mean() < 0.98
        identity = model.id_encoder(inputs["source_image"])
        maps = model.refiner.fold(identity)
        rendered = expected.rendered, expected.rendered_alpha
        found = model.refiner.forward_folded(*rendered, maps, seen, inputs["source_image"])
    assert len(maps) == 2 * min(scales, len(TINY.refiner_channels))
    torch.testing.assert_close(found, (expected.frame, expected.alpha), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(("alignment", "scales"), VARIANTS)
def test_every_parameter_learns(alignment: str, scales: int) -> None:
    model = aligned_model(alignment, scales).train()
    output = model(**tiny_inputs(2))
    weights = torch.randn(output.frame.shape, generator=torch.Generator().manual_seed(0))
    ((output.frame * weights).sum() + output.rendered.square().sum() + output.place.square().sum()).backward()
    idle = [name for name, p in model.named_parameters() if p.dim() > 1 and (p.grad is None or not p.grad.abs().max())]
    assert idle == []


def test_a_drift_is_how_far_what_is_found_lies_from_where_it_is_shown() -> None:
    """By hand: moved(x) = 0.1 x to the right and 0.05 down; what is found at y lies 0.1 y / 1.1 and 0.05 off."""
    x = (torch.arange(32) + 0.5) / 16 - 1
    moved = torch.stack([(0.1 * x).expand(32, 32), torch.full((32, 32), 0.05)])[None]
    found = drift(moved)
    inner = slice(4, -4)
    torch.testing.assert_close(
        found[0, 0, inner, inner], (0.1 / 1.1 * x).expand(32, 32)[inner, inner], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found[0, 1], torch.full((32, 32), 0.05))


def test_what_the_deformation_moves_at_rest_is_taken_back() -> None:
    """A wall whose points LED moves sideways by a smooth field, up to 0.05 world units: seen where it is shown."""
    camera, size = torch.from_numpy(canonical_camera())[None], 32
    place = at_depth(camera, torch.full((size, size), 9.0))
    x, y = place[:, :1], place[:, 1:2]
    moved = place + 0.05 * torch.cat([torch.sin(2 * y), torch.cos(2 * x), torch.zeros_like(x)], 1)
    alpha = torch.ones(1, 1, size, size)
    view = source_view(camera, moved, alpha)
    untouched = displacement(projected(view.projection, moved, alpha), alpha)
    assert untouched.abs().max() > 0.035
    own = align(view, moved, alpha, NO_FACE)
    inner = slice(4, -4)
    assert own.moved[..., inner, inner].abs().max() < 0.002
    torch.testing.assert_close(own.guides[:, 2:], own.moved)


def test_beyond_the_head_values_are_those_of_what_is_nearest() -> None:
    """By hand, 64 pixels wide: the head is one pixel at column 20, and one at column 40 with another value."""
    weight = torch.zeros(1, 1, 64, 64)
    weight[..., 32, 20] = weight[..., 32, 40] = 1.0
    values = torch.zeros(1, 1, 64, 64)
    values[..., 32, 20], values[..., 32, 40] = 0.5, -0.25
    row = continued(values * weight, weight)[0, 0, 32]
    # The boxes reach 1, 3 and 8 pixels.
    torch.testing.assert_close(row[[12, 20, 28]], torch.full((3,), 0.5), atol=0.2, rtol=0)
    torch.testing.assert_close(row[[32, 41, 48]], torch.full((3,), -0.25), atol=0.1, rtol=0)
    assert row[[11, 30, 49]].abs().max() == 0
    # Between: both count where both boxes reach, and column 20's box of 3 pixels outweighs column 40's of 8.
    wide = torch.zeros(1, 1, 64, 64)
    wide[..., 32, 20] = wide[..., 32, 30] = 1.0
    between = continued(torch.where(torch.arange(64) < 25, 1.0, 0.0) * wide, wide)[0, 0, 32, 23]
    small, large = 0.005 / 49, 0.0005 / 289
    torch.testing.assert_close(between, torch.tensor((small + large) / (small + 2 * large + 1e-6)), atol=1e-4, rtol=0)


def test_a_step_in_depth_hides_neither_of_its_sides_in_the_sources_own_view() -> None:
    """A chin at depth 9 before a neck at 9.6, with a ray between that ends at their mean."""
    camera = torch.from_numpy(canonical_camera())[None]
    depth = torch.full((64, 64), 9.0)
    depth[32], depth[33:] = 9.3, 9.6
    place = at_depth(camera, depth)
    alpha = torch.ones(1, 1, 64, 64)
    own = align(source_view(camera, place, alpha), place, alpha, NO_FACE)
    assert own.shown[..., 8:-8, 8:-8].min() > 0.9


def random_alignment(face_sight: Tensor) -> Alignment:
    """8 × 8 rays that saw something else than the face."""
    generator = torch.Generator().manual_seed(1)
    moved = 0.2 * torch.randn(1, 2, 8, 8, generator=generator)
    shown = torch.rand(1, 1, 8, 8, generator=generator)
    return Alignment(moved, shown, face_sight, torch.zeros(1, 4, 8, 8))


def pixel_centres(size: int) -> Tensor:
    """[1, size, size, 2], right and down in [-1, 1]."""
    here = (2 * torch.arange(size) + 1) / size - 1
    return torch.stack(torch.meshgrid(here, here, indexing="xy"), -1)[None]


def test_where_the_face_has_all_weight_only_it_counts() -> None:
    face = torch.rand(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    face[:, 2] = 1.0
    for size, factor in ((32, 1), (8, 4)):
        sight = random_alignment(face).at(size)
        means = face.double().unflatten(3, (size, factor)).unflatten(2, (size, factor)).mean((3, 5))
        torch.testing.assert_close(sight.grid.double(), 2 * means[:, :2].permute(0, 2, 3, 1) - 1, atol=1e-6, rtol=0)
        torch.testing.assert_close(sight.shown.double(), means[:, 3:], atol=1e-6, rtol=0)


def test_where_the_face_has_no_weight_only_the_rays_count() -> None:
    alignment = random_alignment(torch.zeros(1, 4, 32, 32))
    sight = alignment.at(8)
    torch.testing.assert_close(sight.grid, alignment.moved.permute(0, 2, 3, 1) + pixel_centres(8), atol=1e-6, rtol=0)
    torch.testing.assert_close(sight.shown, alignment.shown)


def test_a_block_half_of_which_is_the_faces_has_the_mean_of_both() -> None:
    """By hand: two pixels of four with positions 0.25 and 0.75 of the picture, seen by half and not at all."""
    face = torch.zeros(1, 4, 16, 16)
    face[0, :, 0, 0] = torch.tensor([0.25, 0.75, 1.0, 0.5])
    face[0, :, 1, 1] = torch.tensor([0.75, 0.75, 1.0, 0.0])
    alignment = random_alignment(face)
    sight = alignment.at(8)
    ray = alignment.moved[0, :, 0, 0] + pixel_centres(8)[0, 0, 0]
    torch.testing.assert_close(sight.grid[0, 0, 0], 0.5 * ray + 0.5 * torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(sight.shown[0, 0, 0, 0], 0.5 * alignment.shown[0, 0, 0, 0] + 0.125)


def test_guides_say_what_face_and_rays_do_together() -> None:
    face = torch.rand(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    face[:, 2] = 0.5
    face[:, :2] *= 0.5
    found = seen_by_itself(9.0, 0.25, face)
    alone = seen_by_itself(9.0, 0.25)
    sight = found.at(8)
    # The head is everywhere.
    expected = torch.cat([sight.shown, alone.guides[:, 1:2], (sight.grid - pixel_centres(8)).permute(0, 3, 1, 2)], 1)
    torch.testing.assert_close(found.guides, expected, atol=1e-6, rtol=0)
    assert (found.guides - alone.guides)[:, [0, 2, 3]].abs().mean((2, 3)).min() > 0.05


def test_configs_without_an_alignment_are_those_of_old_checkpoints() -> None:
    values = TINY.to_dict()
    del values["alignment"], values["aligned_scales"]
    assert ModelConfig.from_dict(values) == TINY
    with pytest.raises(HideNerfError, match="alignment must be one of"):
        dataclasses.replace(TINY, alignment="sideways")
