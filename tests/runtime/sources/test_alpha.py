"""Alpha channels that cut a person out and such that do not: painted people, and a network that sees red."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.sources.alpha import cuts_a_person_out, normalised, over_grey
from hidenerf.runtime.sources.cut_out import grown, triangle_mask
from hidenerf.runtime.sources.matting_network import MattingNetwork, open_matting_network
from tests.support.matting_files import write_red_network

Mask = NDArray[np.uint8]

SIZE = 256
RED, BLUE = (230, 20, 30), (20, 60, 220)


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture(scope="module")
def vertices(face_model: FaceModel) -> NDArray[np.float64]:
    return project(face_model.mean.astype(np.float64), canonical_camera()) * SIZE


@pytest.fixture(scope="module")
def person(face_model: FaceModel, vertices: NDArray[np.float64]) -> Mask:
    """A head with hair around it, and shoulders: [SIZE, SIZE], 0 or 255."""
    painted = grown(triangle_mask(vertices, face_model.triangles, SIZE), 0.05)
    cv2.ellipse(painted, (SIZE // 2, SIZE + 10), (105, 60), 0, 0, 360, 1, -1)
    return painted * np.uint8(255)


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> MattingNetwork:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")
    network = open_matting_network(write_red_network(tmp_path_factory.mktemp("red") / "red.onnx", SIZE))
    assert network is not None
    return network


def shape(name: str, person: Mask) -> Mask:
    """An alpha channel [SIZE, SIZE] that is no cut-out."""
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    if name == "rounded corners":
        cv2.rectangle(alpha, (30, 0), (SIZE - 31, SIZE), 255, -1)
        cv2.rectangle(alpha, (0, 30), (SIZE, SIZE - 31), 255, -1)
        for x in (30, SIZE - 31):
            for y in (30, SIZE - 31):
                cv2.circle(alpha, (x, y), 30, 255, -1)
    elif name == "a circle":
        cv2.circle(alpha, (SIZE // 2, SIZE // 2), SIZE // 2, 255, -1)
    elif name == "a window with a shadow":
        alpha[12:-24, 12:-12] = 255
        alpha = np.maximum(alpha, cv2.GaussianBlur(alpha, (0, 0), 6) // 2)
    elif name == "nearly opaque":
        alpha[:] = 250
    elif name == "the background alone":
        alpha = 255 - person
    elif name == "a notch":
        alpha[:] = 255
        alpha[:40, 70:180] = 0
    return alpha


def cuts(
    alpha: Mask, person: Mask, vertices: NDArray[np.float64], model: FaceModel, network: MattingNetwork | None
) -> bool:
    picture = np.where(person[..., None] > 0, np.array(RED, np.uint8), np.array(BLUE, np.uint8))
    return cuts_a_person_out(over_grey(picture, alpha), alpha, np.eye(2, 3), SIZE, vertices, model, network)


@pytest.mark.parametrize(
    "name", ["rounded corners", "a circle", "a window with a shadow", "nearly opaque", "the background alone"]
)
def test_frames_cut_nobody_out(
    person: Mask, vertices: NDArray[np.float64], face_model: FaceModel, red: MattingNetwork, name: str
) -> None:
    alpha = shape(name, person)
    assert not cuts(alpha, person, vertices, face_model, red)
    assert not cuts(alpha, person, vertices, face_model, None)


def test_other_shapes_are_told_by_the_network(
    person: Mask, vertices: NDArray[np.float64], face_model: FaceModel, red: MattingNetwork
) -> None:
    assert not cuts(shape("a notch", person), person, vertices, face_model, red)


def test_a_person_and_a_head_alone_are_cut_out(
    person: Mask, vertices: NDArray[np.float64], face_model: FaceModel, red: MattingNetwork
) -> None:
    head = grown(triangle_mask(vertices, face_model.triangles, SIZE), 0.05) * np.uint8(255)
    soft = cv2.GaussianBlur(person, (0, 0), 3).astype(np.uint8, copy=False)
    for network in (red, None):
        for alpha in (person, head, soft):
            assert cuts(alpha, person, vertices, face_model, network)


def test_people_whom_the_network_does_not_see_are_told_by_shape(
    person: Mask, vertices: NDArray[np.float64], face_model: FaceModel, red: MattingNetwork
) -> None:
    green = np.full((SIZE, SIZE, 3), (10, 220, 40), np.uint8)
    for alpha, expected in ((person, True), (shape("rounded corners", person), False)):
        assert cuts_a_person_out(green, alpha, np.eye(2, 3), SIZE, vertices, face_model, red) is expected


def test_an_even_alpha_says_nothing_and_a_faint_one_is_made_whole(person: Mask) -> None:
    for value in (0, 90, 250, 255):
        assert normalised(np.full((4, 5), value, np.uint8)) is None
    faint = normalised(person // 2)
    assert faint is not None
    assert set(np.unique(faint)) == {0, 255}
    np.testing.assert_array_equal(normalised(person), person)


def test_a_picture_over_grey() -> None:
    picture = np.full((1, 3, 3), 200, np.uint8)
    over = over_grey(picture, np.array([[0, 255, 51]], np.uint8))
    # 0.2 · 200 + 0.8 · 128 = 142.4
    assert over[0, :, 0].tolist() == [128, 200, 142]
