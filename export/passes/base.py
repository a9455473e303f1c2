"""Graph passes: the interface that every pass has, and how a list of passes runs.

A pass is one small rewriting of an ONNX graph: FP16, INT8 convolutions, bodies of custom ops. Passes know nothing of
each other but what their docstrings say about the order. `hidenerf.export.precision` puts them in that order.
"""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import onnx_ir as ir
from numpy.typing import NDArray

# Types of tensors in FP32 and FP16 graphs.
FP32, FP16 = ir.DataType.FLOAT, ir.DataType.FLOAT16

logger = logging.getLogger(__name__)


class Pass(Protocol):
    """A function from an ONNX graph to an ONNX graph.

    name: what log records and error messages call it.
    """

    @property
    def name(self) -> str:
        """The pass in log records and error messages."""
        ...

    def __call__(self, model: ir.Model) -> ir.Model:
        """Rewrite `model` in place and return it.

        Errors: a graph that the pass cannot take, with a sentence why; the model is of no use afterwards.
        """
        ...


def apply_passes(model: ir.Model, passes: Sequence[Pass]) -> ir.Model:
    """Run passes in order, in place.

    model: changed by every pass. passes: in the order in which they run. Errors: those of the passes.
    """
    for graph_pass in passes:
        logger.debug("%s: pass %s", model.graph.name, graph_pass.name)
        model = graph_pass(model)
    return model


def constant(name: str, values: NDArray[Any]) -> ir.Value:
    """A new initializer, to be registered with a graph: `values` under `name`."""
    return ir.val(name, const_value=ir.tensor(values, name=name))


def remove_unused_weights(graph: ir.Graph) -> None:
    """Remove the initializers that no node reads any more, in place."""
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
