"""Precision plan as JSON, from what the calibration found; `hidenerf.export.precision_plan` reads it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.calibration.precision.calibrate import Calibration, Models
from hidenerf.calibration.precision.cost import DESCRIPTION, RUNS_PER_FRAME, convolution_cost
from hidenerf.calibration.precision.data import CalibrationData, DataDescription
from hidenerf.calibration.precision.frame_loss import FrameLoss
from hidenerf.calibration.precision.plan_picture import Point, pareto_picture
from hidenerf.calibration.precision.range_guard import LIMIT, MARGIN, GuardResult, Overflow
from hidenerf.calibration.precision.search import Sensitivity
from hidenerf.export.convolutions import Convolution, graph_digest
from hidenerf.export.passes.quantisation import symmetric_scale, weight_scales
from hidenerf.export.precision_plan import IslandEntry, LayerEntry, PlanContent
from hidenerf.export.versions import versions
from hidenerf.runtime.bundle import GRAPH_NAMES, Bundle
from hidenerf.runtime.files import atomic_path
from hidenerf.runtime.video.pictures import write_picture

GENERATORS = ("onnx", "onnxruntime", "torch")
# Drawn for a step that changes no pixel: one level in one pixel of a thousand frames is as good.
PSNR_OF_NO_DIFFERENCE = 100.0
PER_FRAME = ("led", "renderer_refiner")


@dataclass(frozen=True)
class Shares:
    """INT8 shares of convolution FLOPs: of a frame, of the source encoder, and of one run of each graph."""

    per_frame: float
    source_encoder: float
    all: float


@dataclass(frozen=True)
class Costs:
    """Estimated cost of a frame's convolutions in FP32, in FP16 and by the plan: GFLOPs of FP16, see `DESCRIPTION`."""

    fp32: float
    fp16: float
    plan: float


@dataclass(frozen=True)
class FoundPlan:
    """A precision plan and how it was found.

    content: what the exporter reads. preset: of the model. data: what it was calibrated on. frames: how many the losses
    were measured on. min_psnr: the budget, dB.
    """

    content: PlanContent
    preset: str
    data: DataDescription
    frames: int
    min_psnr: float
    share: Shares
    cost: Costs
    found: Calibration

    def to_json(self) -> dict[str, Any]:
        """The file's content. It has neither a name nor the time, so the same inputs give the same bytes."""
        found = self.found
        return {
            **self.content.to_json(),
            "generator": versions(GENERATORS),
            "preset": self.preset,
            "calibration": self.data.to_json(),
            "budget": {"min_psnr": self.min_psnr},
            "reached": {"plan": _loss(found.plan), "fp16": _loss(found.fp16), "frames": self.frames},
            "share": vars(self.share),
            "cost": {"model": DESCRIPTION, **vars(self.cost)},
            "guard": {name: _guard(guard) for name, guard in found.guards.items()} | {"margin": MARGIN},
            "groups": [_group(found, sensitivity) for sensitivity in found.sensitivities],
            "steps": [{"added": [g.name for g in s.added], "kept": s.kept} | _loss(s.loss) for s in found.steps],
        }


def found_plan(found: Calibration, bundle: Bundle, models: Models, data: CalibrationData, min_psnr: float) -> FoundPlan:
    """The plan that follows from a calibration of `bundle`'s `models` on `data`. min_psnr: the budget, dB."""
    return FoundPlan(
        content=PlanContent(
            checkpoint=bundle.manifest.checkpoint,
            graphs={name: graph_digest(model.graph) for name, model in models.items()},
            layers=[_layer(found, name, layer) for name in GRAPH_NAMES for layer in found.graphs[name].layers],
            islands=[_island(name, node) for name, guard in found.guards.items() for node in guard.overflows],
        ),
        preset=bundle.preset,
        data=data.description,
        frames=len(data.samples),
        min_psnr=min_psnr,
        share=Shares(
            per_frame=round(found.int8_share(PER_FRAME), 4),
            source_encoder=round(found.int8_share(("source_encoder",)), 4),
            all=round(found.int8_share(GRAPH_NAMES), 4),
        ),
        cost=Costs(
            fp32=_giga(cost_of(found, frozenset(), "fp32")),
            fp16=_giga(cost_of(found, frozenset(), "fp16")),
            plan=_giga(cost_of(found, frozenset(group.name for group in found.kept), "fp16")),
        ),
        found=found,
    )


def write_plan(plan: FoundPlan, path: Path) -> None:
    """Write the plan (.json) and beside it the picture of the search (.png), both or neither."""
    with atomic_path(path) as partial, atomic_path(path.with_suffix(".png")) as picture:
        partial.write_text(json.dumps(plan.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        write_picture(_search_picture(plan.found, plan.min_psnr), picture)


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


def _island(name: str, overflow: Overflow) -> IslandEntry:
    reason = f"{overflow.tensor} reaches {overflow.max_abs:.4g}; FP16 with its margin ends at {LIMIT:g}"
    return IslandEntry(name, overflow.node, overflow.tensor, _rounded(overflow.max_abs), reason)


def _layer(found: Calibration, name: str, layer: Convolution) -> LayerEntry:
    graph = found.graphs[name]
    gflops = _giga(layer.flops)
    if layer.layer in graph.fixed:
        overflows = layer.node in {overflow.node for overflow in graph.guard.overflows}
        reason = graph.fixed[layer.layer]
        return LayerEntry(name, layer.layer, "fp32" if overflows else "fp16", reason=reason, gflops=gflops)
    own = next(s for s in found.sensitivities if s.group.graph == name and layer in s.group.layers)
    group = own.group.name
    if own.group not in found.kept:
        return LayerEntry(name, layer.layer, "fp16", reason=_left_out(found, own), group=group, gflops=gflops)
    largest = graph.ranges[layer.layer][own.method]
    scales = weight_scales(layer.weight)
    return LayerEntry(
        name,
        layer.layer,
        "int8",
        activation_scale=float(symmetric_scale(largest)),
        reason=f"its group alone in INT8 leaves {_words(own.loss)} on the worst frame; range by {own.method}",
        group=group,
        gflops=gflops,
        activation_range=largest,
        activation_max=graph.ranges[layer.layer]["max"],
        weight_scales=(float(scales.min()), float(scales.max())),
    )


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
