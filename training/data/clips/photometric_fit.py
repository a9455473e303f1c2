"""Photometric fit: head poses and expressions of a clip's frames, refined until the frames show one texture.

Landmarks jitter from frame to frame by more than a pixel. Here points of the face model's surface are looked up in
every frame, and each frame's camera and expression are moved by Gauss-Newton steps towards the mean of what the other
frames show at the same points. Coarse pictures come first. The tracked values are the prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import (
    WORLD_TO_FRONTAL,
    Array,
    camera_from_head_pose,
    head_pose_from_camera,
)
from hidenerf.runtime.face_model import FaceModel
from hidenerf.training.data.synthetic.rasterise import Rasteriser

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Sides of the pictures that are compared, coarse to fine, and how often all frames are visited at each.
SIDES = (32, 64, 128)
VISITS = 4
# Standard deviations, pixels of these pictures, of the Gaussians between which detail is compared: light from another
# side, which changes slowly over the face, is left out.
FINE, COARSE = 1.0, 8.0
# Standard deviations of the tracked values from the true ones: rotation, radians; shift of the head's centre across
# and along the view, world units; score of an expression.
ROTATION_ERROR, SHIFT_ERROR, DEPTH_ERROR, SCORE_ERROR = 0.055, 0.037, 0.37, 0.4
# Neighbouring points see the same errors: so many count as one observation.
ALIKE_POINTS = 15
# Residuals beyond this many robust standard deviations count less (Cauchy's weights). The least deviation is of 255.
OUTLIER, LEAST_DEVIATION = 1.5, 0.5
# Largest change of a frame's contrast.
CONTRAST = 1.4
# Points are on the front of the head above the neck: least z and y in the mean shape, world units. They count where
# the surface faces the camera: cosine from which on.
FRONT_FROM, NECK_BELOW, LEAST_FACING = -0.1, -0.75, 0.2
# A point is hidden if the picture shows a triangle that is nearer by this, world units.
HIDDEN_BEHIND = 0.05
# So many frames are in memory at a time, and compared with each other: every n-th of a longer clip.
MOST_TOGETHER = 400
# Side of the pictures in which visibility is decided.
_VISIBILITY_SIDE = 256


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points of a face model's surface: the middles of its front triangles, P of them."""

    face_model: FaceModel

    @cached_property
    def _front(self) -> NDArray[np.intp]:
        corners = self.face_model.mean[self.face_model.triangles]
        _, y, z = corners.mean(1).T
        return np.flatnonzero((z > FRONT_FROM) & (y > NECK_BELOW))

    @cached_property
    def triangles(self) -> NDArray[np.int32]:
        """Their triangles, [P, 3] vertex numbers."""
        return np.asarray(self.face_model.triangles[self._front], np.int32)

    @cached_property
    def expression_basis(self) -> Floats:
        """Displacement of each point by each expression, [E, P, 3]."""
        return np.ascontiguousarray(self.face_model.expression_basis[:, self.triangles].mean(2), np.float32)

    @cached_property
    def _rasteriser(self) -> Rasteriser:
        return Rasteriser(self.face_model.triangles, _VISIBILITY_SIDE)

    def weights(self, vertices: Array, camera: Floats) -> Array:
        """Weight [P] of each point in a frame: its area, the more the surface faces the camera; 0 where it is hidden.

        vertices: [V, 3] of the frame's head, world units. camera: [25].
        """
        rotation, translation, intrinsics = _view(camera)
        seen = np.asarray(vertices @ rotation.T + translation, np.float64)
        corners = seen[self.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normals, axis=1)
        middles = corners.mean(1)
        facing = -(normals * middles).sum(1) / (area * np.linalg.norm(middles, axis=1) + 1e-12)
        pixels = np.floor(_projected(middles, intrinsics) * _VISIBILITY_SIDE).astype(int)
        inside = np.all((pixels >= 0) & (pixels < _VISIBILITY_SIDE), axis=1)
        column, row = np.where(inside[:, None], pixels, 0).T
        nearest = self._visible_triangles(vertices, camera)[row, column]
        depth = seen[self.face_model.triangles].mean(1)[nearest - 1, 2]
        shown = inside & (nearest > 0) & (middles[:, 2] < depth + HIDDEN_BEHIND)
        return np.where(shown, area / area.mean() * (facing - LEAST_FACING).clip(0), 0.0)

    def _visible_triangles(self, vertices: Array, camera: Floats) -> NDArray[np.int16]:
        side, count = _VISIBILITY_SIDE, len(self.face_model.triangles)
        triangle, barycentric = np.zeros((side, side), np.int16), np.zeros((2, side, side), np.uint8)
        self._rasteriser.draw(vertices.astype(np.float32), camera, np.arange(count), count, triangle, barycentric)
        return triangle


