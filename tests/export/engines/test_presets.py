"""Every graph of both presets, in every precision, for every architecture that TensorRT-RTX lists (issue 5).

Built twice, byte for byte the same, each in time, and the audit shows the precision that was planned.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from hidenerf.export.convolutions import convolutions, graph_digest, output_layers
from hidenerf.export.engines.audit import CONVOLUTIONS
from hidenerf.export.engines.targets import choose_targets
from hidenerf.export.engines.writer import write_engines
from hidenerf.export.precision import FloatPrecision
from hidenerf.export.precision_plan import SCHEMA, SCHEMA_VERSION, read_plan
from hidenerf.model.config import PRESETS
from hidenerf.runtime.bundle import GRAPH_NAMES, open_bundle
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from tests.support.bundles import graphs_of, write_untrained
from tests.support.engine_builds import set_of
from tests.support.exported_presets import Exported
from tests.support.files import contents
from tests.support.log_lines import log_lines
from tests.support.networks import rtx

LIMIT_SECONDS = 60.0
SCALE = 0.05
# Of two lengths: where a bundle lies must not show in its plans (docs/engines.md).
NAMES = "once", "the-same-bundle-elsewhere"
# The renderer's two-layer MLP is a matrix product, which Turing has not in FP32.
WITHOUT_FP32 = 75

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
        nodes = {node.name: "FP16" for node in graph if node.op_type in ("Conv", "ConvTranspose")}
        for layer in convolutions(graph):
            nodes[layer.node] = "FP16" if layer.layer in last else "INT8"
            entry = {"graph": path.stem, "layer": layer.layer, "precision": nodes[layer.node].lower()}
            layers.append(entry | ({"activation_scale": SCALE} if layer.layer not in last else {}))
        planned[path.stem] = nodes
    checkpoint = open_bundle(exported).manifest.checkpoint.to_json()
    content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "checkpoint": checkpoint}
    plan = folder / "plan.json"
    plan.write_text(json.dumps(content | {"graphs": digests, "layers": layers, "islands": []}))
    return plan, planned


def bundle_in(precision: str, preset: str, exported: Path, folder: Path) -> tuple[Path, Planned]:
    """The preset's bundle in this precision, and what its convolutions should be built in."""
    path, planned = quick_plan(exported, folder)
    with graphs_of(exported):
        chosen = {"int8": read_plan(path)}.get(precision) or FloatPrecision(precision)
        bundle = write_untrained(PRESETS[preset], folder / NAMES[0], precision=chosen)
    if precision != "int8":
        planned = {name: dict.fromkeys(nodes, precision.upper()) for name, nodes in planned.items()}
    return bundle, planned


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_all_graphs_build_for_every_architecture_in_time_byte_for_byte_twice_as_planned(
    exported_preset: Callable[[str], Exported], tmp_path: Path, preset: str, precision: str
) -> None:
    chosen = choose_targets(rtx(), "all")
    first, planned = bundle_in(precision, preset, exported_preset(preset).bundle, tmp_path)
    second = Path(shutil.copytree(first, tmp_path / NAMES[1]))
    with log_lines() as lines:
        write_engines(first, chosen)
        write_engines(second, chosen)
    once, twice = contents(first), contents(second)
    assert once.keys() == twice.keys()
    assert [name for name in once if once[name] != twice[name]] == []

    sms = [sm for sm in chosen.sms if precision != "fp32" or sm != WITHOUT_FP32]
    assert len(sms) >= 5
    assert {line.split(":")[0] for line in lines if "left out" in line} == {f"SM {sm}" for sm in {*chosen.sms} - {*sms}}
    seconds = [float(line.split()[-2]) for line in lines if ": built " in line]
    assert len(seconds) == 2 * len(GRAPH_NAMES) * len(sms)
    assert max(seconds) < LIMIT_SECONDS
    for sm in sms:
        for name in GRAPH_NAMES:
            sidecar = read_sidecar(set_of(first, sm), name)
            built = {layer.name: layer.precision for layer in sidecar.layers if layer.type in CONVOLUTIONS}
            assert built == planned[name]
            assert sidecar.precision.stray == []
