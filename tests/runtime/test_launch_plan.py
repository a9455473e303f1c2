"""Launch plans as files."""

import json

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.launch_plan import (
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    Modulation,
    Planes,
    PlanMap,
    parse_plan,
)

PLAN = LaunchPlan(
    "refiner",
    {"picture": PlanMap(4, 8, 8), "a": PlanMap(20, 8, 8), "a.modulated": PlanMap(20, 16, 16)},
    (
        ChannelsLast((Planes("rendered", 0, 3, 2.0, -1.0), Planes("alpha", 0, 1)), "picture"),
        Convolution(
            "a",
            (MapRead("picture"), MapRead("a", enlarged=True)),
            3,
            1,
            1,
            "a",
            20,
            8,
            8,
            sums=(MapRead("picture"),),
            leak=0.1,
            output="a",
            modulation=Modulation("gamma", "beta", True, 0.1, True, "a.modulated"),
        ),
        FramePixels("a", "rendered", "alpha", None, "own", "shown"),
    ),
)


def test_a_plan_is_read_as_it_was_written() -> None:
    assert parse_plan(json.dumps(PLAN.to_json()), "file") == PLAN


def test_padded_channels_and_bytes_by_hand() -> None:
    assert PlanMap(20, 8, 4).padded == 24
    assert PlanMap(20, 8, 4).bytes == 2 * 24 * 8 * 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "the format 2, where this hidenerf reads 1"),
        ({"steps": [{"kind": "pooling"}]}, "'pooling'"),
        ({"steps": [{"kind": "frame_pixels", "head": "a"}]}, "missing"),
    ],
)
def test_another_plan_is_refused_in_a_sentence(change: dict[str, object], reason: str) -> None:
    with pytest.raises(HideNerfError, match=reason):
        parse_plan(json.dumps(PLAN.to_json() | change), "file")
    with pytest.raises(HideNerfError, match="file: not a launch plan"):
        parse_plan("{", "file")
