import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.video.montage import compare_panel, letterbox

RED, GREEN, BLUE = (np.array(colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


def plain(colour: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.broadcast_to(colour, (height, width, 3)).copy()


def test_source_driving_result_in_this_order() -> None:
    panel = compare_panel(plain(RED, 10, 10), plain(GREEN, 40, 40), plain(BLUE, 20, 20))
    assert panel.shape == (20, 60, 3)
    assert panel.dtype == np.uint8
    for index, colour in enumerate((RED, GREEN, BLUE)):
        assert (panel[:, 20 * index : 20 * (index + 1)] == colour).all()


def test_no_driving_picture_is_black() -> None:
    panel = compare_panel(plain(RED, 20, 20), None, plain(BLUE, 20, 20))
    assert panel[:, 20:40].max() == 0
    assert (panel[:, 40:] == BLUE).all()


def test_wide_and_tall_pictures_are_centred_on_black() -> None:
    # Half size: five rows, of which the first is (20 - 5) // 2.
    wide = letterbox(plain(RED, 10, 40), 20, 20)
    assert (wide[7:12] == RED).all()
    assert wide[:7].max() == 0
    assert wide[12:].max() == 0
    tall = letterbox(plain(RED, 40, 10), 20, 20)
    np.testing.assert_array_equal(tall, wide.swapaxes(0, 1))


def test_same_size_is_left_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(letterbox(picture, 9, 7), picture)


@given(st.tuples(*[st.integers(1, 50)] * 6))
def test_any_sizes_fit(sizes: tuple[int, ...]) -> None:
    source, driving, result = (plain(RED, *sizes[i : i + 2]) for i in (0, 2, 4))
    panel = compare_panel(source, driving, result)
    assert panel.shape[0] == sizes[4]
    assert panel.shape[1] % 2 == 0
    assert panel.shape[1] - 3 * sizes[5] in (0, 1)
    for index in range(3):
        tile = panel[:, sizes[5] * index : sizes[5] * (index + 1), 0]
        # One side is filled, whatever the shape.
        assert tile.max(axis=0).min() == 255 or tile.max(axis=1).min() == 255


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_shape_is_kept_when_scaled(scale: float) -> None:
    side = int(40 * scale)
    boxed = letterbox(plain(RED, 30, 40), side, side)
    filled = boxed[..., 0] > 0
    assert filled.any(axis=1).sum() == round(30 * scale)
    assert filled.any(axis=0).sum() == side
