from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.runtime.camera import canonical_camera, intrinsics_from_fov, pack_camera, project, unpack_camera
from hidenerf.runtime.secc import secc
from hidenerf.training.data.batch import mirrored, mirrored_camera, mirrored_secc
from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING, PairLayout, SeccChoice, draw_pair, seen_through
from hidenerf.training.data.synthetic.heads import load_head_mesh
from hidenerf.training.data.synthetic.pair_rendering import render_pairs
from hidenerf.training.data.synthetic.people import Pair, make_held_out_pair
from hidenerf.training.data.synthetic.rasterise import Rasteriser

CPU = torch.device("cpu")
POSED = SeccChoice(own_expression=True, posed=True)
AT_REST = SeccChoice(own_expression=False, posed=True)


def _off_centre_camera() -> NDArray[np.float32]:
    cam2world, _ = unpack_camera(canonical_camera(yaw=25, pitch=-10, roll=7, fov_degrees=30))
    intrinsics = intrinsics_from_fov(30)
    intrinsics[0, 2] = 0.55
    return pack_camera(cam2world, intrinsics)


@pytest.fixture(scope="module")
def bare_pairs() -> list[Pair]:
    """People of whom nothing is seen but the face model: bald, and cut off at the neck."""
    model = load_head_mesh().face_model
    pairs = [make_held_out_pair(model, index) for index in range(3)]
    bare = {"thickness": 0.0, "top": 0.0, "curtain_end": None, "body": False}
    return [replace(pair, person=replace(pair.person, style=replace(pair.person.style, **bare))) for pair in pairs]


def test_vertices_are_seen_where_the_camera_sees_them() -> None:
    camera = _off_centre_camera()
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 3))
    seen = seen_through(camera, points)
    picture = project(points, camera)
    np.testing.assert_allclose(seen[:, 0], 2 * picture[:, 0] - 1, atol=1e-5)
    np.testing.assert_allclose(seen[:, 1], 1 - 2 * picture[:, 1], atol=1e-5)
    eye = unpack_camera(camera)[0][:3, 3]
    axis = unpack_camera(camera)[0][:3, 2]
    assert np.array_equal(np.argsort(seen[:, 2]), np.argsort((eye - points) @ axis))
    # Within the depths that a SECC can hold.
    assert np.abs(seen[:, 2]).max() < 2


@pytest.mark.slow
def test_surface_points_are_what_the_rays_see_and_move_with_the_expression(bare_pairs: list[Pair]) -> None:
    config, mesh = PRESETS["demo"], load_head_mesh()
    batch = render_pairs(config, CPU, bare_pairs)
    centre = (np.arange(config.render_size) + 0.5) / config.render_size
    for pair, mask, here, there in zip(bare_pairs, batch.mask, batch.surface, batch.source_surface, strict=True):
        seen = (here != 0).any(0)
        assert (seen ^ (F.avg_pool2d(mask, 4)[0] > 0.5)).float().mean() < 0.02
        points = here[:, seen].T.numpy()
        rows, columns = np.nonzero(seen.numpy())
        pixel = np.stack([centre[columns], centre[rows]], axis=-1)
        # Drawn an eighth of a ray's pixel off at most, and half precision.
        assert np.abs(project(points, pair.camera) - pixel).max() * config.render_size < 0.2
        shape = mesh.shape(pair.person.style, mesh.hair_depth(pair.person.style))
        faces = [mesh.vertices(shape, pair.person.identity, e) for e in (pair.expression, pair.source_expression)]
        nearest = np.linalg.norm(points[:, None] - faces[0], axis=-1).argmin(1)
        expected = (faces[1] - faces[0])[nearest]
        found = there[:, seen].T.numpy() - points
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
    mirror = mirrored(batch, torch.ones(len(bare_pairs), dtype=torch.bool))
    for camera, here in zip(mirror.camera, mirror.surface, strict=True):
        rows, columns = np.nonzero((here != 0).any(0).numpy())
        pixel = np.stack([centre[columns], centre[rows]], axis=-1)
        seen = project(here[:, rows, columns].T.numpy(), camera.numpy())
        assert np.abs(seen - pixel).max() * config.render_size < 0.2


