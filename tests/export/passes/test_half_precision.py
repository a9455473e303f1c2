"""The FP16 pass: its rules on graphs of a few nodes written by hand, and what it makes of the real model."""

import numpy as np
import onnx
import onnx.inliner
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hidenerf.export.passes.half_precision import ISLAND_RULES, RANGE_GUARD, find_islands, to_half
from hidenerf.runtime.errors import HideNerfError
from tests.support.exported import (
    NAMES,
    is_real,
    island_counts,
    plain,
    reference_values,
    run_onnx,
    value_types,
    whole,
)

SINGLE, HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)

Shapes = dict[str, list[int]]


def make(
    nodes: list[NodeProto], inputs: Shapes, outputs: Shapes, weights: dict[str, np.ndarray] | None = None
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info(name, SINGLE, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, SINGLE, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    # The exporter annotates every value; the pass reads these annotations.
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def halved(model: ModelProto) -> tuple[ModelProto, dict[str, int]]:
    """Through the pass, with everything checked that must hold of any result."""
    counts = to_half(model)
    onnx.checker.check_model(model, full_check=True)
    recorded = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    inferred = value_types(model)
    assert {name: inferred[name] for name in recorded if name in inferred} == recorded
    return model, counts


def conv(data: str, output: str, weight: str = "weight") -> NodeProto:
    return helper.make_node("Conv", [data, weight], [output], name=f"conv_{output}", pads=[1, 1, 1, 1])


def node(op: str, inputs: list[str], output: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs, [output], name=f"{op}_{output}", **attributes)


WEIGHT = {"weight": np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32) * 0.3}
PICTURE = [1, 2, 4, 4]


def casts(model: ModelProto) -> list[tuple[str, int]]:
    return [
        (n.input[0], helper.get_attribute_value(a))
        for n in model.graph.node
        if n.op_type == "Cast"
        for a in n.attribute
    ]


def rule_names(model: ModelProto) -> dict[str, str]:
    return {model.graph.node[index].name: rule for index, rule in find_islands(model.graph).items()}


def test_a_plain_network_becomes_half_throughout() -> None:
    nodes = [conv("planes", "hidden"), node("Relu", ["hidden"], "active"), conv("active", "features")]
    model, counts = halved(make(nodes, {"planes": PICTURE}, {"features": PICTURE}, WEIGHT))
    assert casts(model) == []
    assert {v.type.tensor_type.elem_type for v in [*model.graph.input, *model.graph.output]} == {HALF}
    assert [t.data_type for t in model.graph.initializer] == [HALF]
    assert set(counts.values()) == {0}
    picture = np.random.default_rng(1).standard_normal(PICTURE)
    original = make(nodes, {"planes": PICTURE}, {"features": PICTURE}, WEIGHT)
    expected = run_onnx(original, {"planes": picture})["features"]
    np.testing.assert_allclose(run_onnx(model, {"planes": picture})["features"], expected, atol=1e-2)


def test_camera_geometry_stays_single_up_to_the_first_convolution() -> None:
    nodes = [
        node("Reshape", ["camera", "shape"], "matrix"),
        node("Sin", ["matrix"], "points"),
        conv("points", "features"),
        node("Relu", ["features"], "active"),
    ]
    weights = WEIGHT | {"shape": np.array(PICTURE, np.int64)}
    model, counts = halved(make(nodes, {"camera": [1, 32]}, {"active": PICTURE}, weights))
    types = value_types(model)
    assert (types["camera"], types["matrix"], types["points"]) == (SINGLE, SINGLE, SINGLE)
    assert (types["features"], types["active"]) == (HALF, HALF)
    assert casts(model) == [("points", HALF)]
    assert counts["camera geometry"] == 2
    assert types["shape"] == TensorProto.INT64


def test_the_source_camera_is_a_camera_too() -> None:
    nodes = [node("Sin", ["source_camera"], "points"), conv("points", "features")]
    model = make(nodes, {"source_camera": PICTURE}, {"features": PICTURE}, WEIGHT)
    assert rule_names(model) == {"Sin_points": "camera geometry"}


def test_geometry_mixed_with_features_behind_a_convolution_is_not_geometry() -> None:
    nodes = [node("Sin", ["camera"], "points"), conv("points", "features"), node("Add", ["features", "planes"], "sum")]
    model, _ = halved(make(nodes, {"camera": PICTURE, "planes": PICTURE}, {"sum": PICTURE}, WEIGHT))
    assert value_types(model)["sum"] == HALF


def test_a_value_is_cast_once_however_many_use_it() -> None:
    nodes = [
        node("Sin", ["camera"], "points"),
        conv("points", "a"),
        conv("points", "b"),
        node("Add", ["a", "b"], "sum"),
        conv("points", "c"),
        node("Add", ["sum", "c"], "features"),
    ]
    model, _ = halved(make(nodes, {"camera": PICTURE}, {"features": PICTURE}, WEIGHT))
    assert casts(model) == [("points", HALF)]


def test_a_weight_used_in_both_precisions_exists_in_both_and_once_each() -> None:
    factor = {"factor": np.full((1, 2, 1, 1), 1.5, np.float32)}
    nodes = [
        node("Mul", ["camera", "factor"], "points"),
        conv("points", "features"),
        node("Mul", ["features", "factor"], "scaled"),
        node("Mul", ["scaled", "factor"], "twice"),
    ]
    model, _ = halved(make(nodes, {"camera": PICTURE}, {"twice": PICTURE}, WEIGHT | factor))
    kinds = sorted(t.data_type for t in model.graph.initializer if t.name.startswith("factor"))
    assert kinds == sorted([SINGLE, HALF])
    assert not any(name.startswith("factor") for name, _ in casts(model))


def test_grid_samples_stay_single_between_casts() -> None:
    nodes = [
        conv("planes", "data"),
        node("GridSample", ["data", "camera"], "sampled", mode="linear"),
        conv("sampled", "features"),
    ]
    inputs = {"planes": PICTURE, "camera": [1, 4, 4, 2]}
    model, counts = halved(make(nodes, inputs, {"features": PICTURE}, WEIGHT))
    types = value_types(model)
    sample = next(n for n in model.graph.node if n.op_type == "GridSample")
    assert [types[value] for value in [*sample.input, *sample.output]] == [SINGLE] * 3
    assert casts(model) == [("data", SINGLE), ("sampled", HALF)]
    assert counts["grid sampling"] == 1


def test_towards_single_outputs_everything_after_the_last_convolution_is_single() -> None:
    nodes = [conv("planes", "raw"), node("Tanh", ["raw"], "bounded"), node("Neg", ["bounded"], "deformation")]
    model, counts = halved(make(nodes, {"planes": PICTURE}, {"deformation": PICTURE}, WEIGHT))
    types = value_types(model)
    assert (types["raw"], types["bounded"], types["deformation"]) == (HALF, SINGLE, SINGLE)
    assert casts(model) == [("raw", SINGLE)]
    assert counts["outputs"] == 2


@pytest.mark.parametrize("name", ["alpha", "frame", "deformation"])
def test_an_output_straight_from_a_half_node_is_cast_under_its_own_name(name: str) -> None:
    model, _ = halved(make([conv("planes", name)], {"planes": PICTURE}, {name: PICTURE}, WEIGHT))
    assert model.graph.output[0].name == name
    assert model.graph.output[0].type.tensor_type.elem_type == SINGLE
    assert len(casts(model)) == 1
    picture = np.random.default_rng(1).standard_normal(PICTURE)
    assert run_onnx(model, {"planes": picture})[name].dtype == np.float32


def test_an_output_that_other_nodes_read_too_keeps_one_producer() -> None:
    nodes = [conv("planes", "alpha"), conv("alpha", "hidden"), node("Add", ["hidden", "alpha"], "features")]
    model, _ = halved(make(nodes, {"planes": PICTURE}, {"alpha": PICTURE, "features": PICTURE}, WEIGHT))
    types = value_types(model)
    assert (types["alpha"], types["features"]) == (SINGLE, HALF)
    produced = [value for n in model.graph.node for value in n.output]
    assert len(produced) == len(set(produced))


def test_a_single_node_on_the_way_to_a_half_output_is_cast_at_the_end() -> None:
    nodes = [node("Sin", ["camera"], "planes_0")]
    model, _ = halved(make(nodes, {"camera": PICTURE}, {"planes_0": PICTURE}))
    assert model.graph.output[0].type.tensor_type.elem_type == HALF
    assert value_types(model)["planes_0"] == HALF


def test_pictures_enter_in_single_and_are_cast() -> None:
    nodes = [conv("source_image", "planes_0")]
    model, _ = halved(make(nodes, {"source_image": PICTURE}, {"planes_0": PICTURE}, WEIGHT))
    assert model.graph.input[0].type.tensor_type.elem_type == SINGLE
    assert casts(model) == [("source_image", HALF)]


@pytest.mark.parametrize("sized", ["scales", "sizes"])
def test_the_scales_of_a_resize_stay_single(sized: str) -> None:
    weights = WEIGHT | {"scales": np.array([1, 1, 2, 2], np.float32), "sizes": np.array([1, 2, 8, 8], np.int64)}
    inputs = ["hidden", "", "scales"] if sized == "scales" else ["hidden", "", "", "sizes"]
    nodes = [conv("planes", "hidden"), node("Resize", inputs, "features", mode="linear")]
    del weights["sizes" if sized == "scales" else "scales"]
    model, _ = halved(make(nodes, {"planes": PICTURE}, {"features": [1, 2, 8, 8]}, weights))
    resize = next(n for n in model.graph.node if n.op_type == "Resize")
    types = value_types(model)
    assert types[resize.input[0]] == types[resize.output[0]] == HALF
    assert types[sized] == (SINGLE if sized == "scales" else TensorProto.INT64)
    assert casts(model) == []


@pytest.mark.parametrize("value", [65505.0, -7e4, float("inf"), float("nan")])
def test_a_weight_beyond_half_is_refused_by_its_name(value: float) -> None:
    weight = WEIGHT["weight"].copy()
    weight[1, 0, 2, 1] = value
    model = make([conv("planes", "features")], {"planes": PICTURE}, {"features": PICTURE}, {"weight": weight})
    with pytest.raises(HideNerfError, match="weight") as caught:
        to_half(model)
    assert "--fp16" in str(caught.value)
    assert f"{abs(value):g}" in str(caught.value)


def test_a_weight_of_exactly_the_largest_half_is_kept() -> None:
    weight = WEIGHT["weight"].copy()
    weight[0, 0, 0, 0] = -65504.0
    model = make([conv("planes", "features")], {"planes": PICTURE}, {"features": PICTURE}, {"weight": weight})
    halved(model)
    assert numpy_helper.to_array(model.graph.initializer[0]).min() == -65504.0


def test_a_large_weight_inside_an_island_is_no_matter() -> None:
    factor = {"factor": np.array([1e6], np.float32)}
    nodes = [node("Mul", ["camera", "factor"], "far"), node("Sin", ["far"], "points"), conv("points", "features")]
    halved(make(nodes, {"camera": PICTURE}, {"features": PICTURE}, WEIGHT | factor))


def test_every_rule_says_why() -> None:
    assert [rule.name for rule in ISLAND_RULES] == ["camera geometry", "grid sampling", "outputs"]
    assert all(rule.reason for rule in ISLAND_RULES)


# What the pass makes of the real (tiny) model.


def boundary_types(name: str) -> dict[str, int]:
    model = whole(name, "fp16")
    return {v.name: v.type.tensor_type.elem_type for v in [*model.graph.input, *model.graph.output]}


def test_boundaries_of_the_real_graphs() -> None:
    planes_and_maps = {"planes_0": HALF, "planes_1": HALF} | {
        f"{kind}_{layer}": HALF for kind in ("gamma", "beta") for layer in range(8)
    }
    pictures = {"source_image": SINGLE, "source_camera": SINGLE, "secc_canonical": SINGLE}
    assert boundary_types("source_encoder") == pictures | {"led_canonical": HALF} | planes_and_maps
    assert boundary_types("led") == {
        "secc_driving": SINGLE,
        "camera": SINGLE,
        "led_canonical": HALF,
        "deformation": SINGLE,
    }
    assert boundary_types("renderer_refiner") == planes_and_maps | {
        "deformation": SINGLE,
        "camera": SINGLE,
        "frame": TensorProto.UINT8,
        "alpha": SINGLE,
    }


@pytest.mark.parametrize("name", NAMES)
def test_types_agree_everywhere_and_onnx_runtime_takes_it(name: str) -> None:
    model = whole(name, "fp16")
    onnx.checker.check_model(model, full_check=True)
    types = value_types(model)
    inlined = onnx.inliner.inline_local_functions(model)
    for n in inlined.graph.node:
        kinds = {types[value] for value in n.input if value and is_real(types[value])}
        allowed = 2 if n.op_type in ("Resize", "CastLike") else 1
        assert len(kinds) <= allowed, n
    recorded = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    assert {key: types[key] for key in recorded if key in types} == {
        key: kind for key, kind in recorded.items() if key in types
    }
    run_onnx(model, {key: value.numpy() for key, value in reference_values().items()})


@pytest.mark.parametrize("name", NAMES)
def test_no_grid_sample_is_half_not_even_in_a_body(name: str) -> None:
    model = whole(name, "fp16")
    types = value_types(model)
    for n in onnx.inliner.inline_local_functions(model).graph.node:
        if n.op_type == "GridSample":
            assert {types[value] for value in [*n.input, *n.output]} == {SINGLE}


@pytest.mark.parametrize("name", NAMES)
def test_every_convolution_is_half(name: str) -> None:
    model = whole(name, "fp16")
    types = value_types(model)
    convolutions = [n for n in model.graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    assert convolutions
    assert all(types[n.output[0]] == HALF for n in convolutions)


def test_camera_geometry_of_the_real_graphs_is_single() -> None:
    """Sine, square root, division and clipping belong to cameras; nothing else of ours uses them."""
    for name in ("source_encoder", "led"):
        model = whole(name, "fp16")
        types = value_types(model)
        geometry = [n for n in model.graph.node if n.op_type in ("Div", "Sqrt", "Reciprocal", "ReduceMax", "ReduceMin")]
        assert geometry
        assert all(types[value] == SINGLE for n in geometry for value in n.output)


def test_counts_tell_what_stayed_single() -> None:
    for name in NAMES:
        islands = find_islands(plain(name).graph)
        assert island_counts(name) == {RANGE_GUARD: 0} | {
            rule.name: sum(chosen == rule.name for chosen in islands.values()) for rule in ISLAND_RULES
        }
    assert island_counts("led")["grid sampling"] == 1
    assert island_counts("renderer_refiner")["outputs"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_no_cast_undoes_another(name: str) -> None:
    """A value cast to single is not cast back: that would lose what the island was for."""
    model = whole(name, "fp16")
    made_by_cast = {n.output[0] for n in model.graph.node if n.op_type == "Cast"}
    assert [n.name for n in model.graph.node if n.op_type == "Cast" and n.input[0] in made_by_cast] == []


def test_half_graphs_stay_near_the_single_ones() -> None:
    """Only rounding of weights and features: ONNX Runtime's CPU computes FP16 in FP32."""
    values = {key: value.numpy() for key, value in reference_values().items()}
    for name, tolerance in (("source_encoder", 2e-2), ("led", 1e-3), ("renderer_refiner", 2e-2)):
        for output, found in run_onnx(whole(name, "fp16"), values).items():
            expected = values[output].astype(np.float64)
            scale = 255.0 if output == "frame" else max(1.0, np.abs(expected).max())
            assert np.abs(found.astype(np.float64) - expected).max() <= tolerance * scale, output


def test_files_are_half_the_size() -> None:
    def weights(precision: str) -> int:
        return sum(len(t.raw_data) for t in whole("led", precision).graph.initializer)

    assert weights("fp16") < 0.6 * weights("fp32")
