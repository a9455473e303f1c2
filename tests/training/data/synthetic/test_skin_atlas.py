import numpy as np
import pytest
import torch

from hidenerf.runtime.face_parts import SKIN
from hidenerf.training.data.synthetic.heads import BODY, CURTAIN, HeadMesh, load_head_mesh
from hidenerf.training.data.synthetic.painting import Skins
from hidenerf.training.data.synthetic.skin_atlas import ATLAS_SIZE, CHARTS, SkinAtlas, atlas_place, load_skin_atlas


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


@pytest.fixture(scope="module")
def atlas() -> SkinAtlas:
    return load_skin_atlas()


def split(points: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.moveaxis(points, -1, 0))


def test_charts_fill_the_atlas() -> None:
    rows = [row for first, count in CHARTS.values() for row in range(first, first + count)]
    assert sorted(rows) == list(range(ATLAS_SIZE))


def test_a_texel_shows_the_point_that_lies_there(mesh: HeadMesh, atlas: SkinAtlas) -> None:
    part = mesh.part[mesh.triangles].max(axis=1)[atlas.triangle]
    for kind, (first, rows) in CHARTS.items():
        assert (part[first : first + rows] == kind).all()
    x, y, z = split(atlas.at(mesh, mesh.mean))
    column, row = atlas_place(np, part, (x, y, z), split(atlas.at(mesh, mesh.sheet)))
    rows, columns = np.mgrid[:ATLAS_SIZE, :ATLAS_SIZE] + 0.5
    aside = (column - columns + ATLAS_SIZE / 2) % ATLAS_SIZE - ATLAS_SIZE / 2
    distance = np.hypot(aside, row - rows)
    # Below the neck's end, and above the pole, there are no points.
    assert np.median(distance) < 1e-3
    assert np.percentile(distance, 85) < 0.1


def test_mirrored_points_lie_in_mirrored_columns(mesh: HeadMesh) -> None:
    for kind in (SKIN, BODY):
        points = mesh.mean[mesh.part == kind].astype(np.float64)
        sheet = mesh.sheet[mesh.part == kind].astype(np.float64)
        part = np.full(len(points), kind)
        column, row = atlas_place(np, part, split(points), split(sheet))
        other, other_row = atlas_place(np, part, split(points * [-1, 1, 1]), split(sheet))
        np.testing.assert_allclose(other, ATLAS_SIZE - column, atol=1e-9)
        np.testing.assert_allclose(other_row, row, atol=1e-9)


def test_the_painter_looks_up_what_lies_there(mesh: HeadMesh) -> None:
    """A texture that says column and row gives back what NumPy says of the vertices."""
    texture = np.zeros((2, ATLAS_SIZE, ATLAS_SIZE, 4), np.uint8)
    texture[1, ..., 0] = np.arange(ATLAS_SIZE) // 2
    texture[1, ..., 1] = np.arange(ATLAS_SIZE)[:, None] // 2
    texture[1, ..., 3] = 255
    chosen = np.isin(mesh.part, (SKIN, BODY, CURTAIN))
    place, sheet, part = mesh.mean[chosen], mesh.sheet[chosen], mesh.part[chosen].astype(np.int64)
    column, row = atlas_place(np, part, split(place), split(sheet))
    portrait = torch.full((1, len(part)), 2.0)
    color, seen = Skins(torch.from_numpy(texture)).at(
        portrait, torch.from_numpy(part)[None], torch.from_numpy(place).T, torch.from_numpy(sheet).T
    )
    away = (column > 2) & (column < ATLAS_SIZE - 2)
    np.testing.assert_allclose(2 * 255 * color[0].numpy()[away], column[away], atol=1.6)
    np.testing.assert_allclose(2 * 255 * color[1].numpy(), row, atol=2.1)
    assert (color[2] == 0).all()
    np.testing.assert_allclose(seen, 1, atol=1e-6)


def test_charts_do_not_bleed_into_each_other() -> None:
    texture = np.zeros((1, ATLAS_SIZE, ATLAS_SIZE, 4), np.uint8)
    first, rows = CHARTS[BODY]
    texture[0, first : first + rows] = 255
    down = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    skins = Skins(torch.from_numpy(texture))
    color, _ = skins.at(
        torch.ones(1, 2), torch.full((1, 2), BODY), torch.tensor([[0.1, 0.1], [-0.9, -0.9], [0.0, 0.0]]), down
    )
    assert (color == 1).all()
    color, _ = skins.at(torch.ones(1, 2), torch.full((1, 2), CURTAIN), torch.zeros(3, 2), down)
    assert (color == 0).all()
