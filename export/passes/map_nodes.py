"""`nodes_of_maps`: the part of a source encoder that stays FP32 in every bundle. Needs no PyTorch."""

import onnx_ir as ir

from hidenerf.runtime.bundle import MAPS


def nodes_of_maps(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that SPADE's maps, outputs of the source encoder, are computed by."""
    pending = [output.producer() for output in graph.outputs if (output.name or "").startswith(MAPS)]
    chosen: set[ir.Node] = set()
    while pending:
        node = pending.pop()
        if node is not None and node not in chosen:
            chosen.add(node)
            pending += [value.producer() for value in node.inputs if value is not None]
    return chosen
