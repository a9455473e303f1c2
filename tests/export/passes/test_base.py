"""What every pass rests on: the order of a list of passes, weights that come and go, and models that clones share."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from hidenerf.export.passes.base import apply_passes, constant, remove_unused_weights
from hidenerf.export.precision import planned_passes
from tests.support.exported import plain_ir


@dataclass(frozen=True)
class Renamed:
    """Appends `name` to the graph's name."""

    name: str

    def __call__(self, model: ir.Model) -> ir.Model:
        model.graph.name = f"{model.graph.name}{self.name}"
        return model


def test_passes_run_in_their_order() -> None:
    model = plain_ir("led")
    model.graph.name = ""
    assert apply_passes(model, [Renamed("a"), Renamed("b")]).graph.name == "ab"


def test_only_weights_that_no_node_reads_are_removed() -> None:
    x, used, unused = ir.val("x", ir.DataType.FLOAT, [2]), *(constant(name, np.ones(2)) for name in ("used", "unused"))
    node = ir.node("Add", [x, used])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[used, unused])
    remove_unused_weights(graph)
    assert list(graph.initializers) == ["used"]


@pytest.mark.slow
def test_passes_on_a_clone_leave_the_original_alone() -> None:
    """Clones share the types of their values."""
    model = plain_ir("source_encoder")
    before = ir.to_proto(model).SerializeToString()
    apply_passes(model.clone(), planned_passes({}, ()))
    assert ir.to_proto(model).SerializeToString() == before
