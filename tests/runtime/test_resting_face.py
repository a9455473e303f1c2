"""Faces at rest, with numbers computed by hand."""

import numpy as np
import pytest

from hidenerf.runtime.resting_face import MEMORY, RESTING_ACTIONS, RestingFace, from_rest, with_rest_of

NAMES = ("jawOpen", *RESTING_ACTIONS, "tongueOut")


def expression(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in NAMES], np.float32)


def changes(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in RESTING_ACTIONS])


@pytest.mark.parametrize(
    ("change", "coefficients"),
    [
        ({"browInnerUp": 0.5, "browDownLeft": 0.2}, {"browInnerUp": 0.5, "browDownLeft": 0.2}),
        # A frown that eases on one side: half of the inner brows, which have one action, and that side's outer brow.
        ({"browDownLeft": -0.4}, {"browInnerUp": 0.2, "browOuterUpLeft": 0.4}),
        ({"browDownLeft": -0.4, "browDownRight": -0.4},
         {"browInnerUp": 0.4, "browOuterUpLeft": 0.4, "browOuterUpRight": 0.4}),
        # High brows that sink: the mean of a side's inner and outer brow.
        ({"browInnerUp": -0.6}, {"browDownLeft": 0.3, "browDownRight": 0.3}),
        ({"browInnerUp": -0.6, "browOuterUpLeft": -0.2}, {"browDownLeft": 0.4, "browDownRight": 0.3}),
        ({"eyeSquintLeft": -0.3}, {"eyeWideLeft": 0.3}),
        ({"eyeWideRight": -0.3, "eyeSquintRight": 0.1}, {"eyeSquintRight": 0.4}),
        ({"browDownLeft": 1.5}, {"browDownLeft": 1.0}),
        # Without an opposite.
        ({"mouthPressLeft": -0.3, "mouthRollUpper": 0.2}, {"mouthRollUpper": 0.2}),
    ],
)  # fmt: skip
def test_what_goes_below_rest_is_of_the_opposite_action(
    change: dict[str, float], coefficients: dict[str, float]
) -> None:
    np.testing.assert_allclose(from_rest(changes(**change)), changes(**coefficients), atol=1e-12)


def test_a_first_face_is_at_rest_and_later_ones_move_from_the_mean() -> None:
    resting = RestingFace(NAMES)
    first = expression(jawOpen=0.3, browInnerUp=0.9, browOuterUpLeft=0.8, eyeSquintLeft=0.5)
    np.testing.assert_allclose(resting.change(first), expression(jawOpen=0.3))
    # The mean is now 0.8 and 0.6: the inner brows sink by 0.2 and 0.1 of them are of each side.
    second = resting.change(expression(jawOpen=0.1, browInnerUp=0.5, browOuterUpLeft=0.8, eyeSquintLeft=0.7))
    expected = expression(jawOpen=0.1, browDownLeft=0.1, browDownRight=0.1, eyeSquintLeft=0.1)
    np.testing.assert_allclose(second, expected, atol=1e-6)


def test_what_is_given_stays_as_it_is() -> None:
    given = expression(browInnerUp=0.9)
    RestingFace(NAMES).change(given)
    with_rest_of(given, given, NAMES)
    np.testing.assert_array_equal(given, expression(browInnerUp=0.9))


def test_the_oldest_is_forgotten_after_a_while() -> None:
    resting = RestingFace(NAMES)
    for _ in range(2 * MEMORY):
        resting.change(expression())
    moved = [float(resting.change(expression(browInnerUp=0.5))[NAMES.index("browInnerUp")]) for _ in range(MEMORY)]
    assert moved[0] == pytest.approx(0.5 * (1 - 1 / MEMORY))
    # (1 - 1/n)^n is 1/e for large n.
    assert moved[-1] == pytest.approx(0.5 / np.e, rel=1e-2)


def test_the_source_s_rest_is_added() -> None:
    source = expression(jawOpen=0.7, browDownLeft=0.9, browInnerUp=0.2, eyeSquintLeft=0.4)
    driver = expression(jawOpen=0.1, browDownLeft=0.3, browInnerUp=0.5)
    expected = expression(jawOpen=0.1, browDownLeft=1.0, browInnerUp=0.7, eyeSquintLeft=0.4)
    np.testing.assert_allclose(with_rest_of(source, driver, NAMES), expected)


@pytest.mark.parametrize("names", [("jawOpen",), ("e0", "e1"), NAMES[:-2]])
def test_expressions_without_these_actions_stay_as_they_are(names: tuple[str, ...]) -> None:
    values = np.linspace(0.1, 0.9, len(names), dtype=np.float32)
    np.testing.assert_array_equal(RestingFace(names).change(values), values)
    np.testing.assert_array_equal(with_rest_of(values, values, names), values)
