"""Sides of a comparison: a side runs single graphs on given inputs, and renders whole frames as its users see them."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from hidenerf.calibration.parity.runners import GraphRunner, Tensors, bundle_graphs, torch_graph
from hidenerf.export.graph_modules import graph_modules
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.bundle import FACE_SIGHT

SOURCE_INPUTS = "source_image", "source_camera", "secc_canonical"


class Side(Protocol):
    """One side of a comparison.

    name: as reports call it. precision: of its arithmetic, a key of `THRESHOLDS`. graphs: the three graphs by name.
    """

    name: str
    precision: str
    graphs: Mapping[str, GraphRunner]

    def whole_frame(self, tensors: Tensors) -> Tensors:
        """`frame` [S, S, 3] uint8 and `alpha` [S, S] of one pose.

        tensors: what graphs take of the source and of the pose, and the pose's `expression` [E].
        """
        ...


class TorchSide:
    """PyTorch in FP32. Its graphs are hoisted as the bundle's are, its whole frames those of the model as trained."""

    name = "PyTorch FP32"
    precision = "fp32"

    def __init__(self, model: HideNerf) -> None:
        self._model = model
        self.graphs: Mapping[str, GraphRunner] = {graph.name: torch_graph(graph) for graph in graph_modules(model)}

    def whole_frame(self, tensors: Tensors) -> Tensors:
        """See `Side.whole_frame`; also the `deformation` without hoisting."""
        names = [*SOURCE_INPUTS, "secc_driving", "camera"]
        names += [FACE_SIGHT] if FACE_SIGHT in tensors else []
        with torch.inference_mode():
            output = self._model(*[torch.from_numpy(np.ascontiguousarray(tensors[name])) for name in names])
        return {
            "deformation": output.deformation.numpy(),
            "alpha": output.alpha[0, 0].clamp(0.0, 1.0).numpy(),
            "frame": frame_to_uint8(output.frame).contiguous().numpy(),
        }


class BundleSide:
    """A bundle on a backend of the runtime. animator: its source is set; it renders the whole frames.

    Its graphs run as the backend runs them, but for TriplaneRender: our kernel in the CUDA backend's frames, ONNX
    Runtime's operators in its graph.
    """

    def __init__(self, animator: Animator) -> None:
        self._animator = animator
        bundle, backend = animator.bundle, animator.backend.name
        self.name = f"{bundle.precision.upper()} on {backend}"
        self.precision = animator.backend.frame_precision
        self.graphs: Mapping[str, GraphRunner] = bundle_graphs(bundle, backend)

    def whole_frame(self, tensors: Tensors) -> Tensors:
        """See `Side.whole_frame`; the animator draws its own SECC."""
        frame, alpha = self._animator.render(tensors["expression"], tensors["camera"][0])
        return {"frame": frame, "alpha": alpha}
