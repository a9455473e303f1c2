"""The face model's coefficients, cameras and pictures of a person's mirror image.

No part of this imports torch: worker processes do nothing else than this.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import pack_camera, unpack_camera
from hidenerf.runtime.face_model import FaceModel

Floats = NDArray[np.float32]

_AXES = np.array([-1.0, 1.0, 1.0, 1.0])
_SPACE = np.array([-1.0, 1.0, 1.0], np.float32)


@dataclass(frozen=True, eq=False)
class Mirror:
    """What mirroring left to right (x → -x) does to a face model's coefficients.

    vertex [V]: the number of each vertex's mirror image. identity_sign [K]: -1 for coefficients that are about one side
    against the other. expression_order [E]: the number of each expression's counterpart on the other side.
    """

    vertex: NDArray[np.intp]
    identity_sign: Floats
    expression_order: NDArray[np.intp]

    def identity(self, identity: Floats) -> Floats:
        """Identity coefficients [K] of the mirrored person."""
        return identity * self.identity_sign

    def expression(self, expression: Floats) -> Floats:
        """Expression coefficients [E] of the mirrored person."""
        return expression[self.expression_order]


def make_mirror(model: FaceModel) -> Mirror:
    """The mirror of a face model whose mean shape is its own mirror image."""
    vertex = _counterparts(model.mean)
    mirrored = model.identity_basis[:, vertex] * _SPACE
    sign = np.where((mirrored * model.identity_basis).sum((1, 2)) < 0, -1, 1).astype(np.float32)
    names = list(model.expression_names)
    return Mirror(vertex, sign, np.array([names.index(_other_side(name)) for name in names]))


def mirror_camera(camera: Floats) -> Floats:
    """The camera [25] that sees the mirrored world (x → -x) as the mirrored picture (u → 1 - u)."""
    cam2world, intrinsics = unpack_camera(camera)
    turned = intrinsics * _AXES[:3, None] * _AXES[:3]
    # The mirrored principal point is at 1 - c; the signs above made it -c.
    turned[0, 2] += 1
    return pack_camera(cam2world * _AXES[:, None] * _AXES, turned)


def _counterparts(mean: Floats) -> NDArray[np.intp]:
    turned = mean * _SPACE
    return np.concatenate(
        [((part[:, None] - mean) ** 2).sum(-1).argmin(1) for part in np.array_split(turned, max(1, len(mean) // 256))]
    )


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name
