"""The FP16 pass: its rules on graphs of a few nodes written by hand, and what it makes of the real model."""

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hidenerf.export.passes.fp16 import ISLAND_RULES, RANGE_GUARD, Fp16, find_islands
from hidenerf.export.passes.map_nodes import nodes_of_maps
from hidenerf.runtime.errors import HideNerfError
from tests.support.exported import (
    ALL_NAMES,
    NAMES,
    is_real,
    island_counts,
    passed,
    plain_ir,
    run_onnx,
    value_types,
    values_of,
    whole,
)

FP32, FP16 = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)

Shapes = dict[str, list[int]]


def make(
    nodes: list[NodeProto], inputs: Shapes, outputs: Shapes, weights: dict[str, np.ndarray] | None = None
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info(name, FP32, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FP32, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    # The exporter annotates every value; the pass reads these annotations.
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def converted(model: ModelProto) -> tuple[ModelProto, dict[str, int]]:
    """Through the pass, with everything checked that must hold of any result."""
    model, counts = passed(model, Fp16())
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
    return {node.name or "": rule for node, rule in find_islands(ir.from_proto(model).graph).items()}


def test_a_plain_network_becomes_fp16_throughout() -> None:
    nodes = [conv("planes", "hidden"), node("Relu", ["hidden"], "active"), conv("active", "features")]
    model, counts = converted(make(nodes, {"planes": PICTURE}, {"features": PICTURE}, WEIGHT))
    assert casts(model) == []
    assert {v.type.tensor_type.elem_type for v in [*model.graph.input, *model.graph.output]} == {FP16}
    assert [t.data_type for t in model.graph.initializer] == [FP16]
    assert set(counts.values()) == {0}
    picture = np.random.default_rng(1).standard_normal(PICTURE)
    original = make(nodes, {"planes": PICTURE}, {"features": PICTURE}, WEIGHT)
    expected = run_onnx(original, {"planes": picture})["features"]
    np.testing.assert_allclose(run_onnx(model, {"planes": picture})["features"], expected, atol=1e-2)


def test_camera_geometry_stays_fp32_up_to_the_first_convolution() -> None:
    nodes = [
        node("Reshape", ["camera", "shape"], "matrix"),
        node("Sin", ["matrix"], "points"),
        conv("points", "features"),
        node("Relu", ["features"], "active"),
    ]
    weights = WEIGHT | {"shape": np.array(PICTURE, np.int64)}
    model, counts = converted(make(nodes, {"camera": [1, 32]}, {"active": PICTURE}, weights))
    types = value_types(model)
    assert (types["camera"], types["matrix"], types["points"]) == (FP32, FP32, FP32)
    assert (types["features"], types["active"]) == (FP16, FP16)
    assert casts(model) == [("points", FP16)]
    assert counts["camera geometry"] == 2
    assert types["shape"] == TensorProto.INT64


def test_the_source_camera_is_a_camera_too() -> None:
    nodes = [node("Sin", ["source_camera"], "points"), conv("points", "features")]
    model = make(nodes, {"source_camera": PICTURE}, {"features": PICTURE}, WEIGHT)
    assert rule_names(model) == {"Sin_points": "camera geometry"}


def test_geometry_mixed_with_features_behind_a_convolution_is_not_geometry() -> None:
    nodes = [node("Sin", ["camera"], "points"), conv("points", "features"), node("Add", ["features", "planes"], "sum")]
    model, _ = converted(make(nodes, {"camera": PICTURE, "planes": PICTURE}, {"sum": PICTURE}, WEIGHT))
    assert value_types(model)["sum"] == FP16


def test_a_value_is_cast_once_however_many_use_it() -> None:
    nodes = [
        node("Sin", ["camera"], "points"),
        conv("points", "a"),
        conv("points", "b"),
        node("Add", ["a", "b"], "sum"),
        conv("points", "c"),
        node("Add", ["sum", "c"], "features"),
    ]
    model, _ = converted(make(nodes, {"camera": PICTURE}, {"features": PICTURE}, WEIGHT))
    assert casts(model) == [("points", FP16)]


def test_a_weight_used_in_both_precisions_exists_in_both_and_once_each() -> None:
    factor = {"factor": np.full((1, 2, 1, 1), 1.5, np.float32)}
    nodes = [
        node("Mul", ["camera", "factor"], "points"),
        conv("points", "features"),
        node("Mul", ["features", "factor"], "scaled"),
        node("Mul", ["scaled", "factor"], "twice"),
    ]
    model, _ = converted(make(nodes, {"camera": PICTURE}, {"twice": PICTURE}, WEIGHT | factor))
    kinds = sorted(t.data_type for t in model.graph.initializer if t.name.startswith("factor"))
    assert kinds == sorted([FP32, FP16])
    assert not any(name.startswith("factor") for name, _ in casts(model))


def test_grid_samples_stay_fp32_between_casts() -> None:
    nodes = [
        conv("planes", "data"),
        node("GridSample", ["data", "camera"], "sampled", mode="linear"),
        conv("sampled", "features"),
    ]
    inputs = {"planes": PICTURE, "camera": [1, 4, 4, 2]}
    model, counts = converted(make(nodes, inputs, {"features": PICTURE}, WEIGHT))
    types = value_types(model)
    sample = next(n for n in model.graph.node if n.op_type == "GridSample")
    assert [types[value] for value in [*sample.input, *sample.output]] == [FP32] * 3
    assert casts(model) == [("data", FP32), ("sampled", FP16)]
    assert counts["grid sampling"] == 1


def test_towards_fp32_outputs_everything_after_the_last_convolution_is_fp32() -> None:
    nodes = [conv("planes", "raw"), node("Tanh", ["raw"], "bounded"), node("Neg", ["bounded"], "deformation")]
    model, counts = converted(make(nodes, {"planes": PICTURE}, {"deformation": PICTURE}, WEIGHT))
    types = value_types(model)
    assert (types["raw"], types["bounded"], types["deformation"]) == (FP16, FP32, FP32)
    assert casts(model) == [("raw", FP32)]
    assert counts["outputs"] == 2


@pytest.mark.parametrize("name", ["alpha", "frame", "deformation"])
def test_an_output_straight_from_an_fp16_node_is_cast_under_its_own_name(name: str) -> None:
    model, _ = converted(make([conv("planes", name)], {"planes": PICTURE}, {name: PICTURE}, WEIGHT))
    assert model.graph.output[0].name == name
    assert model.graph.output[0].type.tensor_type.elem_type == FP32
    assert len(casts(model)) == 1
    picture = np.random.default_rng(1).standard_normal(PICTURE)
    assert run_onnx(model, {"planes": picture})[name].dtype == np.float32


def test_an_output_that_other_nodes_read_too_keeps_one_producer() -> None:
    nodes = [conv("planes", "alpha"), conv("alpha", "hidden"), node("Add", ["hidden", "alpha"], "features")]
    model, _ = converted(make(nodes, {"planes": PICTURE}, {"alpha": PICTURE, "features": PICTURE}, WEIGHT))
    types = value_types(model)
    assert (types["alpha"], types["features"]) == (FP32, FP16)
    produced = [value for n in model.graph.node for value in n.output]
    assert len(produced) == len(set(produced))


def test_an_fp32_node_on_the_way_to_an_fp16_output_is_cast_at_the_end() -> None:
    nodes = [node("Sin", ["camera"], "planes_0")]
    model, _ = converted(make(nodes, {"camera": PICTURE}, {"planes_0": PICTURE}))
    assert model.graph.output[0].type.tensor_type.elem_type == FP16
    assert value_types(model)["planes_0"] == FP16


def test_images_enter_in_fp32_and_are_cast() -> None:
    nodes = [conv("source_image", "planes_0")]
    model, _ = converted(make(nodes, {"source_image": PICTURE}, {"planes_0": PICTURE}, WEIGHT))
    assert model.graph.input[0].type.tensor_type.elem_type == FP32
    assert casts(model) == [("source_image", FP16)]


@pytest.mark.parametrize("sized", ["scales", "sizes"])
def test_the_scales_of_a_resize_stay_fp32(sized: str) -> None:
    weights = WEIGHT | {"scales": np.array([1, 1, 2, 2], np.float32), "sizes": np.array([1, 2, 8, 8], np.int64)}
    inputs = ["hidden", "", "scales"] if sized == "scales" else ["hidden", "", "", "sizes"]
    nodes = [conv("planes", "hidden"), node("Resize", inputs, "features", mode="linear")]
    del weights["sizes" if sized == "scales" else "scales"]
    model, _ = converted(make(nodes, {"planes": PICTURE}, {"features": [1, 2, 8, 8]}, weights))
    resize = next(n for n in model.graph.node if n.op_type == "Resize")
    types = value_types(model)
    assert types[resize.input[0]] == types[resize.output[0]] == FP16
    assert types[sized] == (FP32 if sized == "scales" else TensorProto.INT64)
    assert casts(model) == []


@pytest.mark.parametrize("value", [65505.0, -7e4, float("inf"), float("nan")])
def test_a_weight_beyond_fp16_is_refused_by_its_name(value: float) -> None:
    weight = WEIGHT["weight"].copy()
    weight[1, 0, 2, 1] = value
    model = make([conv("planes", "features")], {"planes": PICTURE}, {"features": PICTURE}, {"weight": weight})
    with pytest.raises(HideNerfError, match="weight") as caught:
        passed(model, Fp16())
    assert "--fp16" in str(caught.value)
    assert f"{abs(value):g}" in str(caught.value)


def test_a_weight_of_exactly_the_largest_fp16_number_is_kept() -> None:
    weight = WEIGHT["weight"].copy()
    weight[0, 0, 0, 0] = -65504.0
    model = make([conv("planes", "features")], {"planes": PICTURE}, {"features": PICTURE}, {"weight": weight})
    model, _ = converted(model)
    assert numpy_helper.to_array(model.graph.initializer[0]).min() == -65504.0


def test_a_large_weight_inside_an_island_is_kept() -> None:
    factor = {"factor": np.array([1e6], np.float32)}
    nodes = [node("Mul", ["camera", "factor"], "far"), node("Sin", ["far"], "points"), conv("points", "features")]
    converted(make(nodes, {"camera": PICTURE}, {"features": PICTURE}, WEIGHT | factor))


def test_the_alignment_stays_fp32_and_what_it_is_mixed_with_does_not() -> None:
    """A depth is compared in FP32; the share that comes of it scales features in FP16, cast once."""
    nodes = [
        node("Mul", ["place", "source_projection"], "depth"),
        node("GridSample", ["source_surface", "grid"], "found", mode="linear"),
        node("Sub", ["depth", "found"], "excess"),
        node("Sigmoid", ["excess"], "shown"),
        conv("planes", "features"),
        node("Mul", ["features", "shown"], "maps"),
        node("Add", ["maps", "shown"], "sums"),
    ]
    inputs = {"place": PICTURE, "source_projection": PICTURE, "source_surface": PICTURE, "planes": PICTURE}
    weights = WEIGHT | {"grid": np.zeros((1, 4, 4, 2), np.float32)}
    model, counts = converted(make(nodes, inputs, {"sums": PICTURE}, weights))
    types = value_types(model)
    assert {types[name] for name in ("place", "source_projection", "depth", "found", "excess", "shown")} == {FP32}
    assert {types[name] for name in ("features", "maps", "sums")} == {FP16}
    assert casts(model) == [("shown", FP16)]
    assert (counts["alignment"], counts["grid sampling"]) == (3, 1)


def test_every_rule_says_why() -> None:
    assert [rule.name for rule in ISLAND_RULES] == [
        *("camera geometry", "grid sampling", "outputs", "alignment", "maps")
    ]
    assert all(rule.reason for rule in ISLAND_RULES)


def test_a_graph_that_is_fp16_already_is_refused() -> None:
    model, _ = converted(make([conv("planes", "features")], {"planes": PICTURE}, {"features": PICTURE}, WEIGHT))
    with pytest.raises(HideNerfError, match="planes is FP16 already"):
        passed(model, Fp16())


# Nodes kept in FP32 by name, on a graph that overflows in FP16 in the middle.

SHAPE = [1, 2, 4, 4]


def overflowing() -> onnx.ModelProto:
    """planes → Conv → ·33333 (beyond FP16) → ·0.00003 → Conv → maps."""
    weight = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["planes", "weight"], ["features"], name="first", pads=[1, 1, 1, 1]),
            node("Mul", ["features", "up"], ["huge"], name="far"),
            node("Mul", ["huge", "down"], ["small"], name="back"),
            node("Conv", ["small", "weight"], ["maps"], name="second", pads=[1, 1, 1, 1]),
        ],
        "by hand",
        [helper.make_tensor_value_info("planes", FP32, SHAPE)],
        [helper.make_tensor_value_info("maps", FP32, SHAPE)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([1e5 / 3], np.float32), "up"),
            numpy_helper.from_array(np.array([3e-5], np.float32), "down"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def kept(names: list[str]) -> onnx.ModelProto:
    model, counts = passed(overflowing(), Fp16(frozenset(names)))
    assert counts[RANGE_GUARD] == len(names)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_named_nodes_are_single_with_one_cast_in_and_one_out() -> None:
    model = kept(["far", "back"])
    types = value_types(model)
    nodes = {node.name: node for node in model.graph.node}
    for name in ("far", "back"):
        assert {types[value] for value in [*nodes[name].input, *nodes[name].output]} == {FP32}
    assert nodes["far"].output[0] == nodes["back"].input[0]
    assert types[nodes["second"].input[0]] == types[nodes["first"].output[0]] == FP16
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 2


def test_the_island_computes_with_the_original_weights() -> None:
    names = {t.name: t.data_type for t in kept(["far", "back"]).graph.initializer}
    assert names == {"weight_fp16": FP16, "up": FP32, "down": FP32}
    picture = np.random.default_rng(1).standard_normal(SHAPE)
    found = run_onnx(kept(["far", "back"]), {"planes": picture})["maps"]
    expected = run_onnx(overflowing(), {"planes": picture})["maps"]
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_nothing_in_fp16_is_left_beyond_its_range() -> None:
    """ONNX Runtime's CPU would not overflow, so the types say it: no FP16 value is made of the huge one."""
    model = kept(["far", "back"])
    types = value_types(model)
    readers = [node.name for node in model.graph.node if any("huge" in name for name in node.input)]
    assert readers == ["back"]
    assert all(kind == FP32 for name, kind in types.items() if "huge" in name)


def test_a_convolution_can_be_an_island() -> None:
    types = value_types(kept(["first"]))
    assert types["features"] == types["weight"] == types["planes_as_fp32"] == FP32
    assert types["features_as_fp16"] == types["maps"] == FP16


def test_no_names_change_nothing_and_unknown_ones_are_refused() -> None:
    assert kept([]).SerializeToString() == passed(overflowing(), Fp16())[0].SerializeToString()
    with pytest.raises(HideNerfError, match="nowhere"):
        kept(["nowhere"])


# What the pass makes of the real (tiny) model.


def boundary_types(name: str) -> dict[str, int]:
    model = whole(name, "fp16")
    return {v.name: v.type.tensor_type.elem_type for v in [*model.graph.input, *model.graph.output]}


@pytest.mark.slow
def test_boundaries_of_the_real_graphs() -> None:
    planes_and_maps = {"planes_0": FP16, "planes_1": FP16} | {
        f"{kind}_{layer}": FP16 for kind in ("gamma", "beta") for layer in range(8)
    }
    pictures = {"source_image": FP32, "source_camera": FP32, "secc_canonical": FP32}
    assert boundary_types("source_encoder") == pictures | {"led_canonical": FP16} | planes_and_maps
    assert boundary_types("led") == {
        "secc_driving": FP32,
        "camera": FP32,
        "led_canonical": FP16,
        "deformation": FP32,
    }
    assert boundary_types("renderer_refiner") == planes_and_maps | {
        "deformation": FP32,
        "camera": FP32,
        "frame": TensorProto.UINT8,
        "alpha": FP32,
    }


@pytest.mark.slow
def test_boundaries_of_an_aligned_models_graphs() -> None:
    """What the source's surface is found with, and its pixels, are FP32; maps are FP16."""
    maps = {f"{kind}_{layer}": FP16 for kind in ("gamma", "beta") for layer in range(6)}
    known = dict.fromkeys(("source_projection", "source_surface", "source_pixels", "source_pixels_small"), FP32)
    planes = {"planes_0": FP16, "planes_1": FP16}
    pictures = {"source_image": FP32, "source_camera": FP32, "secc_canonical": FP32}
    frame = {"frame": int(TensorProto.UINT8), "alpha": FP32}
    assert boundary_types("aligned source_encoder") == pictures | {"led_canonical": FP16} | planes | maps | known
    coordinates = {"deformation": FP32, "camera": FP32, "face_sight": FP32}
    assert boundary_types("aligned renderer_refiner") == coordinates | planes | known | maps | frame
    rendered = {"rendered": FP32, "rendered_alpha": FP32}
    in_frame = {"stem_input": FP16, "detail_input": FP16, "own": FP32, "shown": FP32}
    aligned = {f"in_frame_{name}": kind for name, kind in maps.items()}
    assert boundary_types("aligned refiner") == rendered | in_frame | aligned | frame


@pytest.mark.parametrize("name", ["aligned renderer_refiner", "aligned refiner"])
def test_an_aligned_models_coordinates_are_fp32_and_its_layers_fp16(name: str) -> None:
    """Only coordinates and depths are divided; the six sampled layers and the two of constants are multiply-adds."""
    model = whole(name, "fp16")
    types = value_types(model)
    # All that is divided and sampled, of SPADE's maps and of the source's surface and pictures, is in AlignSource.
    inside = [n for n in onnx.inliner.inline_local_functions(model).graph.node if n.op_type in ("Div", "GridSample")]
    assert bool(inside) == (name != "aligned refiner")
    assert all(types[value] == FP32 for n in inside for value in [*n.input, *n.output])
    assert not any(n.op_type in ("Div", "GridSample") for n in model.graph.node)
    leaky = [n.input[0] for n in model.graph.node if n.op_type == "LeakyRelu"]
    assert {types[value] for value in leaky} == {FP16}
    multiplied = {n.output[0]: n for n in model.graph.node if n.op_type in ("Mul", "Add")}
    norms = [multiplied[value] for value in leaky if value in multiplied]
    assert len(norms) >= 7
    assert all(types[value] == FP16 for n in norms for value in n.input)


@pytest.mark.parametrize("name", ALL_NAMES)
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
    run_onnx(model, {key: value.numpy() for key, value in values_of(name).items()})


@pytest.mark.parametrize("name", ALL_NAMES)
def test_no_grid_sample_is_fp16_not_even_in_a_body(name: str) -> None:
    model = whole(name, "fp16")
    types = value_types(model)
    for n in onnx.inliner.inline_local_functions(model).graph.node:
        if n.op_type == "GridSample":
            assert {types[value] for value in [*n.input, *n.output]} == {FP32}


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_convolution_is_fp16_but_those_of_maps(name: str) -> None:
    model = whole(name, "fp16")
    types = value_types(model)
    maps = {node.name for node in nodes_of_maps(plain_ir(name).graph)}
    convolutions = [n for n in model.graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    assert any(n.name not in maps for n in convolutions)
    # The ID encoder's, and three of each SPADE layer with maps.
    assert all(types[n.output[0]] == (FP32 if n.name in maps else FP16) for n in convolutions)
    outputs = {name for name in types if name.startswith(("gamma_", "beta_"))} & {o.name for o in model.graph.output}
    spades = len(outputs) // 2
    assert sum(n.name in maps for n in convolutions) == (4 + 3 * spades if spades else 0)


def test_camera_geometry_of_the_real_graphs_is_fp32() -> None:
    """Sine, square root, division and clipping belong to cameras; nothing else of ours uses them."""
    for name in ("source_encoder", "led"):
        model = whole(name, "fp16")
        types = value_types(model)
        nodes = onnx.inliner.inline_local_functions(model).graph.node
        geometry = [n for n in nodes if n.op_type in ("Div", "Sqrt", "Reciprocal", "ReduceMax", "ReduceMin")]
        assert geometry
        assert all(types[value] == FP32 for n in geometry for value in n.output)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_counts_tell_what_stayed_fp32(name: str) -> None:
    islands = find_islands(plain_ir(name).graph)
    assert island_counts(name) == {RANGE_GUARD: 0} | {
        rule.name: sum(chosen == rule.name for chosen in islands.values()) for rule in ISLAND_RULES
    }
    assert name not in NAMES or island_counts(name)["alignment"] == 0


@pytest.mark.slow
def test_counts_of_rules_that_the_real_graphs_need() -> None:
    assert island_counts("source_encoder")["camera geometry"] > 0
    assert island_counts("led")["outputs"] > 0
    assert island_counts("renderer_refiner")["outputs"] > 0
    # The source's own view in its surface. LED's rays and samples are in its node.
    assert island_counts("aligned source_encoder")["grid sampling"] > 0
    assert island_counts("led")["grid sampling"] == island_counts("led")["camera geometry"] == 0


@pytest.mark.parametrize("name", ALL_NAMES)
def test_no_cast_undoes_another(name: str) -> None:
    """A value cast to FP32 is not cast back, which would lose the precision that the island is for."""
    model = whole(name, "fp16")
    made_by_cast = {n.output[0] for n in model.graph.node if n.op_type == "Cast"}
    assert [n.name for n in model.graph.node if n.op_type == "Cast" and n.input[0] in made_by_cast] == []


@pytest.mark.parametrize("name", ALL_NAMES)
def test_fp16_graphs_stay_near_the_fp32_ones(name: str) -> None:
    """Only rounding of weights and features: ONNX Runtime's CPU computes FP16 in FP32."""
    values = {key: value.numpy() for key, value in values_of(name).items()}
    tolerance = 1e-3 if name == "led" else 2e-2
    for output, found in run_onnx(whole(name, "fp16"), values).items():
        expected = values[output].astype(np.float64)
        scale = 255.0 if output == "frame" else max(1.0, np.abs(expected).max())
        assert np.abs(found.astype(np.float64) - expected).max() <= tolerance * scale, output


def test_files_are_half_the_size() -> None:
    def weights(precision: str) -> int:
        return sum(len(t.raw_data) for t in whole("led", precision).graph.initializer)

    assert weights("fp16") < 0.6 * weights("fp32")
