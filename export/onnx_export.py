"""Export of one PyTorch module to one ONNX graph: opset 20, static shapes, no source paths, no external data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

# From opset 20 on, GridSample's mode is "linear" for 4-D and 5-D. ONNX Runtime refuses IR versions it does not know.
OPSET = 20
IR_VERSION = 10
FOLDED_BYTES = 64 << 20


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    translations: Mapping[Any, Callable[..., Any]] | None = None,
) -> ir.Model:
    """Export `module` called with `inputs` in order, in the precision of its weights.

    inputs: example tensors by name. outputs: names, in order. translations: PyTorch op → function that makes its ONNX
    node, for custom ops. Returns a graph without the bodies of custom ops (pass `FunctionBodies`).
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
    # The exporter folds small constants only. Nothing that depends on weights alone may be computed per frame.
    limits = {"input_size_limit": FOLDED_BYTES, "output_size_limit": FOLDED_BYTES}
    fold_constants(program.model, **limits, should_fold=_should_fold)
    ClearMetadataAndDocStringPass()(program.model)
    RemoveUnusedNodesPass()(program.model)
    program.model.ir_version = IR_VERSION
    program.model.producer_name, program.model.producer_version = "hidenerf", ""
    return program.model


def _should_fold(node: ir.Node) -> bool | None:
    """Not where one value is repeated, which the file then need not hold; None leaves it to the optimiser."""
    return False if node.op_type in ("Expand", "ConstantOfShape") else None
