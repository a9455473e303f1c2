"""Engines of both presets in every precision, built by TensorRT-RTX: layers, precisions and tensors.

What is built, and why not more. The graph alone decides which layer computes in which precision, so each graph of each
preset is built once in each precision. The SM decides whether the library has kernels for the graph, so each SM is
built once, with a preset and precision of its own. Refusals of one SM are tested on small graphs
(tests/export/engines/test_writer.py). All 34 sets, and whether two builds give the same bytes, are reported by
benchmarks/engine_identity.py: the bytes are the library's own, and no part of what a bundle promises.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from hidenerf.export.convolutions import convolutions, graph_digest, output_layers
from hidenerf.export.engines.audit import CONVOLUTIONS
from hidenerf.export.engines.targets import choose_targets
from hidenerf.export.engines.writer import write_engines
from hidenerf.export.passes.map_nodes import nodes_of_maps
from hidenerf.export.precision import FloatPrecision
from hidenerf.export.precision_plan import SCHEMA, SCHEMA_VERSION, read_plan
from hidenerf.model.config import PRESETS
from hidenerf.runtime.bundle import GRAPH_NAMES, open_bundle
from hidenerf.runtime.tensorrt.engine_set import find_engines
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from tests.support.bundles import graphs_of, write_untrained
from tests.support.engine_builds import set_of
from tests.support.exported_presets import Exported
from tests.support.networks import rtx, targets

SCALE = 0.05
# The SM that each preset and precision is built for. SM 75 has no FP32 matrix products, which the renderer needs.
SMS = {
    ("base", "fp32"): 86,
    ("base", "fp16"): 75,
    ("base", "int8"): 120,
    ("demo", "fp32"): 121,
    ("demo512", "fp16"): 80,
    ("demo", "int8"): 89,
}

Planned = dict[str, dict[str, str]]


def quick_plan(exported: Path, folder: Path) -> tuple[Path, Planned]:
    """A plan for all convolutions but the last, and node → precision per graph.

    Its scales were not measured: engines of it can be built, and how they are built does not follow from scales, but
    their frames are not for looking at.
    """
    layers: list[dict[str, Any]] = []
    planned: Planned = {}
    digests = {}
    for path in exported.glob("*.onnx"):
        graph = ir.load(path).graph
        digests[path.stem] = graph_digest(graph)
        if path.stem not in GRAPH_NAMES:
            continue
        last = output_layers(graph)
        nodes = unquantised(graph)
        for layer in convolutions(graph):
            if layer.layer not in last:
                nodes[layer.node] = "INT8"
            entry = {"graph": path.stem, "layer": layer.layer, "precision": nodes[layer.node].lower()}
            layers.append(entry | ({"activation_scale": SCALE} if layer.layer not in last else {}))
        planned[path.stem] = nodes
    checkpoint = open_bundle(exported).manifest.checkpoint.to_json()
    content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "checkpoint": checkpoint}
    plan = folder / "plan.json"
    plan.write_text(json.dumps(content | {"graphs": digests, "layers": layers, "islands": []}))
    return plan, planned


def unquantised(graph: ir.Graph) -> dict[str, str]:
    """Convolution → its precision in an FP16 graph."""
    of_maps = nodes_of_maps(graph)
    convolutions = [node for node in graph if node.op_type in ("Conv", "ConvTranspose")]
    return {str(node.name): "FP32" if node in of_maps else "FP16" for node in convolutions}


def bundle_in(precision: str, preset: str, exported: Path, folder: Path) -> tuple[Path, Planned]:
    """The preset's bundle in this precision, and what its convolutions should be built in."""
    path, planned = quick_plan(exported, folder)
    with graphs_of(exported):
        chosen = {"int8": read_plan(path)}.get(precision) or FloatPrecision(precision)
        bundle = write_untrained(PRESETS[preset], folder / "bundle", precision=chosen)
    if precision == "fp32":
        planned = {name: dict.fromkeys(nodes, "FP32") for name, nodes in planned.items()}
    elif precision == "fp16":
        planned = {name: unquantised(ir.load(exported / f"{name}.onnx").graph) for name in planned}
    return bundle, planned


def test_every_sm_of_the_library_is_built_once() -> None:
    # The presets demo and demo512 have the same networks but for the enlarger.
    assert {preset for preset, _ in SMS} == set(PRESETS)
    for same in ({"base"}, {"demo", "demo512"}):
        assert sorted(precision for preset, precision in SMS if preset in same) == ["fp16", "fp32", "int8"]
    assert sorted(SMS.values()) == sorted(choose_targets(rtx(), "all").sms)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "precision"), SMS)
def test_engines_compute_as_planned(
    exported_preset: Callable[[str], Exported], tmp_path: Path, preset: str, precision: str
) -> None:
    sm = SMS[preset, precision]
    folder, planned = bundle_in(precision, preset, exported_preset(preset).bundle, tmp_path)
    write_engines(folder, targets(sm))
    bundle = open_bundle(folder)
    # Also compares the files' sizes and hashes with the sidecars.
    engines = find_engines(bundle, "tensorrt-rtx", rtx().version, sm)
    assert set(engines) == set(GRAPH_NAMES)
    for name, engine in engines.items():
        assert engine.inputs == bundle.graphs[name].inputs
        assert engine.outputs == bundle.graphs[name].outputs
        sidecar = read_sidecar(set_of(folder, sm), name)
        built = {layer.name: layer.precision for layer in sidecar.layers if layer.type in CONVOLUTIONS}
        assert built == planned[name]
        assert sidecar.precision.stray == []
