"""Hair's volume from mattes of which it is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.face_parts import EYE, SKIN
from hidenerf.runtime.sources.cut_out import triangle_mask
from hidenerf.training.data.synthetic.hair_hull import SHORT_HAIR, hair_likeness, hair_style
from hidenerf.training.data.synthetic.heads import CURTAIN, FLAT_EAR, HULL_ANGLES, HeadMesh, Style, load_head_mesh

SIZE = 256
CAMERA = canonical_camera()


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


def covered(mesh: HeadMesh, style: Style, *parts: int) -> np.ndarray:
    """The mask [S, S] of these parts of the mean head in a style."""
    shape = mesh.shape(style, mesh.hair_depth(style))
    chosen = np.isin(mesh.part[mesh.triangles].max(axis=1), parts)
    pixels = project(shape.astype(np.float64), CAMERA) * SIZE
    return 255 * triangle_mask(pixels, mesh.triangles[chosen], SIZE)


def test_a_bald_head_has_no_hair(mesh: HeadMesh) -> None:
    head = covered(mesh, SHORT_HAIR, SKIN, EYE)
    style, _ = hair_style(head, np.zeros(head.shape), head, CAMERA)
    assert np.abs(style.hull).max() < 0.03
    assert style.curtain_end is None
    assert style.ears


def test_the_hull_fills_the_matte(mesh: HeadMesh) -> None:
    bald, full = covered(mesh, SHORT_HAIR, SKIN, EYE), replace(SHORT_HAIR, thickness=0.15, hull=())
    matte = covered(mesh, full, SKIN, EYE)
    style, _ = hair_style(matte, np.zeros(matte.shape), bald, CAMERA)
    top = np.abs(HULL_ANGLES) < 60
    np.testing.assert_allclose(np.array(style.hull)[top], 0.135, atol=0.05)
    found = covered(mesh, style, SKIN, EYE) > 0
    both = (found & (matte > 0)).sum() / (found | (matte > 0)).sum()
    assert both > 0.95
    assert both > ((bald > 0) & (matte > 0)).sum() / ((bald > 0) | (matte > 0)).sum() + 0.02


def test_hair_on_one_side_alone_stands_off_little(mesh: HeadMesh) -> None:
    head = covered(mesh, SHORT_HAIR, SKIN, EYE)
    matte = head.copy()
    cv2.circle(matte, (SIZE // 2 + 70, 70), 40, 255, -1)
    style, _ = hair_style(matte, np.zeros(matte.shape), head, CAMERA)
    assert np.max(style.hull) < 0.12


def test_long_hair_is_told_by_its_colour(mesh: HeadMesh) -> None:
    head = covered(mesh, SHORT_HAIR, SKIN, EYE)
    long_hair = replace(SHORT_HAIR, thickness=0.12, curtain_end=-0.6, waves=0.0)
    matte = covered(mesh, long_hair, SKIN, EYE, CURTAIN)
    picture = np.zeros((SIZE, SIZE, 3), np.float32)
    picture[matte > 0] = (0.3, 0.2, 0.1)
    picture[head > 0] = (0.8, 0.6, 0.5)
    likeness = hair_likeness(picture, matte, head, CAMERA)
    assert likeness[(matte > 0) & (head == 0)].mean() > 0.9
    assert likeness[head > 0].mean() < 0.1
    style, band = hair_style(matte, likeness, head, CAMERA)
    assert style.curtain_end is not None
    assert style.curtain_end == pytest.approx(-0.6, abs=0.15)
    assert (band.outer >= band.inner).all()
    found = covered(mesh, style, SKIN, EYE, CURTAIN) > 0
    assert (found & (matte > 0)).sum() / (found | (matte > 0)).sum() > 0.9
    # The same outline in other colours is a collar.
    below = round(SIZE * float(project(np.array([0.0, -0.18, 0.0]), CAMERA)[1]))
    collar = picture.copy()
    collar[below:][(head == 0)[below:]] = (0.1, 0.2, 0.7)
    style, _ = hair_style(matte, hair_likeness(collar, matte, head, CAMERA), head, CAMERA)
    assert style.curtain_end is None


def test_ears_under_hair_lie_flat(mesh: HeadMesh) -> None:
    style = replace(SHORT_HAIR, ears=False)
    depth = mesh.hair_depth(style)
    ears = (mesh.ear_distance == 0) & (mesh.part == SKIN) & (np.abs(mesh.mean[:, 0]) > 0.47)
    assert ears.sum() > 20
    assert (depth[ears] > 0).mean() > 0.9
    assert (mesh.hair_depth(SHORT_HAIR)[ears] < 0).all()
    assert np.abs(mesh.shape(style, depth)[ears, 0]).max() < FLAT_EAR + 0.03
