"""Precision plan as JSON, from what the calibration found; `hidenerf.export.precision_plan` reads it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.calibration.precision.calibrate import Calibration, Models
from hidenerf.calibration.precision.cost import DESCRIPTION, RUNS_PER_FRAME, convolution_cost
from hidenerf.calibration.precision.data import CalibrationData
from hidenerf.calibration.precision.frame_loss import FrameLoss
from hidenerf.calibration.precision.plan_picture import Point, pareto_picture
from hidenerf.calibration.precision.range_guard import LIMIT, MARGIN, GuardResult
from hidenerf.calibration.precision.search import Sensitivity
from hidenerf.export.convolutions import Convolution, graph_digest
from hidenerf.export.passes.quantisation import symmetric_scale, weight_scales
from hidenerf.export.precision_plan import SCHEMA, SCHEMA_VERSION
from hidenerf.export.versions import versions
from hidenerf.runtime.bundle import GRAPH_NAMES, Bundle
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.video.pictures import write_picture

GENERATORS = ("onnx", "onnxruntime", "torch")
# Drawn for a step that changes no pixel: one level in one pixel of a thousand frames is as good.
PSNR_OF_NO_DIFFERENCE = 100.0
PER_FRAME = ("led", "renderer_refiner")


def plan_content(
    found: Calibration, bundle: Bundle, models: Models, data: CalibrationData, min_psnr: float
) -> dict[str, Any]:
    """The plan's content. It has neither the file's name nor the time, so the same inputs give the same bytes."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "generator": versions(GENERATORS),
        "preset": bundle.preset,
        "checkpoint": bundle.manifest.checkpoint.to_json(),
        "graphs": {name: graph_digest(model.graph) for name, model in models.items()},
        "calibration": data.description,
        "budget": {"min_psnr": min_psnr},
        "reached": {"plan": _loss(found.plan), "fp16": _loss(found.fp16), "frames": len(data.samples)},
        "share": {
            "per_frame": round(found.int8_share(PER_FRAME), 4),
            "source_encoder": round(found.int8_share(("source_encoder",)), 4),
            "all": round(found.int8_share(GRAPH_NAMES), 4),
        },
        "cost": {
            "model": DESCRIPTION,
            "fp32": _giga(cost_of(found, frozenset(), "fp32")),
            "fp16": _giga(cost_of(found, frozenset(), "fp16")),
            "plan": _giga(cost_of(found, frozenset(group.name for group in found.kept), "fp16")),
        },
        "guard": {name: _guard(guard) for name, guard in found.guards.items()} | {"margin": MARGIN},
        "islands": [
            {
                "graph": name,
                "node": overflow.node,
                "tensor": overflow.tensor,
                "max_abs": _rounded(overflow.max_abs),
                "reason": f"{overflow.tensor} reaches {overflow.max_abs:.4g}; FP16 with its margin ends at {LIMIT:g}",
            }
            for name, guard in found.guards.items()
            for overflow in guard.overflows
        ],
        "groups": [_group(found, sensitivity) for sensitivity in found.sensitivities],
        "steps": [{"added": [g.name for g in s.added], "kept": s.kept} | _loss(s.loss) for s in found.steps],
        "layers": [_layer(found, name, layer) for name in GRAPH_NAMES for layer in found.graphs[name].layers],
    }


def write_plan(content: dict[str, Any], found: Calibration, path: Path, min_psnr: float) -> None:
    """Write the plan (.json) and beside it the picture of the search (.png), both or neither.

    content: of `plan_content`. min_psnr: the budget, dB.
    """
    with atomic_path(path) as partial, atomic_path(path.with_suffix(".png")) as picture:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        write_picture(_search_picture(found, min_psnr), picture)


