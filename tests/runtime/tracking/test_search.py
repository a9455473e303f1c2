import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.search import (
    MOST_WINDOWS,
    Window,
    find_faces,
    search_levels,
    select_face,
    smallest_face,
    upside_down,
    view,
)
from tests.support.faces import FACES, PORTRAITS, Picture, grey, pasted, portrait


@pytest.fixture(scope="module")
def landmarker(face_landmarker: Path) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(face_landmarker, ARKIT_EXPRESSIONS) as opened:
        yield opened


def face_at(x: float, size: float) -> FaceObservation:
    corners = np.array([[x - size / 2, 0.0], [x + size / 2, size]])
    return FaceObservation(corners, np.zeros(1, np.float32))


@given(st.integers(40, 12000), st.integers(40, 12000), st.data())
def test_every_level_but_the_last_covers_every_place_of_the_picture(
    height: int, width: int, data: st.DataObject
) -> None:
    x, y = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
    for level in search_levels(height, width)[:-1]:
        assert any(w.left - 1 <= x <= w.left + w.side + 1 and w.top - 1 <= y <= w.top + w.side + 1 for w in level)


@given(st.integers(40, 40000), st.integers(40, 40000))
def test_a_search_is_bounded_and_reaches_the_faces_that_it_promises(height: int, width: int) -> None:
    levels = search_levels(height, width)
    assert sum(map(len, levels)) <= MOST_WINDOWS + 2
    sides = [level[0].side for level in levels[:-1]]
    assert all(next_side < side for side, next_side in itertools.pairwise(sides[1:]))
    smallest = smallest_face(height, width)
    assert smallest == 40 or height * width > 60e6 or max(height, width) > 12 * min(height, width)
    # A sixth of the smallest window; windows of small pictures reach further.
    assert min(sides) <= 6 * smallest + 1 or min(height, width) < 240


@pytest.mark.parametrize(("size", "smallest"), [((512, 512), 40), ((4000, 6000), 40), ((6048, 8064), 40)])
def test_40_pixels_are_enough_up_to_48_megapixels(size: tuple[int, int], smallest: int) -> None:
    assert smallest_face(*size) == smallest
    assert smallest_face(32000, 32000) > 40


@pytest.mark.slow
@pytest.mark.parametrize(("size", "face_height"), [((1440, 5120), 55), ((4000, 6000), 40), ((4000, 6000), 85)])
def test_small_faces_are_found_in_large_pictures(
    landmarker: FaceLandmarker, shared_data: Path, size: tuple[int, int], face_height: float
) -> None:
    place = 0.61 * size[1], 0.43 * size[0]
    picture = pasted(shared_data, "src_astronaut.png", grey(size), face_height, place)
    (face,) = find_faces(landmarker, picture)
    np.testing.assert_allclose(face.centre, place, atol=0.1 * face_height)
    assert face.size == pytest.approx(face_height, rel=0.1)


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_face_upside_down_is_found(landmarker: FaceLandmarker, shared_data: Path, name: str) -> None:
    upright = portrait(shared_data, name)
    height, width = upright.shape[:2]
    (face,) = find_faces(landmarker, np.ascontiguousarray(upright[::-1, ::-1]))
    (expected,) = find_faces(landmarker, upright)
    assert upside_down(face)
    assert not upside_down(expected)
    # The same landmarks, turned: the left eye stays the left eye.
    np.testing.assert_allclose([width, height] - face.landmarks, expected.landmarks, atol=0.02 * expected.size)
    np.testing.assert_allclose(face.scores, expected.scores, atol=0.1)


def test_a_view_keeps_places_and_is_black_outside() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[20:30, 40:50] = 200
    seen = view(picture, Window(30, -10, 40), 80)
    # Twice as large: rows (20..30 + 10) · 2, columns (40..50 - 30) · 2.
    rows, columns = np.nonzero(seen[..., 0] > 100)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 79, 20, 39)
    assert not view(picture, Window(-200, 0, 50), 16).any()


def test_a_view_averages_when_it_shrinks() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert set(np.unique(view(stripes, Window(0, 0, 64), 16))) == {100}


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_face_of_a_portrait_is_found(landmarker: FaceLandmarker, shared_data: Path, name: str) -> None:
    (face,) = find_faces(landmarker, portrait(shared_data, name))
    height, middle = FACES[name]
    assert face.size == pytest.approx(height, rel=0.05)
    np.testing.assert_allclose(face.centre, middle, atol=0.05 * height)


@pytest.mark.parametrize(("face_height", "roll"), [(40, 0), (40, 30), (90, -30)])
def test_small_faces_are_found_where_they_are(
    landmarker: FaceLandmarker, shared_data: Path, face_height: float, roll: float
) -> None:
    picture = pasted(shared_data, "src_obama.jpg", grey((720, 1280)), face_height, (900, 400), roll)
    assert landmarker.detect(picture) == []
    (face,) = find_faces(landmarker, picture)
    np.testing.assert_allclose(face.centre, [900, 400], atol=0.1 * face_height)
    assert face.size == pytest.approx(face_height, rel=0.2)


def faceless(kind: str, shared_data: Path) -> Picture:
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 256, (480, 640, 3), np.uint8)
    if kind == "noise":
        return noise
    if kind == "clouds":
        blurred = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 9)
        return cv2.normalize(blurred, np.empty_like(blurred), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    if kind == "blobs like eyes and mouths":
        picture = grey((480, 640))
        for x, y in generator.integers(20, 460, (60, 2)):
            cv2.ellipse(picture, (int(x), int(y)), (12, 6), 0, 0, 360, (40, 30, 30), -1)
        return picture
    # The room behind the astronaut, with a flag and a model of the shuttle.
    return portrait(shared_data, "src_astronaut.png")[:, 300:]


@pytest.mark.parametrize("kind", ["noise", "clouds", "blobs like eyes and mouths", "a room"])
def test_no_face_is_found_where_none_is(landmarker: FaceLandmarker, shared_data: Path, kind: str) -> None:
    assert find_faces(landmarker, faceless(kind, shared_data)) == []


def test_faces_come_from_left_to_right_and_one_must_be_chosen(landmarker: FaceLandmarker, shared_data: Path) -> None:
    picture = pasted(shared_data, "src_obama.jpg", grey((512, 1024)), 130, (800, 200))
    picture = pasted(shared_data, "src_astronaut.png", picture, 100, (200, 200))
    faces = find_faces(landmarker, picture)
    assert [round(face.centre[0], -2) for face in faces] == [200, 800]
    with pytest.raises(HideNerfError, match=r"two\.png: 2 faces were found .*--face N, N from 1 to 2"):
        select_face(faces, None, "two.png")
    assert select_face(faces, 2, "two.png") is faces[1]


def test_a_face_in_the_background_needs_no_choice() -> None:
    small, large = face_at(50, 40), face_at(300, 90)
    assert select_face([small, large], None, "x") is large
    assert select_face([small, large], 1, "x") is small


def test_choosing_a_face_that_is_not_there_says_how_many_are() -> None:
    with pytest.raises(HideNerfError, match=r"there is no face 3; 2 faces were found .* from 1 to 2"):
        select_face([face_at(50, 40), face_at(300, 40)], 3, "x")
    with pytest.raises(HideNerfError, match=r"x\.png: no face was found"):
        select_face([], None, "x.png")
    with pytest.raises(HideNerfError, match=r"at least 172 pixels high\.$"):
        select_face([], None, "x.png", 172)
