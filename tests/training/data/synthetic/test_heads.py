from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_parts import SKIN
from hidenerf.training.data.synthetic.heads import BODY, CURTAIN, TEETH, HeadMesh, Style, load_head_mesh, make_head_mesh

BALD = Style((0.0,) * 6, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0), None, 2.0, 0.0, True)
SHORT_HAIR = replace(BALD, hairline=(-0.45, -0.3, -0.05, 0.24, 0.46, 0.5), thickness=0.1)


@pytest.fixture(scope="module")
def mesh() -> HeadMesh:
    return load_head_mesh()


def _head(mesh: HeadMesh, style: Style, identity: np.ndarray | None = None, **actions: float) -> np.ndarray:
    model = mesh.face_model
    if identity is None:
        identity = np.zeros(len(model.identity_names), np.float32)
    expression = np.array([actions.get(name, 0.0) for name in model.expression_names], np.float32)
    return mesh.vertices(mesh.shape(style, mesh.hair_depth(style)), identity, expression)


def test_without_hair_the_first_vertices_are_the_face_models(mesh: HeadMesh) -> None:
    model = mesh.face_model
    identity = np.random.default_rng(0).uniform(-1, 1, len(model.identity_names)).astype(np.float32)
    expression = np.zeros(len(model.expression_names), np.float32)
    expression[model.expression_names.index("jawOpen")] = 0.7
    head = _head(mesh, BALD, identity, jawOpen=0.7)
    np.testing.assert_allclose(head[: len(model.mean)], model.vertices(identity, expression), atol=1e-5)


def test_hair_only_grows_outwards_and_only_on_the_scalp(mesh: HeadMesh) -> None:
    bald, haired = _head(mesh, BALD), _head(mesh, SHORT_HAIR)
    grown = np.linalg.norm(haired - bald, axis=1)
    assert (grown[mesh.hair_depth(SHORT_HAIR) <= 0] == 0).all()
    crown = np.argmax(np.where(mesh.part == SKIN, mesh.mean[:, 1], -1))
    assert grown[crown] == pytest.approx(0.1, abs=1e-6)
    assert grown.max() <= 0.1 + 1e-6
    assert haired[crown, 1] > bald[crown, 1]
    face = (np.abs(mesh.mean[:, 0]) < 0.2) & (mesh.mean[:, 1] < 0.3) & (mesh.mean[:, 2] > 0.4)
    ears = np.abs(mesh.mean[:, 0]) > 0.5
    assert (grown[face] == 0).all()
    assert (grown[ears & (mesh.part == SKIN)] == 0).all()


def test_lower_teeth_follow_the_jaw_and_upper_teeth_do_not(mesh: HeadMesh) -> None:
    teeth = np.flatnonzero(mesh.part == TEETH)
    upper, lower = np.split(teeth, 2)
    moved = _head(mesh, BALD, jawOpen=1.0) - _head(mesh, BALD)
    chin = np.argmin(np.linalg.norm(mesh.mean - [0.0, -0.6, 0.5], axis=1))
    assert (moved[upper] == 0).all()
    assert moved[lower, 1].mean() == pytest.approx(moved[chin, 1], abs=0.08)
    assert (_head(mesh, BALD, mouthSmileLeft=1.0)[teeth] == _head(mesh, BALD)[teeth]).all()


def test_the_teeth_are_the_face_models(mesh: HeadMesh) -> None:
    model = mesh.face_model
    random = np.random.default_rng(0)
    identity = random.uniform(-1, 1, len(model.identity_names)).astype(np.float32)
    head = _head(mesh, BALD, identity, jawOpen=0.7, mouthSmileLeft=0.5)
    expression = np.array([{"jawOpen": 0.7, "mouthSmileLeft": 0.5}.get(name, 0) for name in model.expression_names])
    whole = model.vertices_with_teeth(identity, expression)
    np.testing.assert_allclose(head[: len(whole)], whole, atol=1e-5)
    assert model.teeth is not None
    assert (mesh.part == TEETH).sum() == len(model.teeth.mean)


def test_a_face_model_without_teeth_makes_no_head(mesh: HeadMesh) -> None:
    with pytest.raises(HideNerfError, match="anny has no teeth; add them with hidenerf-facemodel teeth"):
        make_head_mesh(replace(mesh.face_model, teeth=None))


@pytest.mark.parametrize("body", [True, False])
def test_nothing_but_the_body_is_open(mesh: HeadMesh, body: bool) -> None:
    """Without a body the neck is closed by a lid, so that no picture shows the inside of the head."""
    head = _head(mesh, replace(BALD, body=body))
    faces = mesh.triangles[: mesh.curtain_start]
    faces = faces[~np.isin(mesh.part[faces[:, 0]], (TEETH, CURTAIN))]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    open_edges = np.array([edge for edge, count in Counter(map(tuple, edges.tolist())).items() if count == 1])
    assert (mesh.part[open_edges] == BODY).all()
    gap = np.linalg.norm(head[open_edges[:, 0]] - head[open_edges[:, 1]], axis=1)
    assert (gap.min() > 0.01) if body else (gap.max() < 1e-3)


def test_outside_is_anticlockwise(mesh: HeadMesh) -> None:
    """Faces of teeth look forwards; those of the body, away from its axis."""
    corners = mesh.mean[mesh.triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    part = mesh.part[mesh.triangles].max(axis=1)
    assert (normal[part == TEETH][:, 2] > 0).all()
    outwards = corners[part == BODY].mean(axis=1) - mesh.mean[mesh.neck].mean(axis=0)
    assert ((normal[part == BODY] * outwards)[:, [0, 2]].sum(axis=1) > 0).mean() > 0.95


def test_long_hair_clears_the_head_and_stays_in_the_box(mesh: HeadMesh) -> None:
    style = replace(SHORT_HAIR, curtain_end=-0.95, waves=0.03)
    shape = mesh.shape(style, mesh.hair_depth(style))
    hair = shape[mesh.part == CURTAIN]
    assert np.abs(hair).max() < 1
    assert hair[:, 1].min() == pytest.approx(-0.95, abs=0.08)
    assert len(mesh.visible_triangles(style)) == len(mesh.triangles)
    assert len(mesh.visible_triangles(BALD)) == mesh.curtain_start


def test_the_mean_is_its_own_mirror_image(mesh: HeadMesh) -> None:
    """What mirrored pairs rely on."""
    mean = mesh.face_model.mean
    distance = np.abs(mean[::7, None] * [-1, 1, 1] - mean[None]).max(axis=-1)
    assert distance.min(axis=1).max() < 1e-3


def test_the_mouth_and_eyes_of_the_shipped_face_model(mesh: HeadMesh) -> None:
    np.testing.assert_allclose(mesh.left_iris, mesh.face_model.landmark_mean[473], atol=0.03)
    inside = mesh.mean[mesh.mouth_bag > 0.5]
    assert len(inside) > 100
    assert (np.abs(inside[:, 0]) < 0.25).all()