def test_the_face_sight_points_to_the_surface_that_the_other_picture_shows(bare_pairs: list[Pair]) -> None:
    """Around eyes and mouth, either way round, against the points of the whole head's surface."""
    size, secc_size, mesh = 256, 128, load_head_mesh()
    layout, rasteriser = PairLayout(mesh, size, secc_size, POSED), Rasteriser(mesh.triangles, SUPERSAMPLING * size)
    for pair in bare_pairs:
        arrays = layout.views(np.zeros(layout.bytes, np.uint8))
        draw_pair(mesh, rasteriser, pair, POSED, arrays)
        for view, source_camera in enumerate((pair.camera, pair.source_camera)):
            surface, sight = (torch.from_numpy(arrays[name][view]).float() for name in ("surface", "face_sight"))
            right, down, weight, seen = F.avg_pool2d(sight, size // surface.shape[-1])
            shown = seen > 0.9
            assert shown.sum() > 50
            place = (torch.stack([right, down]) / weight)[:, shown].T.numpy()
            expected = project(surface[3:, shown].T.numpy().astype(np.float64), source_camera)
            off = np.abs(place - expected).max(1) * size
            # The surface is drawn an eighth of a ray's pixel off, half a pixel of the picture's.
            assert np.quantile(off, 0.5) < 0.5
            assert np.quantile(off, 0.9) < 1


def test_straight_lines_stay_straight_and_the_middle_stays_in_the_middle_depth() -> None:
    camera = _off_centre_camera()
    start, end = np.random.default_rng(1).uniform(-0.7, 0.7, (2, 20, 3))
    seen = seen_through(camera, np.concatenate([start, 0.7 * start + 0.3 * end, end])).astype(np.float64)
    first, between, last = seen.reshape(3, 20, 3)
    np.testing.assert_allclose(np.cross(between - first, last - first), 0, atol=1e-5)
    assert seen_through(camera, np.zeros((1, 3)))[0, 2] == pytest.approx(0, abs=1e-6)


def test_posed_seccs_lie_on_the_heads_in_the_pictures(bare_pairs: list[Pair]) -> None:
    batch = render_pairs(PRESETS["demo"], CPU, bare_pairs, POSED)
    for face, mask in ((batch.secc_driving, batch.mask), (batch.secc_canonical, batch.source_mask)):
        size = face.shape[-1]
        drawn = face.amax(1, keepdim=True) > 0
        covered = F.interpolate(mask, size=(size, size), mode="area") > 0.5
        overlap = (drawn & covered).sum((1, 2, 3)) / (drawn | covered).sum((1, 2, 3))
        assert overlap.min() > 0.97


def test_posed_seccs_differ_from_each_other_in_expression_as_the_others_do(
    small_config: ModelConfig, bare_pairs: list[Pair]
) -> None:
    """With one expression at rest and one camera, driving and canonical SECC are one."""
    at_rest = np.zeros_like(bare_pairs[0].expression)
    pairs = [replace(pair, camera=pair.source_camera, expression=at_rest) for pair in bare_pairs]
    batch = render_pairs(small_config, CPU, pairs, AT_REST)
    assert torch.equal(batch.secc_driving, batch.secc_canonical)
    smiling = [replace(pair, expression=bare_pairs[0].expression) for pair in pairs]
    assert not torch.equal(render_pairs(small_config, CPU, smiling, AT_REST).secc_driving, batch.secc_driving)


@pytest.mark.parametrize("posed", [False, True])
def test_the_source_s_own_expression_in_the_canonical_secc(
    small_config: ModelConfig, bare_pairs: list[Pair], posed: bool
) -> None:
    """It is what drives where the source is the target."""
    choice = SeccChoice(own_expression=True, posed=posed)
    batch = render_pairs(small_config, CPU, bare_pairs, choice)
    as_targets = [
        replace(pair, expression=pair.source_expression, camera=pair.source_camera, source_camera=pair.camera)
        for pair in bare_pairs
    ]
    others = render_pairs(small_config, CPU, as_targets, SeccChoice(own_expression=False, posed=posed))
    assert torch.equal(batch.secc_canonical, others.secc_driving)
    assert not torch.equal(batch.secc_canonical, others.secc_canonical)
    model, pair = load_head_mesh().face_model, bare_pairs[0]
    if not posed:
        expected = secc(model.vertices(pair.person.identity, pair.source_expression), model, small_config.secc_size)
        assert np.abs(batch.secc_canonical[0].numpy() - expected).max() < 0.51 / 255


def test_mirrored_posed_secc_is_that_of_the_mirrored_face_and_camera() -> None:
    model = load_head_mesh().face_model
    random = np.random.default_rng(1)
    face = model.vertices(
        random.normal(0, 0.3, len(model.identity_names)), random.uniform(0, 0.4, len(model.expression_names))
    )
    twin = np.array([np.abs(model.mean - point).sum(axis=1).argmin() for point in model.mean * [-1, 1, 1]])
    camera = _off_centre_camera()
    mirror = mirrored_camera(torch.from_numpy(camera)[None])[0].numpy()
    expected = secc(seen_through(mirror, face[twin] * np.float32([-1, 1, 1])), model, 64)
    found = mirrored_secc(torch.from_numpy(secc(seen_through(camera, face), model, 64))[None])[0].numpy()
    # Edges that run through a pixel's centre may fall either way.
    assert (np.abs(found - expected).max(axis=0) > 0.02).mean() < 0.01
    assert (expected.max(axis=0) > 0).mean() > 0.2
