"""The order of graph passes: which passes a precision needs, and that each starts from what the one before leaves."""

from pathlib import Path

import pytest

from hidenerf.export.precision import FloatPrecision, passes_for
from hidenerf.export.precision_plan import PrecisionPlan
from hidenerf.runtime.manifest import Weights
from tests.support.exported import passed, plain, whole

PLAN = PrecisionPlan(
    path=Path("plan.json"),
    checkpoint=Weights(seed=0),
    digests={},
    scales={"renderer_refiner": {"refiner.stem": 0.1}},
    islands={"refiner": frozenset({"node"})},
    text=b"",
)


def test_fp32_needs_only_the_bodies() -> None:
    assert [one.name for one in passes_for(FloatPrecision.FP32, "led")] == ["function bodies"]


def test_int8_comes_before_fp16_and_the_bodies_last() -> None:
    for precision in (FloatPrecision.FP16, PLAN):
        names = [one.name for one in passes_for(precision, "led")]
        assert names == ["INT8 convolutions", "FP16", "function bodies"]


def test_the_refiner_alone_takes_the_scales_of_its_convolutions_and_islands_of_its_own() -> None:
    int8, fp16, _ = passes_for(PLAN, "refiner")
    assert vars(int8)["scales"] == PLAN.scales["renderer_refiner"]
    assert vars(fp16)["keep"] == PLAN.islands["refiner"]
    _, fp16, _ = passes_for(PLAN, "renderer_refiner")
    assert vars(fp16)["keep"] == frozenset()


@pytest.mark.parametrize("precision", FloatPrecision)
def test_passes_leave_the_models_of_earlier_calls_alone(precision: FloatPrecision) -> None:
    before = plain("renderer_refiner").SerializeToString()
    made, _ = passed(plain("renderer_refiner"), *passes_for(precision, "renderer_refiner"))
    assert made.SerializeToString() == whole("renderer_refiner", precision.value).SerializeToString()
    assert plain("renderer_refiner").SerializeToString() == before
