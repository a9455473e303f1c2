"""Alignment onto ArcFace's template, and embeddings by a small real network."""

from pathlib import Path

import numpy as np
import pytest

from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.training.evaluation.recognition import (
    ARCFACE,
    DLIB,
    aligned_face,
    cosine,
    embeddings,
    face_points,
    face_recogniser,
    similarity,
)
from tests.support.training_networks import write_channel_means, write_projection

TEMPLATE = ARCFACE.template

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


def test_a_similarity_is_found_again_exactly() -> None:
    angle, scale, shift = 0.4, 1.7, np.array([30.0, -12.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity(TEMPLATE, TEMPLATE @ turn.T + shift)
    np.testing.assert_allclose(found, np.column_stack([turn, shift]), atol=1e-12)


def test_a_similarity_is_the_nearest_one() -> None:
    generator = np.random.default_rng(1)
    onto = TEMPLATE * 2 + generator.normal(size=TEMPLATE.shape)

    def error(matrix: np.ndarray) -> float:
        return float(np.square(TEMPLATE @ matrix[:, :2].T + matrix[:, 2] - onto).sum())

    best = similarity(TEMPLATE, onto)
    for change in np.eye(2):
        turned = best[:, :2] @ (np.eye(2) + 1e-3 * np.array([[change[0], -change[1]], [change[1], change[0]]]))
        assert error(np.column_stack([turned, best[:, 2]])) > error(best)
        assert error(np.column_stack([best[:, :2], best[:, 2] + 1e-3 * change])) > error(best)


@pytest.mark.parametrize("scale", [0.7, 1.0, 3.0])
def test_aligned_faces_have_their_points_on_the_template(scale: float) -> None:
    """Discs at the points of a turned face fall where the template has its points."""
    angle = np.radians(20)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ turn.T + scale * 70 + 20
    size = int(points.max() + 20 * scale)
    centres = np.arange(size) + 0.5
    for place, onto in zip(points, TEMPLATE, strict=True):
        distance = np.hypot(centres[None] - place[0], centres[:, None] - place[1])
        picture = np.repeat((255 * np.clip(4 * scale - distance, 0, 1))[..., None], 3, axis=2).astype(np.uint8)
        face = aligned_face(ARCFACE, picture, points)[..., 0].astype(float)
        rows, columns = np.indices(face.shape)
        middle = np.array([(columns * face).sum(), (rows * face).sum()]) / face.sum()
        np.testing.assert_allclose(middle, onto, atol=0.1)


def test_the_points_of_the_mean_face_stand_as_in_the_template(face_model: FaceModel) -> None:
    """Seen from in front: eyes level above the nose above the mouth, the subject's right on the left."""
    identity, expression = np.zeros(len(face_model.identity_names)), np.zeros(len(face_model.expression_names))
    points = face_points(ARCFACE, face_model, identity, expression, canonical_camera())
    matrix = similarity(points, TEMPLATE)
    laid = points @ matrix[:, :2].T + matrix[:, 2]
    assert np.linalg.norm(laid - TEMPLATE, axis=1).max() < 6
    turned = face_points(ARCFACE, face_model, identity, expression, canonical_camera(roll=30))
    # Positive roll is anticlockwise as the viewer sees it, y down.
    along = turned[1] - turned[0]
    assert np.degrees(np.arctan2(-along[1], along[0])) == pytest.approx(30, abs=1)


def test_an_open_mouth_moves_its_corners(face_model: FaceModel) -> None:
    identity, expression = np.zeros(len(face_model.identity_names)), np.zeros(len(face_model.expression_names))
    closed = face_points(ARCFACE, face_model, identity, expression, canonical_camera())
    expression[face_model.expression_names.index("jawOpen")] = 1
    opened = face_points(ARCFACE, face_model, identity, expression, canonical_camera())
    assert (opened[3:, 1] - closed[3:, 1] > 0.01).all()
    np.testing.assert_allclose(opened[:3], closed[:3], atol=0.005)


def test_csim_of_a_picture_with_itself_is_one_whatever_its_size(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    network = face_recogniser(
        write_projection(tmp_path / "network.onnx", 112, generator.normal(size=(3 * 112 * 112, 8)))
    )
    smooth = np.kron(generator.integers(0, 255, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    points = (TEMPLATE + 0.5) / 128
    one = embeddings(network, smooth[None], [points])
    again = embeddings(network, np.kron(smooth, np.ones((2, 2, 1), np.uint8))[None], [points])
    assert cosine(one[0], 3 * one[0]) == pytest.approx(1)
    assert cosine(one[0], again[0]) == pytest.approx(1, abs=0.01)


def test_the_network_sees_rgb_from_minus_one_to_one(tmp_path: Path) -> None:
    """Of plain pictures the channels' means are their colour: (255, 127.5, 0) is nearly (1, 0, -1)."""
    network = face_recogniser(write_channel_means(tmp_path / "network.onnx", 112))
    colours = np.array([[255, 127, 0], [0, 255, 255], [255, 255, 255]], np.uint8)
    pictures = np.broadcast_to(colours[:, None, None], (3, 112, 112, 3)).copy()
    found = embeddings(network, pictures, [(TEMPLATE + 0.5) / 112] * 3)
    expected = (colours - 127.5) / 127.5
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert cosine(found[0], found[2]) == pytest.approx(0, abs=0.01)


def test_a_network_of_dlibs_size_sees_what_dlibs_sees(tmp_path: Path) -> None:
    """A plain picture of dlib's mean colour, rounded, is nearly 0; white is 1 less the means."""
    recogniser = face_recogniser(write_channel_means(tmp_path / "network.onnx", 150))
    assert recogniser.convention is DLIB
    assert recogniser.distances
    colours = np.array([[123, 117, 104], [255, 255, 255]], np.uint8)
    pictures = np.broadcast_to(colours[:, None, None], (2, 150, 150, 3)).copy()
    found = embeddings(recogniser, pictures, [(DLIB.template + 0.5) / 150] * 2)
    np.testing.assert_allclose(found, (colours - np.array(DLIB.mean)) / 256, atol=1e-4)


def test_dlibs_points_are_the_eyes_corners_and_below_the_nose(face_model: FaceModel) -> None:
    """On a frontal head: outer corners outside, the template's order, the nose in the middle and below."""
    identity, expression = np.zeros(len(face_model.identity_names)), np.zeros(len(face_model.expression_names))
    points = face_points(DLIB, face_model, identity, expression, canonical_camera())
    left_outer, left_inner, right_inner, right_outer = points[[0, 1, 3, 2], 0]
    assert left_outer > left_inner > points[4, 0] > right_inner > right_outer
    assert points[4, 1] > points[:4, 1].max() + 0.05
    matrix = similarity(150 * points, DLIB.template)
    off = 150 * points @ matrix[:, :2].T + matrix[:, 2] - DLIB.template
    assert np.abs(off).max() < 6
