"""Calibration: from an FP32 bundle to a precision plan, by guard, ranges, sensitivity, search and verification."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from hidenerf.calibration.precision.cost import RUNS_PER_FRAME
from hidenerf.calibration.precision.data import CalibrationData
from hidenerf.calibration.precision.frame_loss import (
    FrameLoss,
    Int8,
    Int8Frames,
    frame_loss,
    whole_frames,
)
from hidenerf.calibration.precision.groups import LayerGroup, layer_groups
from hidenerf.calibration.precision.onnx_graphs import Session, Tensors, refiner_inputs, renderer_alone
from hidenerf.calibration.precision.range_guard import GuardResult, guard, tensor_ranges
from hidenerf.calibration.precision.ranges import RANGE_METHODS, activation_histograms
from hidenerf.calibration.precision.search import Sensitivity, Step, greedy_order, greedy_search, sensitivity, take_back
from hidenerf.export.bundle_writer import describe_checkpoint, write_bundle
from hidenerf.export.convolutions import Convolution, all_convolution_flops, convolutions, output_layers
from hidenerf.export.passes.base import apply_passes
from hidenerf.export.passes.quantisation import symmetric_scale
from hidenerf.export.precision import FloatPrecision, planned_passes
from hidenerf.model.checkpoint import default_checkpoint_path, load_checkpoint
from hidenerf.runtime.bundle import GRAPH_NAMES, Bundle, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.manifest import EXPORT_AGAIN

logger = logging.getLogger(__name__)

MEASURED = "measured"
# Entropy was better for few groups and by little; leaving it out saves a third of the time.
MEASURED_METHODS = ("max", "percentile")

OVERFLOW = "FP16 would overflow here (range guard), so it stays in FP32"
OUTPUT = "its output is coordinates or pixels without another convolution in between, so it stays in FP16"

Models = dict[str, ir.Model]


@dataclass(frozen=True)
class GraphFindings:
    """What was found of one FP32 graph.

    layers: its 2-D convolutions. all_flops: of every convolution, those that are not 2-D or have no constant weight
    included. guard: of its FP16 tensors. fixed: layer → why it cannot be INT8. ranges: layer → range method → range.
    """

    layers: list[Convolution]
    all_flops: int
    guard: GuardResult
    fixed: dict[str, str]
    ranges: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Calibration:
    """Everything that was found, from which `found_plan` makes the precision plan.

    graphs: by name. refiner_guard: of the graph `refiner`, whose convolutions are those of `renderer_refiner`.
    sensitivities: of every group. steps: of the search, measured with INT8 in FP32 graphs, without the held-out frames.
    kept: the groups that are INT8, in the order of the search. fp16, plan: losses of FP16 alone and of the plan as the
    exporter writes them, held-out frames included.
    """

    graphs: dict[str, GraphFindings]
    refiner_guard: GuardResult
    sensitivities: list[Sensitivity]
    steps: list[Step]
    kept: list[LayerGroup]
    fp16: FrameLoss
    plan: FrameLoss

    @property
    def guards(self) -> dict[str, GuardResult]:
        """Of all four graphs, by name."""
        return {name: graph.guard for name, graph in self.graphs.items()} | {"refiner": self.refiner_guard}

    def int8_share(self, graphs: Sequence[str]) -> float:
        """Share of these graphs' convolution FLOPs, one run of each, that is INT8."""
        chosen = sum(group.flops for group in self.kept if group.graph in graphs)
        return chosen / max(1, sum(self.graphs[name].all_flops for name in graphs))


def fp32_bundle(model: Path | None, folder: Path) -> Bundle:
    """The bundle to make a plan for: `model` itself, or an FP32 export of a checkpoint.

    model: a bundle's folder, or a checkpoint (.safetensors); None is the shipped checkpoint. folder: where to export
    to, not there yet. Errors: no such bundle or checkpoint.
    """
    if model is not None and model.is_dir():
        return open_bundle(model)
    checkpoint = model or default_checkpoint_path()
    if not checkpoint.is_file():
        raise HideNerfError(f"{checkpoint}: no such bundle or checkpoint; check the path.")
    logger.info(f"Exporting {checkpoint} in FP32.")
    write_bundle(
        load_checkpoint(checkpoint),
        folder,
        checkpoint=describe_checkpoint(checkpoint, None),
        face_model=load_face_model(default_face_model_path()),
        precision=FloatPrecision.FP32,
        # Only compared with itself here; the export that applies the plan has the parity gate.
        parity_waived=True,
    )
    return open_bundle(folder)


def load_models(bundle: Bundle) -> Models:
    """The FP32 graphs and the refiner alone. Errors: a bundle in another precision, or without kernel parts."""
    if bundle.precision != "fp32":
        raise HideNerfError(
            f"{bundle.folder}: this bundle is {bundle.precision.upper()}, and a plan is made from FP32; give the "
            "checkpoint, or a bundle exported without --fp16."
        )
    if bundle.kernel_parts is None:
        raise HideNerfError(f"{bundle.folder}: this bundle has no graph of the refiner alone; {EXPORT_AGAIN}.")
    models = {name: ir.load(bundle.graphs[name].path) for name in GRAPH_NAMES}
    return models | {"refiner": ir.load(bundle.kernel_parts.refiner.path)}


