"""Every rule of the config refuses what breaks it, and configs survive JSON."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from tests.support.tiny import TINY


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"render_channels": 2}, "render_channels must be at least 3"),
        ({"secc_size": 16}, "secc_size must be twice render_size"),
        ({"plane_sizes": (4, 16)}, "plane_sizes must double"),
        ({"plane_sizes": (16, 32)}, "end at half of image_size"),
        ({"plane_samples": (3, 5, 7)}, "volume_depths and plane_samples must have one entry a level"),
        ({"volume_depths": (4,)}, "volume_depths and plane_samples must have one entry a level"),
        ({"extractor_channels": (6, 8)}, "extractor_channels must have more entries"),
        ({"extractor_channels": (4, 4, 4, 4, 4, 4)}, "image_size must be divisible by 2"),
        ({"lookup_stride": 4}, "samples_per_ray must be divisible by lookup_stride"),
        ({"identity_channels": (4, 5, 6)}, "identity_channels must have as many entries"),
        ({"refiner_channels": (4, 5, 6), "identity_channels": (4, 5, 6)}, "a quarter of render_size"),
    ],
)
def test_each_rule_refuses(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(HideNerfError, match=rule) as caught:
        dataclasses.replace(TINY, name="odd", **change)
    assert "'odd'" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        # R = 16 halves four times down to 1; a sixth entry of LED's decoder has nothing left to halve.
        {"deformation_channels": (4, 4, 4, 4, 4, 4)},
        # 72 >> 4 is 4 and four times that is R, but 4 · 2^4 is 64 and not 72.
        {
            "image_size": 72,
            "plane_sizes": (18, 36),
            "refiner_channels": (4, 4, 4, 4, 4),
            "identity_channels": (4, 4, 4, 4, 4),
        },
        # A refiner of two scales starts at half of S, so R would be twice S.
        {"image_size": 16, "render_size": 32, "secc_size": 64, "plane_sizes": (4, 8), "refiner_channels": (4, 4)}
        | {"identity_channels": (4, 4)},
        {"plane_sizes": (), "plane_samples": (), "volume_depths": ()},
        {"lookup_stride": 0},
    ],
    ids=["LED's decoder too deep", "S not a multiple", "refiner too shallow", "no planes", "stride 0"],
)
def test_a_config_that_no_model_can_run_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HideNerfError):
        dataclasses.replace(TINY, **change)


@settings(max_examples=15, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(
    levels=st.integers(1, 3),
    scales=st.integers(3, 6),
    depth=st.integers(1, 6),
    extra=st.integers(1, 2),
    base=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 3),
)
def test_whatever_the_rules_let_through_runs(
    levels: int, scales: int, depth: int, extra: int, base: int, stride: int
) -> None:
    size = (base * 4) << (scales - 1)
    assume(size <= 96)
    try:
        config = dataclasses.replace(
            TINY,
            image_size=size,
            render_size=base * 16,
            secc_size=base * 32,
            samples_per_ray=6,
            plane_sizes=tuple(size >> (levels - level) for level in range(levels)),
            volume_depths=(3,) * levels,
            plane_samples=(2,) * levels,
            extractor_channels=(4,) * (levels + extra),
            deformation_channels=(4,) * depth,
            identity_channels=(4,) * scales,
            refiner_channels=(4,) * scales,
            lookup_stride=stride,
        )
    except HideNerfError:
        return
    secc = torch.zeros(1, 3, config.secc_size, config.secc_size)
    camera = torch.from_numpy(canonical_camera())[None]
    with torch.no_grad():
        output = HideNerf(config).eval()(torch.zeros(1, 3, size, size), camera, secc, secc, camera)
    assert output.frame.shape == (1, 3, size, size)


@pytest.mark.parametrize("config", [TINY, *PRESETS.values()], ids=lambda config: config.name)
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_whole_number_is_a_good_bound() -> None:
    assert ModelConfig.from_dict(TINY.to_dict() | {"maximum_deformation": 1}).maximum_deformation == 1


def test_missing_and_unknown_entries_are_named() -> None:
    values = TINY.to_dict()
    del values["mlp_width"], values["name"]
    with pytest.raises(HideNerfError, match="lacks mlp_width, name"):
        ModelConfig.from_dict(values)
    with pytest.raises(HideNerfError, match="unknown depth, width"):
        ModelConfig.from_dict(TINY.to_dict() | {"width": 1, "depth": 2})


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("mlp_width", "64"),
        ("mlp_width", 0),
        ("mlp_width", -4),
        ("mlp_width", 1.5),
        ("mlp_width", True),
        ("mlp_width", None),
        ("maximum_deformation", 0.0),
        ("maximum_deformation", "0.3"),
        ("maximum_deformation", float("nan")),
        ("maximum_deformation", float("inf")),
        ("plane_sizes", 16),
        ("plane_sizes", [8, "16"]),
        ("plane_sizes", [8, 0]),
        ("plane_sizes", {"8": 16}),
        ("name", 3),
    ],
)
def test_an_ill_typed_entry_is_named_with_its_value(entry: str, value: object) -> None:
    with pytest.raises(HideNerfError) as caught:
        ModelConfig.from_dict(TINY.to_dict() | {entry: value})
    assert entry in str(caught.value)
    assert repr(value) in str(caught.value)


def test_an_ill_typed_entry_is_explained_in_words() -> None:
    with pytest.raises(HideNerfError) as caught:
        ModelConfig.from_dict(TINY.to_dict() | {"mlp_width": "64"})
    assert "<class" not in str(caught.value)


@pytest.mark.parametrize("values", [None, [], "tiny", 3])
def test_what_is_not_a_dictionary_is_refused(values: Any) -> None:
    with pytest.raises(HideNerfError):
        ModelConfig.from_dict(values)
