"""The end of a refiner's graph, from the head's changes to the outputs `frame` and `alpha`, found as a whole.

It is one launch (`launch_plan.FramePixels`), and its nodes are a fixed chain of layout changes, sums and roundings.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from hidenerf.export.lowering.chain import Chain
from hidenerf.export.lowering.onnx_view import LoweringError, OnnxView


@dataclass(frozen=True)
class FrameTail:
    """What the tail reads, by the names of ONNX values, and the names of its nodes' outputs.

    head, change, rendered, alpha, own, shown: see `launch_plan.FramePixels`.
    """

    head: str
    rendered: str
    alpha: str
    change: str | None
    own: str | None
    shown: str | None
    nodes: frozenset[str]


def find_frame_tail(view: OnnxView) -> FrameTail:
    """The tail of a refiner's graph. Errors: `LoweringError`, it ends in another way."""
    if view.outputs != ["frame", "alpha"]:
        raise LoweringError(f"the outputs are {', '.join(view.outputs)} and not frame, alpha")
    chain = Chain(view)
    transposed = chain.through("frame", "Cast", to=onnx.TensorProto.UINT8)
    rounded = chain.through(transposed, "Transpose", perm=[1, 2, 0])
    clamped = chain.through(chain.through(rounded, "Round"), "Mul", 255.0)
    colours = chain.through(chain.through(clamped, "Clip", 0.0, 1.0), "Gather", 0.0, axis=0)
    alpha = chain.through(chain.through("alpha", "Clip", 0.0, 1.0), "Gather", 0.0, axis=0)
    alpha = chain.through(alpha, "Gather", 0.0, axis=0)

    own = shown = logit = None
    if chain.is_kind(colours, "Add"):
        colours, own, shown, logit = _blend(chain, colours)
    picture = chain.channels(colours, 0, 3)
    if chain.channels(alpha, 3, 1) != picture:
        raise LoweringError("colours and alpha come from different pictures")

    change = None
    if own is not None and chain.is_kind(picture, "Slice"):
        picture, change, logit = _enlargement(chain, picture, str(logit))
    head, rendered, rendered_alpha = _change_of_picture(chain, picture, logit)
    if view.dtype(rendered) != np.float32 or view.dtype(rendered_alpha) != np.float32:
        raise LoweringError("the rendered picture is not FP32")
    return FrameTail(head, rendered, rendered_alpha, change, own, shown, frozenset(chain.passed))


def _blend(chain: Chain, colours: str) -> tuple[str, str, str, str]:
    """colours + shown·sigmoid(logit)·(own - colours) → colours, own, shown, logit."""
    drawn, changed = chain.node(colours, "Add").input
    kept, difference = chain.node(changed, "Mul").input
    shown, share = chain.node(kept, "Mul").input
    own, subtracted = chain.node(difference, "Sub").input
    if subtracted != drawn:
        raise LoweringError("the source's own pixels are blended with another picture")
    logit = chain.through(share, "Sigmoid")
    if own not in chain.view.inputs or shown not in chain.view.inputs:
        raise LoweringError("the source's own pixels are no inputs")
    return drawn, own, shown, logit


def _enlargement(chain: Chain, picture: str, logit: str) -> tuple[str, str, str]:
    """Channels of doubled(picture, logit) + shuffled(change) → picture, change, logit."""
    larger = chain.channels(picture, 0, 4)
    if chain.channels(logit, 4, 1) != larger:
        raise LoweringError("the enlarged picture and its logit come from different pictures")
    doubled, shuffled = chain.node(larger, "Add").input
    smaller, small_logit = chain.node(chain.doubled(doubled), "Concat", axis=1).input
    change = chain.through(chain.through(shuffled, "DepthToSpace", mode="CRD", blocksize=2), "Cast", to=1)
    return smaller, change, small_logit


def _change_of_picture(chain: Chain, picture: str, logit: str | None) -> tuple[str, str, str]:
    """enlarged(rendered, alpha) + head → head, rendered, alpha."""
    enlarged, changes = chain.node(picture, "Add").input
    if logit is None:
        head = chain.through(changes, "Cast", to=1)
    else:
        cast = chain.channels(changes, 0, 4)
        if chain.channels(logit, 4, 1) != cast:
            raise LoweringError("the picture's change and its logit come from different convolutions")
        head = chain.through(cast, "Cast", to=1)
    while chain.is_kind(enlarged, "Resize"):
        enlarged = chain.doubled(enlarged)
    colours, alpha = chain.node(enlarged, "Concat", axis=1).input
    rendered = chain.channels(colours, 0, 3)
    if rendered not in chain.view.inputs or alpha not in chain.view.inputs:
        raise LoweringError("the rendered picture is no input")
    return head, rendered, alpha
