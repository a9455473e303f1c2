"""The graphs of a bundle run apart from each other give the frame that they give together."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hidenerf.calibration.precision.onnx_graphs import Session, Tensors, refiner_inputs, renderer_alone
from hidenerf.runtime.bundle import open_bundle
from tests.support.tiny import tiny_inputs


@pytest.mark.parametrize("fixture", ["bundle_fp32", "bundle_aligned"])
def test_the_refiner_alone_gives_the_frame_of_the_whole(request: pytest.FixtureRequest, fixture: str) -> None:
    folder: Path = request.getfixturevalue(fixture)
    bundle = open_bundle(folder)
    assert bundle.kernel_parts is not None
    models = {name: ir.load(graph.path) for name, graph in bundle.graphs.items()}
    tensors: Tensors = {name: tensor.numpy() for name, tensor in tiny_inputs(seed=2).items()}
    for name in ("source_encoder", "led"):
        tensors |= Session(models[name]).run(tensors)
    expected = Session(models["renderer_refiner"]).run(tensors)
    rendered = Session(renderer_alone(models["renderer_refiner"])).run(tensors)
    assert ("place" in rendered) == (fixture == "bundle_aligned")
    found = Session(ir.load(bundle.kernel_parts.refiner.path)).run(
        refiner_inputs(models["renderer_refiner"], tensors, rendered)
    )
    assert expected["frame"].std() > 1
    assert np.abs(found["frame"].astype(int) - expected["frame"]).max() <= 1
    np.testing.assert_allclose(found["alpha"], expected["alpha"], atol=1e-3)
