"""Launch plans as files."""

import json

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.launch_plan import (
    BilinearDoubling,
    ChannelsLast,
    Convolution,
    FramePixels,
    LaunchPlan,
    MapRead,
    Modulation,
    Planes,
    PlanMap,
    RaySamples,
    TanhPlanes,
    parse_plan,
)

PLAN = LaunchPlan(
    "refiner",
    {"picture": PlanMap(4, 8, 8), "a": PlanMap(20, 8, 8), "a.modulated": PlanMap(20, 16, 16, "all", 8)},
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
        BilinearDoubling("a", "doubled"),
        RaySamples("camera", "a", "points", "looked_up", 6, 3),
        Convolution("b", (MapRead("a"),), 3, 1, 0, "b", 8, 8, 8, planes=TanhPlanes("deformation", 0.3)),
        FramePixels("a", "rendered", "alpha", None, "own", "shown"),
    ),
)


def test_a_plan_is_read_as_it_was_written() -> None:
    assert parse_plan(json.dumps(PLAN.to_json()), "file") == PLAN


def test_a_plan_of_an_older_export_is_read() -> None:
    """It has no concatenations and no planes."""
    content = PLAN.to_json()
    for one in content["maps"].values():
        del one["within"], one["first"]
    for step in content["steps"]:
        step.pop("planes" if step["kind"] == "convolution" else "", None)
    found = parse_plan(json.dumps(content), "file")
    assert found.maps["a.modulated"] == PlanMap(20, 16, 16)
    assert found.steps[:2] == PLAN.steps[:2]


def test_a_map_lies_in_its_own_memory_or_in_a_concatenation_s() -> None:
    assert (PLAN.whole("a"), PLAN.whole("a.modulated")) == ("a", "all")


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
