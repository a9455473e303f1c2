"""Cutting a person out with a network: painted people and a network that sees red; real portraits and the shipped one.

The painted people are red on blue, so that their true opacity is known.
"""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.sources.alignment import align
from hidenerf.runtime.sources.cut_out import grown, person_mask, triangle_mask
from hidenerf.runtime.sources.matting import cut_out_person, mask_by_network
from hidenerf.runtime.sources.matting_network import MattingNetwork, open_matting_network
from hidenerf.runtime.sources.prepare import prepare_source
from hidenerf.runtime.tracking.identity_fit import fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.pose import project_head
from hidenerf.runtime.tracking.search import find_faces
from tests.support.faces import grey, portrait
from tests.support.matting_files import write_red_network

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")

Mask = NDArray[np.uint8]
Picture = NDArray[np.uint8]
Array = NDArray[np.float64]

SIZE = 256
RED, BLUE = (230, 20, 30), (20, 60, 220)
UNCHANGED = np.eye(2, 3)


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def vertices(face_model: FaceModel) -> Array:
    return project(face_model.mean.astype(np.float64), canonical_camera()) * SIZE


@pytest.fixture(scope="module")
def person(face_model: FaceModel, vertices: Array) -> Mask:
    """A head with hair around it, and shoulders: [SIZE, SIZE], 0 or 1."""
    painted = grown(triangle_mask(vertices, face_model.triangles, SIZE), 0.05)
    cv2.ellipse(painted, (SIZE // 2, SIZE + 10), (105, 60), 0, 0, 360, 1, -1)
    return painted


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> MattingNetwork:
    network = open_matting_network(write_red_network(tmp_path_factory.mktemp("red") / "red.onnx", SIZE))
    assert network is not None
    return network


def painted(person: Mask) -> Picture:
    return np.where(person[..., None] > 0, np.array(RED, np.uint8), np.array(BLUE, np.uint8))


def cut(network: MattingNetwork, picture: Picture, vertices: Array, model: FaceModel, *others: Array) -> Mask:
    mask = mask_by_network(network, picture, UNCHANGED, SIZE, vertices, model, others)
    assert mask is not None
    return mask


def agreement(mask: Mask, person: Mask) -> float:
    """Intersection over union at one half."""
    return float(((mask > 127) & (person > 0)).sum() / ((mask > 127) | (person > 0)).sum())


def test_a_person_is_found(red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel) -> None:
    mask = cut(red, painted(person), vertices, face_model)
    assert agreement(mask, person) > 0.99
    edge = cv2.morphologyEx(person, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8)) > 0
    # The red is nine tenths of the reddest.
    assert (mask[(person > 0) & ~edge] > 245).all()
    assert (mask[(person == 0) & ~edge] == 0).all()


def test_what_is_not_connected_with_the_head_goes(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    both = person.copy()
    # A shoulder at the border, and one that a thin strap joins to the hair.
    cv2.circle(both, (SIZE, 60), 40, 1, -1)
    cv2.circle(both, (0, 60), 36, 1, -1)
    cv2.line(both, (0, 60), (SIZE // 2, 60), 1, 2)
    mask = cut(red, painted(both), vertices, face_model)
    assert not mask[30:100, -20:].any()
    assert not mask[30:100, :20].any()
    assert agreement(mask, person) > 0.98


def test_a_window_in_the_hair_stays_open_and_a_hole_in_the_clothes_is_closed(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    left, top = vertices.min(axis=0)
    beside = round(left) - 22, round(top) + 70
    hairy = person.copy()
    cv2.circle(hairy, beside, 34, 1, -1)
    cv2.circle(hairy, beside, 10, 0, -1)
    holed = hairy.copy()
    button = SIZE // 2 + 60, SIZE - 16
    assert hairy[button[1] - 8 : button[1] + 9, button[0] - 8 : button[0] + 9].all()
    cv2.circle(holed, button, 6, 0, -1)
    mask = cut(red, painted(holed), vertices, face_model)
    assert mask[beside[1], beside[0]] == 0
    assert mask[button[1], button[0]] == 255
    assert agreement(mask, hairy) > 0.98


def test_another_person_that_touches_goes_where_the_face_is_known(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    other = np.zeros_like(person)
    cv2.ellipse(other, (SIZE - 18, 90), (40, 60), 0, 0, 360, 1, -1)
    other[person > 0] = 0
    picture = painted(person | other)
    # Another red, so that there is an edge between them.
    picture[other > 0] = 225, 90, 30
    face = np.array([[SIZE - 45, 60], [SIZE - 1, 60], [SIZE - 20, 120], [SIZE - 45, 100]], np.float64)
    assert (cut(red, picture, vertices, face_model)[other > 0] > 127).mean() > 0.9
    mask = cut(red, picture, vertices, face_model, face)
    assert (mask[other > 0] > 127).mean() < 0.05
    assert agreement(mask, person) > 0.96


def test_somebody_cut_off_by_the_picture_s_edge_goes_though_no_face_was_found(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    head_alone = person.copy()
    other = np.zeros_like(person)
    # Half a head and its shoulder, which the person's shoulder touches.
    cv2.ellipse(other, (SIZE, 110), (38, 60), 0, 0, 360, 1, -1)
    cv2.rectangle(other, (SIZE - 38, 120), (SIZE, SIZE), 1, -1)
    other[person > 0] = 0
    picture = painted(person | other)
    picture[other > 0] = 225, 90, 30
    mask = cut(red, picture, vertices, face_model)
    assert (mask[other > 0] > 127).mean() < 0.05
    assert agreement(mask, person) > 0.96
    # Hair that reaches the edge is the person's.
    cv2.rectangle(head_alone, (SIZE // 2, 60), (SIZE, 150), 1, -1)
    assert agreement(cut(red, painted(head_alone), vertices, face_model), head_alone) > 0.98


def test_haze_around_the_person_goes(red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel) -> None:
    picture = painted(person)
    # As a network sees a flag: half sure.
    picture[: SIZE // 2, : SIZE // 4][person[: SIZE // 2, : SIZE // 4] == 0] = 130, 90, 160
    mask = cut(red, picture, vertices, face_model)
    assert not mask[: SIZE // 2, :20].any()
    assert agreement(mask, person) > 0.97


def test_dark_pictures_are_brightened(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    dark = (painted(person) * 0.08).round().astype(np.uint8)
    assert agreement(cut(red, dark, vertices, face_model), person) > 0.98


def test_the_person_is_refined_in_a_large_picture(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    large = cv2.resize(painted(person), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    matrix = np.eye(2, 3) / 3
    mask = mask_by_network(red, large, matrix, SIZE, vertices, face_model)
    assert mask is not None
    assert agreement(mask, person) > 0.985


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_is_seen_upright(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel, quarters: int
) -> None:
    turned = np.ascontiguousarray(np.rot90(painted(person), quarters))
    # Pixels of the turned picture to those of the upright one.
    matrix = {
        1: np.array([[0.0, -1, SIZE], [1, 0, 0]]),
        2: np.array([[-1.0, 0, SIZE], [0, -1, SIZE]]),
        3: np.array([[0.0, 1, 0], [-1, 0, SIZE]]),
    }[quarters]
    mask = mask_by_network(red, turned, matrix, SIZE, vertices, face_model)
    assert mask is not None
    assert agreement(mask, person) > 0.98


def test_a_head_that_the_network_does_not_see_is_cut_out_by_colour(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel, caplog: pytest.LogCaptureFixture
) -> None:
    green = np.where(person[..., None] > 0, np.array((10, 220, 40), np.uint8), np.array((10, 20, 220), np.uint8))
    inside = np.full((SIZE, SIZE), 255, np.uint8)
    assert mask_by_network(red, green, UNCHANGED, SIZE, vertices, face_model) is None
    caplog.clear()
    with caplog.at_level(logging.INFO):
        mask = cut_out_person(green, UNCHANGED, green, inside, vertices, face_model, red)
    assert ["cut out by colour" in record.message for record in caplog.records] == [True]
    np.testing.assert_array_equal(mask, person_mask(green, inside, vertices, face_model))
    without = cut_out_person(green, UNCHANGED, green, inside, vertices, face_model, None)
    np.testing.assert_array_equal(mask, without)


def test_nothing_is_the_person_beyond_the_picture(
    red: MattingNetwork, person: Mask, vertices: Array, face_model: FaceModel
) -> None:
    inside = np.full((SIZE, SIZE), 255, np.uint8)
    inside[-20:] = 0
    crop = painted(person)
    mask = cut_out_person(crop[:-20], UNCHANGED, crop, inside, vertices, face_model, red)
    assert not mask[-20:].any()
    assert agreement(mask, person * (inside > 0)) > 0.98


# What follows needs real portraits.


@pytest.mark.slow
def test_the_shipped_network_leaves_out_flags(shared_data: Path, face_landmarker: Path, face_model: FaceModel) -> None:
    network = open_matting_network()
    assert network is not None
    scores = []
    with FaceLandmarker(face_landmarker, face_model.expression_names) as landmarker:
        for name in ("0041", "0108", "0152", "0412"):
            picture = portrait(shared_data / "people" / "pictures", f"{name}.jpg")
            matte = portrait(shared_data / "people" / "mattes", f"{name}.png")[..., 1]
            (face,) = find_faces(landmarker, picture)
            fit = fit_face(face, face_model, *picture.shape[:2])
            matrix = align(fit.pose, fit.intrinsics, SIZE).matrix
            pixels = project_head(face_model.vertices(fit.identity, fit.expression), fit.pose, fit.intrinsics)
            mask = mask_by_network(network, picture, matrix, SIZE, pixels @ matrix[:, :2].T + matrix[:, 2], face_model)
            assert mask is not None
            expected = cv2.warpAffine(matte, matrix, (SIZE, SIZE), flags=cv2.INTER_AREA)
            inside = cv2.warpAffine(np.ones_like(matte), matrix, (SIZE, SIZE)) > 0
            scores.append(agreement(mask * inside, (expected > 127) & inside))
    assert min(scores) > 0.97, scores


@pytest.mark.slow
def test_a_neighbour_is_left_out(
    shared_data: Path, face_landmarker: Path, face_model: FaceModel, tmp_path: Path
) -> None:
    people, shift = shared_data / "people", 320
    front, behind = (portrait(people / "pictures", f"{name}.jpg") for name in ("0041", "0108"))
    front_matte, behind_matte = (portrait(people / "mattes", f"{name}.png") / 255 for name in ("0041", "0108"))
    picture = np.concatenate([front, np.repeat(front[:, -1:], shift, axis=1)], axis=1).astype(np.float64)
    for person, matte, place in ((behind, behind_matte, np.s_[:, shift:]), (front, front_matte, np.s_[:, :-shift])):
        picture[place] += matte * (person - picture[place])
    cv2.imwrite(str(tmp_path / "both.png"), picture.round().astype(np.uint8)[:, :, ::-1])

    def mask(path: Path) -> Mask:
        return prepare_source(path, face_model, SIZE, landmarker=face_landmarker, face=1).mask

    alone = mask(people / "pictures" / "0041.jpg") > 127
    # Without the other face it would be 0.83.
    assert agreement(mask(tmp_path / "both.png"), alone) > 0.96
    # The same where the picture's edge cuts the other face in two, so that it is not found.
    cv2.imwrite(str(tmp_path / "edge.png"), picture[:, : shift + 250].round().astype(np.uint8)[:, :, ::-1])
    assert agreement(mask(tmp_path / "edge.png"), alone) > 0.96


def test_a_bad_network_is_an_error_before_the_face_is_looked_for(face_model: FaceModel, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "picture.png"), grey((64, 64)))
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(HideNerfError, match=r"bad\.onnx: ONNX Runtime does not load it"):
        prepare_source(tmp_path / "picture.png", face_model, SIZE, matting=tmp_path / "bad.onnx")
