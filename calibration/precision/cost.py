"""Estimated cost of convolutions in an engine. Nothing here was measured on an engine.

A convolution costs the greater of its arithmetic and its memory traffic, in FLOPs of FP16: arithmetic at relative
rates FP32 1/4, FP16 1, INT8 2; one byte as much as 180 FLOPs, the ratio of matrix product to copy bandwidth measured on
an H200 (767 TFLOP/s, 4.2 TB/s). It reads its input and weight in its own precision and writes FP16 (FP32 in FP32), each
once. The source encoder, which runs once per source, counts as 1/250.
"""

import math

from hidenerf.export.convolutions import Convolution

RATES = {"fp32": 0.25, "fp16": 1.0, "int8": 2.0}
READ_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
WRITTEN_BYTES = {"fp32": 4, "fp16": 2, "int8": 2}
FLOPS_PER_BYTE = 180.0
FRAMES_PER_SOURCE = 250
RUNS_PER_FRAME = {"source_encoder": 1.0 / FRAMES_PER_SOURCE, "led": 1.0, "renderer_refiner": 1.0}
DESCRIPTION = (
    "estimate, not measured: per convolution the greater of FLOPs over the rates fp32 1/4, fp16 1, int8 2, and 180 "
    "FLOPs per byte read or written once; source_encoder / 250; in FP16 GFLOP per frame"
)


def convolution_cost(layer: Convolution, precision: str) -> float:
    """Estimated cost of one run in FP16 FLOPs. precision: `fp32`, `fp16` or `int8`."""
    read = math.prod(layer.input_shape) + layer.weight.size
    traffic = read * READ_BYTES[precision] + math.prod(layer.output_shape) * WRITTEN_BYTES[precision]
    return max(layer.flops / RATES[precision], FLOPS_PER_BYTE * traffic)
