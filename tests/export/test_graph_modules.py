"""Hoisting is exact: the three graphs together are the model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hidenerf.export.graph_modules import (
    RendererRefiner,
    fold_batch_norms,
    fold_constant_norms,
    fold_refiner_biases,
    graph_modules,
    pad_stem,
    refiner_module,
    source_in_frame,
)
from hidenerf.model import geometry
from hidenerf.model.alignment import align
from hidenerf.model.appearance import CameraToWorld
from hidenerf.model.hidenerf import frame_to_uint8
from hidenerf.model.refinement import align_source
from hidenerf.runtime.bundle import IN_FRAME
from tests.support.exported import reference_values, tiny_graphs
from tests.support.tiny import TINY, aligned_model, enlarged_model, randomise_norms, tiny_inputs, tiny_model


def test_hoisted_and_unhoisted_models_agree() -> None:
    """To 1e-4 in every value, with statistics and affine weights of all batch norms randomised."""
    values = reference_values()
    with torch.no_grad():
        whole = tiny_model()(**tiny_inputs(seed=11))
        renderer_refiner = tiny_graphs()["renderer_refiner"].module
        assert isinstance(renderer_refiner, RendererRefiner)
        planes = [values[f"planes_{level}"] for level in range(2)]
        rendered, rendered_alpha = renderer_refiner.renderer(values["deformation"], values["camera"], planes)
        maps = [(values[f"gamma_{layer}"], values[f"beta_{layer}"]) for layer in range(8)]
        frame, _ = renderer_refiner.refine.refiner.forward_folded(rendered, rendered_alpha, maps)
    assert whole.frame.std() > 0.05, "a flat frame would prove nothing"
    torch.testing.assert_close(values["deformation"], whole.deformation, atol=1e-4, rtol=0)
    torch.testing.assert_close(rendered, whole.rendered, atol=1e-4, rtol=0)
    torch.testing.assert_close(values["alpha"], whole.alpha[0, 0].clamp(0, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(frame, whole.frame, atol=1e-4, rtol=0)
    assert (values["frame"].int() - frame_to_uint8(whole.frame).int()).abs().max() <= 1


def test_the_refiners_biases_move_into_the_norms_that_follow() -> None:
    """Of the blocks' eight convolutions the last alone keeps one, and the refiner is the same function."""
    model, moved = tiny_model().double(), copy.deepcopy(tiny_model()).double()
    fold_refiner_biases(moved)
    convolutions = {
        f"{index}.{name}": getattr(block, name)
        for index, block in enumerate(moved.refiner.blocks)
        for name in ("first", "second")
    }
    kept = [name for name, convolution in convolutions.items() if convolution.bias is not None]
    assert kept == ["3.second"]
    size = TINY.render_size
    generator = torch.Generator().manual_seed(3)
    rendered = torch.rand(1, TINY.render_channels, size, size, generator=generator, dtype=torch.float64)
    alpha = torch.rand(1, 1, size, size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        identity = model.id_encoder(tiny_inputs()["source_image"].double())
        expected = model.refiner(rendered, alpha, identity)
        for found, same in zip(moved.refiner(rendered, alpha, identity), expected, strict=True):
            torch.testing.assert_close(found, same, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("alignment", "scales", "enlarged"),
    [("maps", 2, False), ("maps and picture", 3, False), ("maps and picture", 8, False), ("maps and picture", 3, True)],
)
def test_the_graphs_of_an_aligned_model_are_the_model(alignment: str, scales: int, enlarged: bool) -> None:
    """The source's own view, maps less their constants and folded norms, against the model with nothing hoisted."""
    model = enlarged_model() if enlarged else aligned_model(alignment, scales)
    inputs = tiny_inputs(seed=2, image_size=model.config.image_size)
    values = dict(inputs)
    with torch.no_grad():
        whole = model(**values)
    graphs = graph_modules(model)
    for graph in graphs:
        values |= graph.run(values)
    refiner = refiner_module(graphs[-1])
    read = ["stem_input", *(["detail_input", "own", "shown"] if alignment == "maps and picture" else [])]
    read += ["enlarger_input"] if enlarged else []
    assert list(refiner.inputs)[2 : 2 + len(read)] == read
    assert sum(name.startswith(IN_FRAME) for name in refiner.inputs) == 4 * min(scales, 4)
    rendered = whole._asdict()
    module = graphs[-1].module
    assert isinstance(module, RendererRefiner)
    sampled = source_in_frame(values | rendered, module.absent, enlarged=enlarged)
    assert sampled["stem_input"].shape[1] % 8 == 0
    alone = refiner.run(sampled | rendered)
    assert whole.frame.std() > 0.05
    assert (whole.frame - model(**inputs | {"camera": values["source_camera"]}).frame).abs().max() > 0.05
    for found in (values, alone):
        torch.testing.assert_close(found["alpha"], whole.alpha[0, 0].clamp(0, 1), atol=1e-4, rtol=0)
        assert (found["frame"].int() - frame_to_uint8(whole.frame).int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("alignment", "scales", "enlarged"),
    [("maps", 2, False), ("maps and picture", 3, False), ("maps and picture", 3, True)],
)
def test_folding_an_aligned_refiner_is_exact(alignment: str, scales: int, enlarged: bool) -> None:
    """In FP64: biases go into norms whose γ and β are sampled or constant, constant norms into convolutions.

    And what a SPADE layer is where the source shows nothing goes into the maps in the frame, as AlignSource makes them.
    """
    model = (enlarged_model() if enlarged else aligned_model(alignment, scales)).double()
    size = model.config.image_size
    inputs = {name: tensor.double() for name, tensor in tiny_inputs(seed=2, image_size=size).items()}
    moved = copy.deepcopy(model)
    fold_refiner_biases(moved)
    fold_constant_norms(moved)
    kept = [
        f"{index}.{name}"
        for index, block in enumerate(moved.refiner.blocks)
        for name in ("first", "second")
        if getattr(block, name).bias is not None
    ]
    assert kept == [*(f"{index}.first" for index in range(scales, 4)), "3.second"]
    with torch.no_grad():
        expected = model(**inputs)
        planes = model.appearance(inputs["source_image"], inputs["source_camera"])
        view = model.source_view(planes, inputs["secc_canonical"], inputs["source_camera"])
        alignment_found = align(view, expected.place, expected.rendered_alpha, inputs["face_sight"])
        assert 0.02 < alignment_found.shown.mean() < 0.98
        maps = moved.refiner.fold(model.id_encoder(inputs["source_image"]))
        rendered = expected.rendered, expected.rendered_alpha
        found = moved.refiner.forward_folded(*rendered, maps, alignment_found, inputs["source_image"])
        pictured = model.refiner.with_picture
        small = F.avg_pool2d(inputs["source_image"], size // model.config.render_size)
        read, in_frame = align_source(
            expected.place,
            expected.rendered_alpha,
            expected.rendered,
            view,
            inputs["face_sight"],
            [inputs["source_image"], small] if pictured else [],
            moved.refiner.fold_absent(),
            [one for pair in maps for one in pair],
            enlarged,
        )
        pad_stem(moved)
        assert read.stem_input.shape[1] == moved.refiner.stem[0].in_channels
        whole = list(zip(in_frame[0::2], in_frame[1::2], strict=True))
        alone = moved.refiner.forward_sampled(*rendered, whole, read)
    for one in (found, alone):
        torch.testing.assert_close(one, (expected.frame, expected.alpha), atol=1e-11, rtol=0)


def test_planes_are_those_of_the_appearance_module() -> None:
    inputs = tiny_inputs(seed=11)
    with torch.no_grad():
        planes = tiny_model().appearance(inputs["source_image"], inputs["source_camera"])
    for level, plane in enumerate(planes):
        torch.testing.assert_close(reference_values()[f"planes_{level}"], plane, atol=1e-4, rtol=1e-4)


def test_names_shapes_and_types_of_the_tensors() -> None:
    graphs, values = tiny_graphs(), reference_values()
    assert list(graphs) == ["source_encoder", "led", "renderer_refiner"]
    maps = [f"{kind}_{layer}" for layer in range(8) for kind in ("gamma", "beta")]
    encoder, led, renderer_refiner = graphs.values()
    assert list(encoder.inputs) == ["source_image", "source_camera", "secc_canonical"]
    assert list(encoder.outputs) == ["planes_0", "planes_1", "led_canonical", *maps]
    assert list(led.inputs) == ["secc_driving", "camera", "led_canonical"]
    assert list(led.outputs) == ["deformation"]
    assert list(renderer_refiner.inputs) == ["deformation", "camera", "planes_0", "planes_1", *maps]
    assert list(renderer_refiner.outputs) == ["frame", "alpha"]
    assert values["planes_1"].shape == (1, 3, TINY.plane_channels, 16, 16)
    assert values["deformation"].shape == (1, 3 * TINY.samples_per_ray, 16, 16)
    assert values["frame"].shape == (32, 32, 3)
    assert values["frame"].dtype == torch.uint8
    assert values["alpha"].shape == (32, 32)
    for graph in graphs.values():
        for name, example in graph.inputs.items():
            assert example.shape == values[name].shape, name


def test_the_model_itself_is_left_alone() -> None:
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    graph_modules(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()
    samplers = [module.sampler for module in model.modules() if isinstance(module, CameraToWorld)]
    assert samplers == [geometry.grid_sample_3d] * 2


def test_every_batch_norm_after_a_convolution_folds() -> None:
    model = tiny_model()
    folded = fold_batch_norms(model)
    kept = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    # These two kinds fold by their own methods.
    assert all(name.startswith("refiner.blocks.") or name == "deformation.expression_stem.norm" for name in kept)
    with torch.no_grad():
        whole, same = model(**tiny_inputs()), folded(**tiny_inputs())
    for part, other in zip(whole, same, strict=True):
        torch.testing.assert_close(part, other, atol=1e-4, rtol=0)


def test_a_model_in_training_mode_is_exported_as_in_evaluation() -> None:
    with torch.no_grad():
        expected = fold_batch_norms(tiny_model())(**tiny_inputs()).frame
        assert torch.equal(fold_batch_norms(tiny_model().train())(**tiny_inputs()).frame, expected)


def test_randomised_norms_matter() -> None:
    """The agreement above would hold for norms that do nothing; these do much."""
    plain, random = tiny_model(), tiny_model()
    randomise_norms(random, seed=99)
    with torch.no_grad():
        for part, other in zip(plain(**tiny_inputs()), random(**tiny_inputs()), strict=True):
            assert (part - other).abs().max() > 5e-3
