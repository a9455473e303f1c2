"""Occlusion: soft shadows and ambient occlusion that a head casts on itself, computed once per vertex."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hidenerf.runtime.face_parts import TONGUE
from hidenerf.runtime.face_sight import vertex_normals
from hidenerf.training.data.synthetic.heads import CURTAIN, TEETH, HeadMesh
from hidenerf.training.data.synthetic.rasterise import orthographic_depth

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Directions of light, and side of the depth map of each.
_DIRECTIONS = 96
_DEPTH_SIZE = 192
# Scale that keeps a turned head inside the depth map's [-1, 1]².
_SHRINK = 0.6
# A point this far behind the depth map is still lit, scaled world units.
_BIAS = 0.012
# A point is lit if it is lit in any of these expressions: closed lids and lips are not dark where they touch.
_STATES: tuple[dict[str, float], ...] = (
    {},
    {"jawOpen": 0.7},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
)


def bake_occlusion(mesh: HeadMesh) -> tuple[Floats, Floats]:
    """Ambient occlusion [V] and shadow coefficients [V, 16] of a mesh, float32.

    The first is the visible share, in [0, 1], of a sky weighted by the cosine to the normal. The second are
    coefficients of `harmonics`: their sum at a direction is near 1 where light from there arrives and near 0 where the
    head blocks it. Long hair, tongue and teeth are always lit.
    """
    directions = _sphere(_DIRECTIONS)
    drawn = mesh.triangles[: mesh.curtain_start]
    names = mesh.face_model.expression_names
    identity = np.zeros(len(mesh.face_model.identity_names), np.float32)
    visible = np.zeros((len(mesh.mean), _DIRECTIONS))
    for state in _STATES:
        expression = np.array([state.get(name, 0.0) for name in names], np.float32)
        vertices = mesh.vertices(mesh.mean, identity, expression)
        for number, direction in enumerate(directions):
            visible[:, number] = np.maximum(visible[:, number], _lit(vertices, drawn, direction))
    visible[np.isin(mesh.part, (CURTAIN, TONGUE, TEETH))] = 1.0

    normals = vertex_normals(mesh.mean, mesh.triangles)
    cosine = np.maximum(normals @ directions.T, 0)
    ambient = (visible * cosine).sum(axis=1) / cosine.sum(axis=1)
    # Directions behind the surface have little weight: it is dark for them without shadows too.
    weight = cosine + 0.05
    basis = harmonics(torch.from_numpy(directions)).numpy()
    normal = np.einsum("vd,di,dj->vij", weight, basis, basis, optimize=True) + 0.02 * np.eye(basis.shape[1])
    right = np.einsum("vd,di,vd->vi", weight, basis, visible, optimize=True)
    shadow = np.linalg.solve(normal, right[..., None])[..., 0]
    return ambient.astype(np.float32), shadow.astype(np.float32)


def harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics of degrees 0 to 3, not normalised, of unit vectors [..., 3] → [..., 16]."""
    x, y, z = directions.unbind(-1)
    terms = [
        torch.ones_like(x),
        *(x, y, z),
        *(x * y, y * z, x * z, x**2 - y**2, 3 * z**2 - 1),
        *(y * (3 * x**2 - y**2), x * y * z, y * (5 * z**2 - 1), z * (5 * z**2 - 3), x * (5 * z**2 - 1)),
        *(z * (x**2 - y**2), x * (x**2 - 3 * y**2)),
    ]
    return torch.stack(terms, -1)


def _sphere(count: int) -> Array:
    """Unit vectors [count, 3] spread evenly over the sphere: Fibonacci's lattice."""
    step = np.arange(count) + 0.5
    z = 1 - 2 * step / count
    angle = step * np.pi * (3 - np.sqrt(5))
    return np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=-1)


def _lit(vertices: Floats, triangles: NDArray[np.int32], direction: Array) -> Array:
    """How much light from a direction [3] reaches each vertex, [V] in [0, 1]: bilinear in the depth map."""
    side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    turned = (vertices @ np.stack([side, np.cross(direction, side), direction], axis=-1) * _SHRINK).astype(np.float32)
    depth = orthographic_depth(turned, triangles, _DEPTH_SIZE)
    column = (turned[:, 0] + 1) * _DEPTH_SIZE / 2 - 0.5
    row = (1 - turned[:, 1]) * _DEPTH_SIZE / 2 - 0.5
    lit = np.zeros(len(vertices))
    for u in (0, 1):
        for v in (0, 1):
            left, top = np.floor(column).astype(int) + u, np.floor(row).astype(int) + v
            weight = (1 - np.abs(column - left)) * (1 - np.abs(row - top))
            inside = (left >= 0) & (left < _DEPTH_SIZE) & (top >= 0) & (top < _DEPTH_SIZE)
            nearest = depth[np.clip(top, 0, _DEPTH_SIZE - 1), np.clip(left, 0, _DEPTH_SIZE - 1)]
            lit += weight * (~inside | (turned[:, 2] > nearest - _BIAS))
    return lit
