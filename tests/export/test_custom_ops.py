"""The four custom ops: in PyTorch, as single ONNX nodes, and their bodies in ONNX Runtime against FP64 loops."""

from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from hidenerf.export.custom_ops import (
    ALIGN_SOURCE,
    RAY_SAMPLES,
    TRIPLANE_RENDER,
    align_source,
    align_source_shapes,
    grid_sample_3d,
    input_names,
    output_names,
    ray_samples,
    triplane_render,
    triplane_render_placed,
)
from hidenerf.export.passes.function_bodies import (
    FunctionBodies,
    align_source_body,
    grid_sample_3d_body,
    ray_samples_body,
    triplane_render_body,
)
from hidenerf.model import deformation, geometry, refinement, rendering
from hidenerf.model.alignment import SourceView
from tests.support import reference
from tests.support.exported import ALL_NAMES, PRECISIONS, is_real, passed, plain, run_onnx, value_types, whole
from tests.support.kernels.align_scenes import scene
from tests.support.reference import frontal_camera, general_camera
from tests.support.tiny import TINY

Arrays = dict[str, NDArray[Any]]


def field(size: int, samples: int, levels: tuple[int, ...], octaves: int, camera: NDArray[Any], seed: int) -> Arrays:
    """Random inputs of TriplaneRender; Δ moves many points out of the box."""
    rng = np.random.default_rng(seed)
    width, channels = 7, 3
    inputs = {
        "deformation": rng.uniform(-0.5, 0.5, (1, 3 * samples, size, size)),
        "camera": camera[None],
        **{f"planes_{level}": rng.standard_normal((1, 3, channels, r, r)) for level, r in enumerate(levels)},
        "weight_1": rng.standard_normal((width, channels * len(levels) + 6 * octaves)) * 0.4,
        "bias_1": rng.standard_normal(width),
        "weight_2": rng.standard_normal((6, width)) * 0.4,
        "bias_2": rng.standard_normal(6) - [0, 0, 0, 0, 0, 1],
    }
    return {name: array.astype(np.float32) for name, array in inputs.items()}


def expected_render(inputs: Arrays, octaves: int) -> tuple[NDArray[Any], NDArray[Any]]:
    exact = {name: array.astype(np.float64) for name, array in inputs.items()}
    planes = [exact[name][0] for name in exact if name.startswith("planes_")]
    mlp = [exact[name] for name in ("weight_1", "bias_1", "weight_2", "bias_2")]
    picture, alpha = reference.render(exact["deformation"][0], exact["camera"][0], planes, *mlp, octaves)  # type: ignore[call-arg]
    return picture[None], alpha[None, None]


