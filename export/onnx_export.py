"""PyTorch module → one clean ONNX file: opset 20, static shapes, no source paths, no external data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

# Opset 20 spells GridSample's mode "linear" for 4-D and 5-D alike; ONNX Runtime refuses IR versions it does not know.
OPSET = 20
IR_VERSION = 10
FOLDED_BYTES = 64 << 20


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    translations: Mapping[Any, Callable[..., Any]] | None = None,
) -> onnx.ModelProto:
    """Export `module` called with `inputs` in order; tensors carry the given names.

    translations: PyTorch op → function that makes its ONNX node, for custom ops.
    """
    program = torch.onnx.export(
        module.eval(),
        tuple(inputs.values()),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(inputs),
        output_names=list(outputs),
        custom_translation_table=dict(translations or {}),
        verbose=False,
    )
    if program is None:
        raise AssertionError("torch.onnx.export with dynamo=True returns a program")
    # The exporter folds small constants only; what is computed from weights alone must not run per frame.
    fold_constants(program.model, input_size_limit=FOLDED_BYTES, output_size_limit=FOLDED_BYTES)
    ClearMetadataAndDocStringPass()(program.model)
    RemoveUnusedNodesPass()(program.model)
    model = onnx_ir.to_proto(program.model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "hidenerf", ""
    return model