class FittedFrame:
    """One frame's camera and expression while they are refined.

    picture: [S, S]. inside: [S, S], 255 where the frame shows anything, 0 elsewhere.
    camera: [25]. neutral: [P, 3], the points without expression, world units. expression: [E].
    weights: [P], of `SurfacePoints.weights`.
    """

    def __init__(
        self,
        picture: Grey,
        inside: Grey,
        camera: Floats,
        points: SurfacePoints,
        neutral: Array,
        expression: Floats,
        weights: Array,
    ) -> None:
        self._picture, self._inside = picture, inside
        self._basis, self._neutral, self._weights = points.expression_basis, neutral, weights
        self._rotation, self._translation, self._intrinsics = _view(camera)
        self._tracked = self._rotation, self._translation, np.asarray(expression, np.float64)
        self._expression: Array = self._tracked[2]
        self._detail: Floats = np.zeros((0, 0), np.float32)
        self._mask: Floats = self._detail

    @property
    def camera(self) -> Floats:
        """[25]."""
        return camera_from_head_pose(WORLD_TO_FRONTAL @ self._rotation, self._translation, self._intrinsics)

    @property
    def expression(self) -> Floats:
        """[E], in [0, 1]."""
        return self._expression.astype(np.float32)

    def compare_at(self, side: int) -> None:
        """Set the side of the picture that is compared."""
        reduced = cv2.resize(self._picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        detail = cv2.GaussianBlur(reduced, (0, 0), FINE) - cv2.GaussianBlur(reduced, (0, 0), COARSE)
        mask = cv2.resize(self._inside, (side, side), interpolation=cv2.INTER_AREA)
        self._detail, self._mask = np.asarray(detail, np.float32), np.asarray(mask / 255, np.float32)

    def look_up(self) -> tuple[Array, Array]:
        """What the frame shows at the points, and how much it counts: [P] each."""
        moved = self._expression.astype(np.float32) @ self._basis.reshape(len(self._basis), -1)
        places = self._in_camera(self._neutral + moved.reshape(-1, 3))
        pixels = self._pixels(places)
        return _sampled(self._detail, pixels), self._weights * (_sampled(self._mask, pixels) > 0.99)

    def step_towards(self, texture: Array, values: Array, weights: Array) -> None:
        """Move camera and expression by one Gauss-Newton step towards a texture.

        texture, values: [P], what the points should show and what they do, see `look_up`.
        weights: [P], how much each counts.
        """
        used = np.flatnonzero(weights)
        if not len(used):
            return
        values, weights, texture = values[used], weights[used], texture[used]
        basis = self._basis[:, used]
        contrast = (weights * values * texture).sum() / max((weights * values**2).sum(), 1e-6)
        contrast = float(np.clip(contrast, 1 / CONTRAST, CONTRAST))
        places = self._in_camera(self._neutral[used] + np.tensordot(self._expression, basis, 1))
        residual, jacobian = contrast * values - texture, contrast * self._jacobian(places, basis)
        deviation = 1.4826 * float(np.median(np.abs(residual))) + LEAST_DEVIATION
        weights = weights / (1 + (residual / (OUTLIER * deviation)) ** 2) / (ALIKE_POINTS * deviation**2)
        weighted = jacobian * weights[:, None]
        certainty, off = self._prior()
        normal = weighted.T @ jacobian + np.diag(certainty)
        self._move(np.asarray(-np.linalg.solve(normal, weighted.T @ residual + certainty * off), np.float64))

    def _prior(self) -> tuple[Array, Array]:
        """Certainty of the tracked values, and the distance from them: rotation (3), translation (3), expression."""
        rotation, translation, expression = self._tracked
        errors = [ROTATION_ERROR] * 3 + [SHIFT_ERROR] * 2 + [DEPTH_ERROR] + [SCORE_ERROR] * len(expression)
        turned = cv2.Rodrigues(self._rotation @ rotation.T)[0][:, 0]
        off = np.concatenate([turned, self._translation - translation, self._expression - expression])
        return 1 / np.array(errors) ** 2, off

    def _move(self, step: Array) -> None:
        self._rotation = np.asarray(cv2.Rodrigues(step[:3])[0], np.float64) @ self._rotation
        self._translation = self._translation + step[3:6]
        self._expression = np.clip(self._expression + step[6:], 0, 1)

    def _in_camera(self, places: Array) -> Array:
        """World places [P, 3] in the camera's axes."""
        return places @ self._rotation.T + self._translation

    def _pixels(self, places: Array) -> Array:
        return _projected(places, self._intrinsics) * len(self._detail) - 0.5

    def _jacobian(self, places: Array, basis: Floats) -> Array:
        """Change of what is looked up at places [P, 3], by rotation, translation and expression: [P, 6 + E].

        basis: [E, P, 3], of the expressions.
        """
        x, y, z = places.T
        pixels = self._pixels(places)
        right, down = (
            _sampled(np.asarray(cv2.Sobel(self._detail, cv2.CV_32F, *order, ksize=3, scale=1 / 8), np.float32), pixels)
            for order in ((1, 0), (0, 1))
        )
        right = right * self._intrinsics[0, 0] * len(self._detail) / z
        down = down * self._intrinsics[1, 1] * len(self._detail) / z
        by_place = np.stack([right, down, -(right * x + down * y) / z], 1)
        by_rotation = np.cross(places - self._translation, by_place)
        in_world = by_place @ self._rotation
        by_expression = sum(basis[..., axis] * in_world[:, axis] for axis in range(3))
        return np.concatenate([by_rotation, by_place, np.transpose(by_expression)], 1)


def grey(picture: NDArray[np.uint8]) -> Grey:
    """A picture [S, S, 3] RGB as `refine_fit` takes it, [S, S]."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def refine_fit(
    pictures: Sequence[Grey],
    inside: Sequence[Grey],
    cameras: Floats,
    identity: Floats,
    expressions: Floats,
    face_model: FaceModel,
) -> tuple[Floats, Floats]:
    """Cameras [T, 25] and expressions [T, E] with which T frames of one person show one texture.

    pictures: T grey pictures [S, S]. inside: [S, S] each, 255 where a frame shows anything, 0 elsewhere.
    cameras: [T, 25], as tracked. identity: [K]. expressions: [T, E], as tracked.
    A single frame is returned as it was.
    """
    cameras, expressions = cameras.copy(), expressions.copy()
    points = SurfacePoints(face_model)
    neutral = face_model.vertices(identity, np.zeros_like(expressions[0])).astype(np.float64)[points.triangles].mean(1)
    groups = -(-len(cameras) // MOST_TOGETHER)
    for first in range(groups):
        numbers = range(first, len(cameras), groups)
        if len(numbers) < 2:
            continue
        frames = []
        for number in numbers:
            camera, expression = cameras[number], expressions[number]
            weights = points.weights(face_model.vertices(identity, expression).astype(np.float64), camera)
            seen = pictures[number], inside[number]
            frames.append(FittedFrame(*seen, camera, points, neutral, expression, weights))
        for side in SIDES:
            _agree(frames, side)
        for number, frame in zip(numbers, frames, strict=True):
            cameras[number], expressions[number] = frame.camera, frame.expression
    return cameras, expressions


def _agree(frames: Sequence[FittedFrame], side: int) -> None:
    """Visit all frames in turn, and move each towards the weighted mean of what the others show."""
    for frame in frames:
        frame.compare_at(side)
    looked_up = [frame.look_up() for frame in frames]
    weight = np.sum([weights for _, weights in looked_up], 0)
    total = np.sum([values * weights for values, weights in looked_up], 0)
    for _ in range(VISITS):
        for number, frame in enumerate(frames):
            values, weights = looked_up[number]
            others = weight - weights
            texture = (total - values * weights) / np.maximum(others, 1e-6)
            frame.step_towards(texture, values, weights * others.clip(0, 1))
            looked_up[number] = new_values, new_weights = frame.look_up()
            weight = others + new_weights
            total = total - values * weights + new_values * new_weights


def _view(camera: Floats) -> tuple[Array, Array, Array]:
    """World to camera: rotation [3, 3] and translation [3]; and normalised intrinsics [3, 3]."""
    rotation, translation, intrinsics = head_pose_from_camera(camera)
    return WORLD_TO_FRONTAL @ rotation, translation, intrinsics


def _projected(places: Array, intrinsics: Array) -> Array:
    """Places [P, 3] in the camera's axes → normalised picture coordinates [P, 2]."""
    homogeneous = places @ intrinsics.T
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:], np.float64)


def _sampled(picture: Floats, pixels: Array) -> Array:
    """Bilinear samples [P] of a picture at pixels [P, 2]; at its edge the edge's values."""
    x, y = pixels.astype(np.float32).T
    found = cv2.remap(picture, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found[:, 0], np.float64)