def _search_picture(found: Calibration, min_psnr: float) -> NDArray[np.uint8]:
    def point(names: frozenset[str], psnr: float) -> Point:
        return Point(cost_of(found, names, "fp16") / 1e9, psnr if math.isfinite(psnr) else PSNR_OF_NO_DIFFERENCE)

    taken: frozenset[str] = frozenset()
    kept: list[Point] = []
    dropped: list[Point] = []
    for step in found.steps:
        trial = taken | {group.name for group in step.added}
        (kept if step.kept else dropped).append(point(trial, step.loss.worst))
        taken = trial if step.kept else taken
    fp16 = point(frozenset(), found.fp16.worst)
    plan = point(frozenset(group.name for group in found.kept), found.plan.worst)
    return pareto_picture(kept, dropped, fp16, plan, min_psnr)


def cost_of(found: Calibration, groups: frozenset[str], rest: str) -> float:
    """Estimated cost of a frame's convolutions, in FP16 FLOPs, with these groups INT8 and the rest in `rest`."""
    int8 = {
        (s.group.graph, layer.layer) for s in found.sensitivities if s.group.name in groups for layer in s.group.layers
    }
    return sum(
        RUNS_PER_FRAME[name] * convolution_cost(layer, "int8" if (name, layer.layer) in int8 else rest)
        for name in GRAPH_NAMES
        for layer in found.graphs[name].layers
    )


def _layer(found: Calibration, name: str, layer: Convolution) -> dict[str, Any]:
    graph = found.graphs[name]
    entry: dict[str, Any] = {"graph": name, "layer": layer.layer, "gflops": _giga(layer.flops)}
    if layer.layer in graph.fixed:
        overflows = layer.node in {overflow.node for overflow in graph.guard.overflows}
        reason = graph.fixed[layer.layer]
        return entry | {"group": None, "precision": "fp32" if overflows else "fp16", "reason": reason}
    own = next(s for s in found.sensitivities if s.group.graph == name and layer in s.group.layers)
    entry["group"] = own.group.name
    if own.group not in found.kept:
        return entry | {"precision": "fp16", "reason": _left_out(found, own)}
    largest = graph.ranges[layer.layer][own.method]
    scales = weight_scales(layer.weight)
    return entry | {
        "precision": "int8",
        "activation_range": largest,
        "activation_max": graph.ranges[layer.layer]["max"],
        "activation_scale": float(symmetric_scale(largest)),
        "weight_scales": [float(scales.min()), float(scales.max())],
        "reason": f"its group alone in INT8 leaves {_words(own.loss)} on the worst frame; range by {own.method}",
    }


def _left_out(found: Calibration, own: Sensitivity) -> str:
    (step,) = [step for step in found.steps if own.group in step.added]
    if step.kept:
        return "taken back: the plan as exported was below the budget with it"
    return f"its group alone leaves {_words(own.loss)}, but together with what was chosen before it {_words(step.loss)}"


def _group(found: Calibration, own: Sensitivity) -> dict[str, Any]:
    return {
        "group": own.group.name,
        "layers": len(own.group.layers),
        "gflops": _giga(own.group.flops),
        "precision": "int8" if own.group in found.kept else "fp16",
        "ranges": own.method,
        "alone": {method: _loss(loss) for method, loss in own.losses.items()},
    }


def _guard(guard: GuardResult) -> dict[str, Any]:
    return {
        "fp16_tensors": guard.tensors,
        "largest": {"tensor": guard.largest.tensor, "max_abs": _rounded(guard.largest.max_abs)},
        "subnormal": [{"tensor": s.tensor, "max_abs": _rounded(s.max_abs)} for s in guard.subnormal],
    }


def _loss(loss: FrameLoss) -> dict[str, Any]:
    return {"worst_psnr": _decibels(loss.worst), "mean_psnr": _decibels(loss.mean)}


def _decibels(value: float) -> float | str:
    return round(value, 2) if math.isfinite(value) else "inf"


def _words(loss: FrameLoss) -> str:
    return f"{loss.worst:.1f} dB" if math.isfinite(loss.worst) else "no difference"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _giga(value: float) -> float:
    return round(value / 1e9, 4)
