"""Variants with one thing changed each, and a run of a tiny one from the first step to its figures."""

import dataclasses
import logging
import math

import pytest
import torch

from benchmarks.ablation_variants import FULL, Length, Variant, evaluate, ignore_source_camera, run_variant, variants
from hidenerf.model.config import PRESETS
from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.camera import canonical_camera
from hidenerf.training.data.synthetic.geometry import DEFAULT_SECCS
from hidenerf.training.evaluation.held_out import HeldOutEvaluation
from hidenerf.training.kernels.sampling import use_fast_sampling
from hidenerf.training.loop.config import LossWeights
from tests.support.tiny import TINY, tiny_inputs, tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("preset", list(PRESETS))
def test_each_variant_changes_one_thing(preset: str) -> None:
    found = variants(PRESETS[preset])
    full = found.pop(FULL)
    assert full.config == PRESETS[preset]
    assert full.seccs == DEFAULT_SECCS
    assert full.source_camera
    sizes = {
        "w/o multi-scale": {"plane_sizes", "volume_depths", "plane_samples"},
        "colours only": {"render_channels"},
        "deep volumes": {"volume_depths", "plane_samples"},
    }
    for name, variant in found.items():
        values, own = dataclasses.asdict(full.config), dataclasses.asdict(variant.config)
        changed = {key for key in values if values[key] != own[key]} - {"name"}
        assert changed <= sizes.get(name, set()), name
        others = [variant.seccs != full.seccs, not variant.source_camera, variant.losses != full.losses]
        assert sum(others) == (name not in sizes), name
        random_model(variant.config, 0)
    assert found["w/o multi-scale"].config.plane_sizes == PRESETS[preset].plane_sizes[-1:]
    assert found["w/o SECC"].seccs.posed


def test_without_camera_to_world_planes_do_not_depend_on_the_source_camera() -> None:
    model = random_model(TINY, 0)
    use_fast_sampling(model)
    names = list(model.state_dict())
    inputs = tiny_inputs(2)
    picture, camera = inputs["source_image"], inputs["source_camera"]
    canonical = torch.from_numpy(canonical_camera()).expand_as(camera)
    with torch.no_grad():
        usual, expected = model.appearance(picture, camera), model.appearance(picture, canonical)
        ignore_source_camera(model, CPU)
        found = model.appearance(picture, camera)
    assert list(model.state_dict()) == names
    for level, planes in enumerate(found):
        assert torch.equal(planes, expected[level])
        assert not torch.equal(planes, usual[level])


@pytest.mark.slow
def test_a_tiny_run_from_the_first_step_to_its_figures(caplog: pytest.LogCaptureFixture) -> None:
    variant = Variant(
        "everything at once",
        TINY,
        DEFAULT_SECCS._replace(posed=True),
        source_camera=False,
        losses=LossWeights(surface=1),
    )
    with caplog.at_level(logging.INFO):
        result, pictures = run_variant(variant, Length(3, 2, 2, 0), 1, CPU)
    assert {name: values.shape for name, values in pictures.items()} == dict.fromkeys(
        ("source", "target", "frame"), (2, 32, 32, 3)
    )
    said = [record.getMessage() for record in caplog.records if record.name == "benchmarks.ablation_variants"]
    assert [line.split(":")[0] for line in said[1:4]] == ["step 0", "step 1", "step 2"]
    people = result["people"]
    assert len(people["SSIM masked"]) == 2
    assert 0 < people["SSIM masked"][0] < 1
    assert len(people["jawOpen r"]) == len(people["jawOpen gain"]) == 1
    assert not math.isnan(people["jawOpen gain"][0])
    assert result["losses"]["absolute_refined"] > 0
    assert result["skipped"] == 0
    assert result["pairs_per_second"] > 0
    assert result["parameters"] == sum(parameter.numel() for parameter in random_model(TINY, 0).parameters())


def test_variants_are_evaluated_on_the_same_people() -> None:
    posed = DEFAULT_SECCS._replace(posed=True)
    one, other = (evaluate(HeldOutEvaluation(tiny_model(), CPU, seccs), 2)[1] for seccs in (DEFAULT_SECCS, posed))
    assert (one["source"] == other["source"]).all()
    assert (one["target"] == other["target"]).all()
    assert (one["frame"] != other["frame"]).any()
