"""Portraits by the generator's painter: where the light falls, what the alpha means, and which place a pixel sees."""

import numpy as np
import pytest

from hidenerf.assets.portraits import BALD, Portrait, PortraitPainter, make_look
from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING
from hidenerf.training.data.synthetic.heads import HeadMesh, load_head_mesh
from hidenerf.training.data.synthetic.people import LOOK_SIZES, Look, Person, pack_look

SIZE = 64


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


@pytest.fixture(scope="module")
def painter(mesh: HeadMesh) -> PortraitPainter:
    return PortraitPainter(mesh, SIZE)


def paint(painter: PortraitPainter, mesh: HeadMesh, look: Look, camera: np.ndarray) -> Portrait:
    neutral = np.zeros(len(mesh.face_model.expression_names), np.float32)
    return painter.paint(Person(np.zeros(len(mesh.face_model.identity_names), np.float32), BALD, look), neutral, camera)


def test_light_from_the_left_brightens_the_subjects_left(painter: PortraitPainter, mesh: HeadMesh) -> None:
    portrait = paint(painter, mesh, make_look(key_direction=(1.0, 0.0, 0.3), fill=0.0), canonical_camera())
    drawn = portrait.alpha == 1
    assert portrait.picture.shape == (SIZE, SIZE, 3)
    assert portrait.picture.min() >= 0
    assert portrait.picture.max() <= 1
    assert np.all(portrait.picture[portrait.alpha == 0] == 0)
    left, right = (portrait.picture[:, half][drawn[:, half]].mean() for half in (slice(32, None), slice(32)))
    assert left > 1.2 * right


def test_pixels_see_the_places_that_project_into_them(painter: PortraitPainter, mesh: HeadMesh) -> None:
    camera = canonical_camera(yaw=25.0, pitch=-10.0, roll=5.0)
    portrait = paint(painter, mesh, make_look(), camera)
    row, column = np.nonzero(portrait.triangle)
    two = portrait.barycentric[:, row, column].T / 255
    weight = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)
    corners = mesh.shape(BALD, mesh.hair_depth(BALD))[mesh.triangles[portrait.triangle[row, column] - 1]]
    seen = project(np.einsum("nk,nkc->nc", weight, corners.astype(np.float64)), camera) * SIZE * SUPERSAMPLING
    assert len(row) > 1000
    assert np.abs(seen - np.stack([column, row], axis=-1) - 0.5).max() < 0.2


def test_a_look_has_every_entry_and_unit_directions() -> None:
    look = make_look(key_direction=(3.0, 0.0, 4.0), beard=0.5)
    assert {name: values.shape for name, values in look.items()} == {name: (size,) for name, size in LOOK_SIZES.items()}
    assert look["key_direction"] == pytest.approx([0.6, 0.0, 0.8])
    assert look["beard"] == 0.5
    assert look["moustache"] == 0
    assert len(pack_look(look)) == sum(LOOK_SIZES.values())