def calibrate(models: Models, data: CalibrationData, *, min_psnr: float, method: str) -> Calibration:
    """Find the precision plan.

    models: see `load_models`. data: what they read. min_psnr: the budget, dB of the worst frame against FP32. method:
    key of `RANGE_METHODS`, or `MEASURED` for the best of each group. Errors: see `guard`; a budget that not even FP16
    reaches.
    """
    feeds = _graph_inputs(models, data)
    graphs = {name: _examine(models[name], name, feeds[name]) for name in GRAPH_NAMES}
    whole = models["renderer_refiner"]
    renderer = Session(renderer_alone(whole))
    # One by one: with alignment each frame has samples of all the source's maps.
    of_refiner = (refiner_inputs(whole, tensors, renderer.run(tensors)) for tensors in feeds["renderer_refiner"])
    refiner_guard = guard(models["refiner"], "refiner", of_refiner)
    del feeds, of_refiner
    reference = whole_frames(models, data)

    sensitivities: list[Sensitivity] = []

    def scales_of(groups: Sequence[LayerGroup]) -> dict[str, dict[str, float]]:
        scales: dict[str, dict[str, float]] = {name: {} for name in GRAPH_NAMES}
        for found in sensitivities:
            if found.group in groups:
                scales[found.group.graph] |= group_scales(found.group, graphs, found.method)
        return scales

    def verify(groups: Sequence[LayerGroup]) -> FrameLoss:
        scales = scales_of(groups)
        planned: Models = {}
        for name in GRAPH_NAMES:
            islands = {overflow.node for overflow in graphs[name].guard.overflows}
            planned[name] = apply_passes(models[name].clone(), planned_passes(scales[name], islands))
        return frame_loss(reference, whole_frames(planned, data))

    fp16 = verify([])
    logger.info("FP16 alone: worst frame %.2f dB", fp16.worst)
    if fp16.worst < min_psnr:
        raise HideNerfError(
            f"FP16 alone reaches {fp16.worst:.2f} dB on the worst frame, so no plan holds --min-psnr {min_psnr:g}; "
            f"ask for less than {fp16.worst:.0f}."
        )
    seen = [number for number, sample in enumerate(data.samples) if not sample.held_out]
    int8 = Int8Frames(models, data, seen)

    def loss_of(scales: Int8) -> FrameLoss:
        return frame_loss([reference[number] for number in seen], int8.frames(scales))

    methods = MEASURED_METHODS if method == MEASURED else (method,)
    groups = [group for name in GRAPH_NAMES for group in layer_groups(name, _free_layers(graphs[name]))]
    for number, group in enumerate(groups, 1):
        scales = {m: {group.graph: group_scales(group, graphs, m)} for m in methods}
        found = sensitivity(group, {m: loss_of(scales[m]) for m in methods})
        sensitivities.append(found)
        logger.info(
            "%d/%d %s: %.2f GFLOP, alone %.1f dB (%s)",
            *(number, len(groups), group.name, group.flops / 1e9, found.loss.worst, found.method),
        )

    order = greedy_order(sensitivities, RUNS_PER_FRAME)
    steps = greedy_search(order, min_psnr, lambda added: loss_of(scales_of(added)))
    kept, loss = take_back([group for step in steps if step.kept for group in step.added], min_psnr, verify)
    logger.info("The plan as it is exported: worst of all %d frames %.2f dB", len(data.samples), loss.worst)
    return Calibration(graphs, refiner_guard, sensitivities, steps, kept, fp16, loss)


def _examine(model: ir.Model, name: str, feeds: list[Tensors]) -> GraphFindings:
    found = guard(model, name, feeds)
    logger.info(
        "%s: %d tensors in FP16, the largest %s with %.4g; %d nodes must stay in FP32",
        *(name, found.tensors, found.largest.tensor, found.largest.max_abs, len(found.overflows)),
    )
    layers = convolutions(model.graph)
    overflowing = {overflow.node for overflow in found.overflows}
    outputs = output_layers(model.graph)
    fixed = {layer.layer: OUTPUT for layer in layers if layer.layer in outputs}
    fixed |= {layer.layer: OVERFLOW for layer in layers if layer.node in overflowing}
    largest = {r.tensor: r.max_abs for r in tensor_ranges(model, sorted({layer.data for layer in layers}), feeds)}
    histograms = activation_histograms(model, largest, feeds)
    by_tensor = {
        tensor: {method: choose(histogram) for method, choose in RANGE_METHODS.items()}
        for tensor, histogram in histograms.items()
    }
    ranges = {layer.layer: by_tensor[layer.data] for layer in layers}
    return GraphFindings(layers, all_convolution_flops(model.graph), found, fixed, ranges)


def _graph_inputs(models: Models, data: CalibrationData) -> dict[str, list[Tensors]]:
    """What each graph reads in FP32 on the frames that are not held out."""
    encoder, led = Session(models["source_encoder"]), Session(models["led"])
    encoded = [encoder.run(inputs) for inputs in data.sources]
    of_led = [encoded[sample.source] | sample.tensors for sample in data.samples if not sample.held_out]
    of_renderer = [tensors | led.run(tensors) for tensors in of_led]
    return {
        "source_encoder": data.sources,
        "led": of_led,
        "renderer_refiner": of_renderer,
    }


def _free_layers(graph: GraphFindings) -> list[Convolution]:
    return [layer for layer in graph.layers if layer.layer not in graph.fixed]


def group_scales(group: LayerGroup, graphs: Mapping[str, GraphFindings], method: str) -> dict[str, float]:
    """Layer → scale of its activation by this range method."""
    ranges = graphs[group.graph].ranges
    return {layer.layer: float(symmetric_scale(ranges[layer.layer][method])) for layer in group.layers}