def one_node(
    op: str, function: ir.Function, inputs: Arrays, outputs: dict[str, tuple[int, list[int]]], **attributes: int
) -> ModelProto:
    """A model of a single custom node, written as another program would write it."""
    node = helper.make_node(op, list(inputs), list(outputs), domain="hidenerf", **attributes)
    graph = helper.make_graph(
        [node],
        "one_node",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("hidenerf", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[ir.to_proto(function)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def render_model(inputs: Arrays, placed: bool = False) -> ModelProto:
    """TriplaneRender of two octaves alone, with the body for these inputs' shapes and types."""
    shapes = tuple(array.shape for array in inputs.values())
    fp16 = inputs["weight_1"].dtype == np.float16
    size = inputs["deformation"].shape[-1]
    outputs = {"rendered": (TensorProto.FLOAT, [1, 5, size, size]), "alpha": (TensorProto.FLOAT, [1, 1, size, size])}
    if placed:
        outputs["place"] = (TensorProto.FLOAT, [1, 3, size, size])
    return one_node("TriplaneRender", triplane_render_body(shapes, 2, fp16, placed), inputs, outputs, octaves=2)


# Channels and side of AlignSource's maps: below, at and above the rendered picture's size.
MAPS = ((3, 4), (5, 8), (4, 16), (2, 32))


# Whether the model has the source picture, and an enlarger.
KINDS_OF_MODEL = ((False, False), (True, False), (True, True))
# Of FP16 graphs, the outputs that are FP32.
SINGLE = ("own", "shown")


def source_of(kind: type[np.floating], picture: bool) -> Arrays:
    """Inputs of AlignSource for R = 16 and S = 64, three rendered channels. kind: of maps."""
    shown, rng = scene(16, 64), np.random.default_rng(6)
    rendered = torch.from_numpy(rng.random((1, 3, 16, 16), np.float32))
    tensors = [shown.place, shown.alpha, rendered, *shown.source, shown.face_sight]
    if picture:
        own = torch.from_numpy(rng.random((1, 3, 64, 64), np.float32))
        tensors += [own, torch.nn.functional.avg_pool2d(own, 4)]
    absent = rng.standard_normal(sum(channels for channels, _ in MAPS)).astype(np.float32)
    maps = [rng.standard_normal((1, channels, side, side)).astype(kind) for channels, side in MAPS]
    arrays = [*(tensor.numpy() for tensor in tensors), absent, *maps]
    return dict(zip(input_names(ALIGN_SOURCE, len(arrays), picture=picture), arrays, strict=True))


def expected_source(inputs: Arrays, enlarged: bool) -> Arrays:
    """`refinement.align_source` in FP64."""
    tensors = [torch.from_numpy(a).double() for a in inputs.values()]
    place, alpha, rendered, projection, surface, face_sight, *rest = tensors
    *pictures, absent = rest[: -len(MAPS)]
    view = SourceView(projection, surface)
    read, in_frame = refinement.align_source(
        place, alpha, rendered, view, face_sight, pictures, absent, rest[-len(MAPS) :], enlarged
    )
    found = [*(one for one in read if one is not None), *in_frame]
    names = output_names(ALIGN_SOURCE, len(found), picture=bool(pictures), enlarged=enlarged)
    return {name: tensor.numpy() for name, tensor in zip(names, found, strict=True)}


def test_the_ops_are_good_citizens_of_pytorch() -> None:
    volume, grid = torch.randn(1, 2, 3, 4, 5), torch.rand(1, 2, 3, 4, 3) * 2 - 1
    torch.library.opcheck(grid_sample_3d, (volume, grid))
    torch.library.opcheck(ray_samples, (*rays_of(np.float32), 6, 3))
    inputs = [torch.from_numpy(a) for a in field(4, 2, (4, 5), 2, general_camera(), 0).values()]
    for op in (triplane_render, triplane_render_placed):
        torch.library.opcheck(op, (*inputs[:2], inputs[2:4], *inputs[4:], 2))
    for picture, enlarged in KINDS_OF_MODEL:
        torch.library.opcheck(align_source, align_arguments(source_of(np.float32, picture), enlarged))


def rays_of(kind: type[np.floating]) -> tuple[torch.Tensor, torch.Tensor]:
    """Camera and features of RaySamples for R = 8. kind: of the features."""
    features = np.random.default_rng(8).standard_normal((1, 4, 8, 8)).astype(kind)
    return torch.from_numpy(general_camera()).float()[None], torch.from_numpy(features)


def align_arguments(inputs: Arrays, enlarged: bool) -> tuple[Any, ...]:
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    maps = len(tensors) - len(MAPS)
    return *tensors[:6], tensors[6 : maps - 1], tensors[maps - 1], tensors[maps:], enlarged


def test_the_fake_outputs_of_half_inputs_have_the_real_types() -> None:
    volume, grid = torch.randn(2, 3, 3, 4, 5), torch.rand(2, 2, 3, 4, 3)
    inputs = [torch.from_numpy(a) for a in field(4, 2, (4, 5), 2, general_camera(), 0).values()]
    halves = [a.half() for a in inputs[2:]]
    torch.library.opcheck(ray_samples, (*rays_of(np.float16), 6, 3))
    arguments = (*inputs[:2], halves[:2], *halves[2:], 2)
    for op in (triplane_render, triplane_render_placed):
        torch.library.opcheck(op, arguments)
    for picture, enlarged in KINDS_OF_MODEL:
        torch.library.opcheck(align_source, align_arguments(source_of(np.float16, picture), enlarged))
    with torch.device("meta"):
        assert grid_sample_3d(volume.to("meta"), grid.to("meta")).shape == (2, 3, 2, 3, 4)


def test_in_pytorch_the_ops_are_the_models_functions() -> None:
    volume, grid = torch.randn(1, 2, 3, 4, 5), torch.rand(1, 2, 3, 4, 3) * 3 - 1.5
    assert torch.equal(grid_sample_3d(volume, grid), geometry.grid_sample_3d(volume, grid))
    inputs = [torch.from_numpy(a) for a in field(4, 2, (4, 5), 2, general_camera(), 0).values()]
    arguments = (*inputs[:2], inputs[2:4], *inputs[4:], 2)
    expected = rendering.triplane_render_placed(*arguments)
    assert all(map(torch.equal, triplane_render(*arguments), expected[:2]))
    rays = (*rays_of(np.float32), 6, 3)
    assert all(map(torch.equal, ray_samples(*rays), deformation.ray_samples(*rays)))
    assert all(map(torch.equal, triplane_render_placed(*arguments), expected))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "samples", "levels", "camera"),
    [(5, 2, (3,), frontal_camera(3.0, 0.7)), (4, 3, (2, 7, 4), general_camera())],
    ids=["R = 5, one level, rays that miss", "three levels"],
)
def test_triplane_renders_body_against_loops(
    size: int, samples: int, levels: tuple[int, ...], camera: NDArray[Any]
) -> None:
    inputs = field(size, samples, levels, 2, camera, seed=size)
    assert list(inputs) == input_names(TRIPLANE_RENDER, len(inputs))
    model = render_model(inputs)
    for seed in range(2):
        # Another camera than the body was exported with.
        inputs = field(size, samples, levels, 2, camera + 0.1 * seed * np.eye(25)[3], seed)
        picture, alpha = expected_render(inputs, 2)
        assert 0.2 < alpha.max() <= 1.0
        found = run_onnx(model, inputs)
        np.testing.assert_allclose(found["rendered"], picture, atol=1e-5)
        np.testing.assert_allclose(found["alpha"], alpha, atol=1e-5)


@pytest.mark.slow
def test_triplane_renders_half_body_keeps_coordinates_and_compositing_in_single() -> None:
    """Far cameras with long lenses: at 60 units FP16 is 0.03 coarse, far more than what is asserted allows."""
    camera = frontal_camera(60.0, 24.0)
    inputs = field(5, 3, (8,), 2, camera, seed=3)
    kept = ("deformation", "camera")
    halves = {name: a if name in kept else a.astype(np.float16) for name, a in inputs.items()}
    found = run_onnx(render_model(halves), halves)
    picture, alpha = expected_render({name: a.astype(np.float32) for name, a in halves.items()}, 2)
    assert found["rendered"].dtype == found["alpha"].dtype == np.float32
    np.testing.assert_allclose(found["rendered"], picture, atol=3e-3)
    np.testing.assert_allclose(found["alpha"], alpha, atol=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_where_rays_end_is_composited_in_single(kind: type[np.floating]) -> None:
    """The third output against PyTorch in FP64: planes and weights rounded to FP16 move it no more than alpha."""
    inputs = field(5, 3, (8, 4), 2, frontal_camera(6.0, 2.4), seed=3)
    inputs |= {name: array.astype(kind) for name, array in inputs.items() if name not in ("deformation", "camera")}
    found = run_onnx(render_model(inputs, placed=True), inputs)
    exact = [torch.from_numpy(array).double() for array in inputs.values()]
    deformation, camera, fine, coarse, weight_1, bias_1, weight_2, bias_2 = exact
    planes = [fine, coarse]
    expected = rendering.triplane_render_placed(
        deformation, camera, planes, weight_1, bias_1, weight_2, bias_2, octaves=2
    )
    assert expected[2].abs().max() > 0.1
    for name, value in zip(("rendered", "alpha", "place"), expected, strict=True):
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, atol=1e-5 if kind == np.float32 else 3e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("picture", "enlarged"), KINDS_OF_MODEL)
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_align_sources_body_against_double(kind: type[np.floating], picture: bool, enlarged: bool) -> None:
    """What convolutions read and FP16 maps are computed in FP32 and rounded once; everything else is FP32."""
    inputs = source_of(kind, picture)
    expected = expected_source(inputs, enlarged)
    # Three rendered channels and alpha come before the guides.
    assert 0.1 < expected["stem_input"][0, 4].mean() < 0.9
    body = align_source_body(tuple(a.shape for a in inputs.values()), picture, enlarged, kind == np.float16)
    halves = {name for name in expected if name not in SINGLE} if kind == np.float16 else set()
    outputs = {
        name: (TensorProto.FLOAT16 if name in halves else TensorProto.FLOAT, list(array.shape))
        for name, array in expected.items()
    }
    attributes = {"maps": len(MAPS)} | ({"picture": 1} if picture else {}) | ({"enlarged": 1} if enlarged else {})
    found = run_onnx(one_node("AlignSource", body, inputs, outputs, **attributes), inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == (np.float32 if name in SINGLE else kind)
        # At 32 pixels FP32 places a sample to 4e-6 of one; its logistic function of depths is steep.
        rounding = np.spacing(np.abs(array).astype(np.float16)) if name in halves else 0.0
        assert (np.abs(found[name] - array) <= 2e-4 + rounding).all(), name


@pytest.mark.parametrize(("picture", "enlarged"), KINDS_OF_MODEL)
def test_what_align_source_makes_has_the_shapes_that_are_said(picture: bool, enlarged: bool) -> None:
    shapes = align_source_shapes((1, 3, 16, 16), 64, picture=picture, enlarged=enlarged)
    found = expected_source(source_of(np.float32, picture), enlarged)
    assert shapes == {name: array.shape for name, array in found.items() if not name.startswith("in_frame_")}


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_ray_sampless_body_against_double(kind: type[np.floating]) -> None:
    """FP16 features are looked up in FP32, and what comes out is rounded once. The camera is not the export's."""
    camera, features = rays_of(kind)
    inputs = dict(zip(input_names(RAY_SAMPLES, 2), (camera.numpy(), features.numpy()), strict=True))
    expected = deformation.ray_samples(camera.double(), features.double(), 6, 3)
    assert expected[0].std() > 0.3
    assert expected[1].std() > 0.3
    body = ray_samples_body(((1, 25), (1, 4, 8, 8)), 6, 3, kind == np.float16)
    number = int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
    outputs = dict(zip(output_names(RAY_SAMPLES, 2), ((number, [1, 18, 8, 8]), (number, [1, 8, 8, 8])), strict=True))
    found = run_onnx(one_node("RaySamples", body, inputs, outputs, samples=6, stride=3), inputs)
    for (name, values), right in zip(found.items(), expected, strict=True):
        assert values.dtype == kind
        exact = right.numpy()
        rounding = 0.5 * np.spacing(np.abs(exact).astype(np.float16)).astype(np.float64) if kind == np.float16 else 0.0
        assert (np.abs(values.astype(np.float64) - exact) <= 2e-5 + rounding).all(), name


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_grid_sample_3ds_body_against_loops(kind: type[np.floating]) -> None:
    rng = np.random.default_rng(4)
    volume = rng.standard_normal((1, 3, 4, 5, 300)).astype(kind)
    grid = rng.uniform(-1.3, 1.3, (1, 3, 4, 5, 3)).astype(np.float32)
    inputs: Arrays = {"volume": volume, "grid": grid}
    outputs = {"sampled": (int(helper.np_dtype_to_tensor_dtype(volume.dtype)), [1, 3, 3, 4, 5])}
    found = run_onnx(one_node("GridSample3d", grid_sample_3d_body(), inputs, outputs), inputs)["sampled"]
    assert found.dtype == kind
    assert found.shape == (1, 3, 3, 4, 5)
    # FP32 places a sample among these 300 cells to 2e-5 of a cell; FP16 would move it by up to 0.15.
    atol = 4e-5 if kind == np.float32 else 2e-3
    for d, h, w in np.ndindex(3, 4, 5):
        expected = reference.linear(volume[0].astype(np.float64), grid[0, d, h, w].astype(np.float64))
        np.testing.assert_allclose(found[0, :, d, h, w], expected, atol=atol)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("source_encoder", ["GridSample3d"] * 2),
        ("led", ["RaySamples"]),
        ("renderer_refiner", ["TriplaneRender"]),
        ("aligned source_encoder", ["GridSample3d"] * 2 + ["RaySamples", "TriplaneRender"]),
        ("aligned renderer_refiner", ["TriplaneRender", "AlignSource"]),
        ("aligned refiner", []),
    ],
)
def test_each_op_survives_as_one_node(name: str, precision: str, expected: list[str]) -> None:
    model = whole(name, precision)
    nodes = [node for node in model.graph.node if node.domain == "hidenerf"]
    assert [node.op_type for node in nodes] == expected
    assert sorted(function.name for function in model.functions) == sorted(set(expected))
    assert all(function.domain == "hidenerf" for function in model.functions)
    for node in nodes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert attributes.pop("plugin_namespace") == b"hidenerf"
        assert attributes.pop("plugin_version") == b"1"
        if node.op_type == "TriplaneRender":
            placed = name.startswith("aligned")
            assert len(node.output) == (3 if placed else 2)
            # Read by the TensorRT plugin, to which the parser does not tell the number of outputs.
            assert attributes.pop("place", 0) == placed
        # Two SPADE layers at each of three scales, gamma and beta.
        counts = {"TriplaneRender": {"octaves": TINY.encoding_octaves}, "AlignSource": {"maps": 12, "picture": 1}}
        counts |= {"RaySamples": {"samples": TINY.samples_per_ray, "stride": TINY.lookup_stride}}
        assert attributes == counts.get(node.op_type, {})
    for function in model.functions:
        assert {"plugin_namespace", "plugin_version"} <= set(function.attribute)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_triplane_renders_inputs_stand_in_order(precision: str) -> None:
    model = whole("renderer_refiner", precision)
    node = next(n for n in model.graph.node if n.op_type == "TriplaneRender")
    assert list(node.input[:4]) == ["deformation", "camera", "planes_0", "planes_1"]
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    assert [shapes[value] for value in node.input[4:]] == [[16, 26], [16], [8, 16], [8]]
    assert node.output[1] != node.output[0]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_align_source_reads_and_makes_stands_in_order(precision: str) -> None:
    model = whole("aligned renderer_refiner", precision)
    render, align = [node for node in model.graph.node if node.domain == "hidenerf"]
    names = input_names(ALIGN_SOURCE, len(align.input), picture=True)
    assert list(align.input[:3]) == [render.output[2], render.output[1], render.output[0]]
    assert list(align.input[3:]) == names[3:]
    # A weight of the model.
    assert "absent" in {tensor.name for tensor in model.graph.initializer}
    types, half = value_types(model), TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    assert {types[value] for value in [*align.input[:9], *align.output[2:4]]} == {TensorProto.FLOAT}
    assert {types[value] for value in [*align.input[9:], *align.output[:2], *align.output[4:]]} == {half}
    # Nothing samples the source outside of it.
    assert not [node for node in model.graph.node if node.op_type == "GridSample"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_led_reads_its_rays_through_one_node(precision: str) -> None:
    """Camera FP32, all else of the graph's type; nothing else reads the camera or samples."""
    model = whole("led", precision)
    (node,) = [node for node in model.graph.node if node.domain == "hidenerf"]
    types, half = value_types(model), TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    assert node.input[0] == "camera"
    assert types["camera"] == TensorProto.FLOAT
    assert {types[value] for value in [node.input[1], *node.output]} == {half}
    others = [other for other in model.graph.node if other is not node]
    assert not any("camera" in other.input or other.op_type == "GridSample" for other in others)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_names_are_unique_over_the_whole_model(name: str, precision: str) -> None:
    model = whole(name, precision)
    nodes = [node.name for node in model.graph.node]
    values = [v for node in model.graph.node for v in node.output]
    values += [v.name for v in model.graph.input] + [t.name for t in model.graph.initializer]
    for function in model.functions:
        nodes += [node.name for node in function.node]
        values += [v for node in function.node for v in node.output if v not in function.output]
    assert all(nodes)
    assert len(nodes) == len(set(nodes))
    assert len(values) == len(set(values))


@pytest.mark.slow
def test_after_inlining_names_are_unique_and_coordinates_single() -> None:
    """In an FP16 file no body casts a camera, a deformation or a grid down, nor samples in FP16."""
    for name in ALL_NAMES:
        model = whole(name, "fp16")
        inlined = onnx.inliner.inline_local_functions(model)
        types = value_types(model)
        samples = [node for node in inlined.graph.node if node.op_type == "GridSample"]
        assert samples
        for node in samples:
            assert {types[value] for value in [*node.input, *node.output]} == {TensorProto.FLOAT}
        for node in inlined.graph.node:
            if node.op_type in ("CumSum", "Sin", "Cos", "Softplus", "Exp"):
                assert types[node.output[0]] == TensorProto.FLOAT, node


def test_functions_of_half_models_take_single_coordinates() -> None:
    types = value_types(whole("renderer_refiner", "fp16"))
    node = next(n for n in whole("renderer_refiner", "fp16").graph.node if n.op_type == "TriplaneRender")
    kinds = [types[value] for value in node.input]
    assert kinds == [TensorProto.FLOAT] * 2 + [TensorProto.FLOAT16] * 6
    assert [types[value] for value in node.output] == [TensorProto.FLOAT] * 2
    encoder = whole("source_encoder", "fp16")
    types = value_types(encoder)
    for node in encoder.graph.node:
        if node.op_type == "GridSample3d":
            assert [types[value] for value in node.input] == [TensorProto.FLOAT16, TensorProto.FLOAT]
            assert [types[value] for value in node.output] == [TensorProto.FLOAT16]
    assert all(is_real(kind) for kind in kinds)


def test_attaching_again_replaces_the_bodies() -> None:
    model = whole("renderer_refiner", "fp32")
    before = model.SerializeToString()
    assert passed(model, FunctionBodies())[0].SerializeToString() == before


def test_a_model_without_custom_nodes_gets_no_bodies() -> None:
    model, _ = passed(plain("refiner"), FunctionBodies())
    assert len(model.functions) == 0
