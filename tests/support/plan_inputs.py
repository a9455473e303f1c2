"""Random inputs of graphs that have launch plans."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.support.reference import general_camera


def random_inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Pictures in [0, 1], γ about 1, a camera that sees the head, the others about 0."""
    generator, found = np.random.default_rng(seed), {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [one.dim_value for one in kind.shape.dim]
        picture = kind.elem_type == TensorProto.FLOAT
        values = generator.random(shape) if picture else 0.3 * generator.standard_normal(shape)
        values += 1.0 if "gamma" in value.name else 0.0
        if value.name == "camera":
            values = general_camera()[None]
        found[value.name] = values.astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return found
