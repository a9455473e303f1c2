import numpy as np

from hidenerf.calibration.precision.plan_picture import BUDGET, DROPPED, KEPT, PLAN, Point, pareto_picture


def drawn(colour: tuple[int, int, int], **changes: object) -> int:
    points: dict[str, object] = {
        "kept": [Point(10.0, 60.0), Point(8.0, 50.0)],
        "dropped": [Point(7.0, 41.0)],
        "fp16": Point(12.0, 67.0),
        "plan": Point(8.0, 49.0),
        "budget": 42.0,
    }
    picture = pareto_picture(**(points | changes))
    assert picture.shape == (640, 960, 3)
    return int((picture == np.array(colour)).all(axis=2).sum())


def test_every_kind_of_point_is_drawn() -> None:
    for colour in (KEPT, DROPPED, PLAN, BUDGET):
        assert drawn(colour) > 20
    assert drawn(DROPPED, dropped=[]) == 0
    assert drawn(KEPT, kept=[]) == 0


def test_a_single_value_does_not_break_the_axes() -> None:
    same = Point(5.0, 42.0)
    assert drawn(PLAN, kept=[], dropped=[], fp16=same, plan=same) > 20
