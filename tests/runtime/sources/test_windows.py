"""Windows in a cut-out: a painted person on a wall, whose mask is closed where the wall shows."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hidenerf.runtime.camera import canonical_camera, project
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.sources.cut_out import below_and_aside, grown, triangle_mask
from hidenerf.runtime.sources.windows import windows

Mask = NDArray[np.uint8]
Picture = NDArray[np.uint8]

SIZE = 256
HAIR, WALL, SKIN = (120, 80, 40), (60, 110, 190), (220, 170, 150)


@pytest.fixture(scope="module")
def head() -> Mask:
    model = load_face_model(default_face_model_path())
    vertices = project(model.mean.astype(np.float64), canonical_camera()) * SIZE
    return triangle_mask(vertices, model.triangles, SIZE)


def person(head: Mask) -> tuple[Picture, Mask]:
    """Somebody with wide hair down to the shoulders, with noise as of a camera, and the mask, 0 or 255."""
    mask = grown(head, 0.22)
    cv2.ellipse(mask, (SIZE // 2, SIZE + 10), (127, 95), 0, 0, 360, 1, -1)
    picture = np.where(mask[..., None] > 0, np.array(HAIR), np.array(WALL))
    picture[head > 0] = SKIN
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8), mask * np.uint8(255)


def place(head: Mask, below: float, aside: float) -> tuple[int, int]:
    """The pixel (x, y) right of the head that lies so in its heights and widths."""
    rows, columns = below_and_aside(head)
    right = np.arange(SIZE)[None] > SIZE // 2
    y, x = np.unravel_index(np.where(right, np.abs(rows - below) + np.abs(columns - aside), 9).argmin(), head.shape)
    return int(x), int(y)


def painted(picture: Picture, at: tuple[int, int], colour: tuple[int, int, int], radius: int = 7) -> Picture:
    return np.asarray(cv2.circle(picture.copy(), at, radius, colour, -1), np.uint8)


def test_a_window_that_shows_the_wall_is_opened(head: Mask) -> None:
    picture, mask = person(head)
    at = place(head, 0.05, 0.6)
    assert mask[at[1], at[0]] == 255
    opened = windows(painted(picture, at, WALL), mask, head) > 0.5
    expected = cv2.circle(np.zeros_like(mask), at, 7, 1, -1) > 0
    assert (opened & expected).sum() > 0.9 * expected.sum()
    assert (opened & ~cv2.circle(np.zeros_like(mask), at, 11, 1, -1).astype(bool)).sum() == 0
    # At another resolution.
    large = [
        cv2.resize(one, (512, 512), interpolation=cv2.INTER_NEAREST) for one in (painted(picture, at, WALL), mask, head)
    ]
    assert windows(*large)[2 * at[1], 2 * at[0]] > 0.9


@pytest.mark.parametrize(
    ("below", "aside", "colour"),
    [(0.05, 0.6, (200, 40, 40)), (-0.5, 0.2, WALL), (0.05, 0.3, WALL), (0.4, 0.6, WALL)],
    ids=["another colour", "in the face", "at the collar", "on the clothes"],
)
def test_other_patches_stay(head: Mask, below: float, aside: float, colour: tuple[int, int, int]) -> None:
    picture, mask = person(head)
    assert not windows(painted(picture, place(head, below, aside), colour), mask, head).any()


def test_hair_of_the_wall_s_colour_stays(head: Mask) -> None:
    picture, mask = person(head)
    alike = picture.copy()
    hair = (mask > 0) & (head == 0)
    alike[hair] = (alike[hair].astype(int) - HAIR + WALL).clip(0, 255)
    assert not windows(alike, mask, head).any()


def test_a_person_that_fills_the_crop_has_no_windows(head: Mask) -> None:
    picture, mask = person(head)
    assert not windows(picture, np.full_like(mask, 255), head).any()
