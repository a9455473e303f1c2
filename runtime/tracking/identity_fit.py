"""The identity fit: identity and expression of one face from its landmarks.

Bounded ridge least squares of the coefficients and perspective-n-point of the head pose alternate.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.tracking.landmarker import FaceObservation
from hidenerf.runtime.tracking.pose import (
    Array,
    HeadPose,
    assumed_intrinsics,
    project_head,
    solve_head_pose,
    to_camera_axes,
)

TURNS = 4
# Ridge weights per landmark, in squared shares of the face's height. Identity coefficients are pulled towards 0, with
# this weight times the face model's own prior; expression coefficients are pulled towards the tracker's scores.
IDENTITY_RIDGE = 4e-6
EXPRESSION_RIDGE = 4e-5


@dataclass(frozen=True)
class FaceFit:
    """One fitted face.

    identity: [K] float32 in [-1, 1].
    expression: [E] float32 in [0, 1].
    pose: of the head, in the picture's camera.
    intrinsics: [3, 3] float64, assumed of the picture, pixels.
    error: mean distance of the projected landmarks to the observed ones, pixels.
    """

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    pose: HeadPose
    intrinsics: Array
    error: float


def fit_face(face: FaceObservation, face_model: FaceModel, height: int, width: int) -> FaceFit:
    """Fit the face model and the head pose to one observed face.

    The prior of the expression is the tracker's scores, that of the identity the mean shape. The mean error is 1 to 2 %
    of the distance between the eyes; one picture does not determine depth.

    height, width: of the picture, pixels.
    Errors: SciPy is not installed.
    """
    lsq_linear = _import_lsq_linear()
    pixels = face.landmarks[face_model.landmark_index]
    face_height = np.ptp(pixels[:, 1])
    weight = np.sqrt(np.asarray(face_model.landmark_weight, np.float64))[:, None]
    identities = len(face_model.identity_names)
    basis = np.concatenate([face_model.landmark_identity_basis, face_model.landmark_expression_basis]).astype(float)
    ridge = len(pixels) * np.concatenate(
        [IDENTITY_RIDGE * face_model.identity_prior, np.full(len(face.scores), EXPRESSION_RIDGE)]
    )
    prior = np.concatenate([np.zeros(identities), face.scores]).astype(float)
    lower = np.concatenate([-np.ones(identities), np.zeros(len(face.scores))])
    coefficients = prior
    start = face_model.landmarks(prior[:identities], prior[identities:])
    intrinsics = assumed_intrinsics(start, pixels, height, width)
    pose, points = _pose(face_model, coefficients, pixels, intrinsics)
    for _ in range(TURNS):
        residual = (pixels - project_head(points, pose, intrinsics)) / face_height * weight
        jacobian = (_projected_basis(basis, points, pose, intrinsics) / face_height * weight).reshape(len(basis), -1)
        # Cholesky turns the normal equations into a square least-squares problem, which `lsq_linear` bounds.
        normal = jacobian @ jacobian.T + np.diag(ridge)
        right = jacobian @ (residual.ravel() + coefficients @ jacobian) + ridge * prior
        factor = np.linalg.cholesky(normal)
        solution = lsq_linear(factor.T, np.linalg.solve(factor, right), (lower, np.ones(len(lower))), method="bvls")
        coefficients = solution.x
        pose, points = _pose(face_model, coefficients, pixels, intrinsics)
    error = np.linalg.norm(pixels - project_head(points, pose, intrinsics), axis=1).mean()
    fitted = coefficients.astype(np.float32)
    return FaceFit(fitted[:identities], fitted[identities:], pose, intrinsics, float(error))


def _pose(face_model: FaceModel, coefficients: Array, pixels: Array, intrinsics: Array) -> tuple[HeadPose, Array]:
    identities = len(face_model.identity_names)
    points = face_model.landmarks(coefficients[:identities], coefficients[identities:]).astype(np.float64)
    return solve_head_pose(points, pixels, intrinsics), points


def _projected_basis(basis: Array, points: Array, pose: HeadPose, intrinsics: Array) -> Array:
    """Derivative [B, M, 2] of the projected points [M, 3], pixels, by the coefficients of a basis [B, M, 3]."""
    seen = to_camera_axes(points, pose)
    moved = to_camera_axes(basis, HeadPose(pose.rotation, np.zeros(3)))
    focal = np.diag(intrinsics)[:2]
    return focal * (moved[..., :2] - moved[..., 2:] * seen[:, :2] / seen[:, 2:]) / seen[:, 2:]


def _import_lsq_linear() -> Any:
    try:
        from scipy.optimize import lsq_linear
    except ImportError:
        raise HideNerfError(
            "Fitting a face needs SciPy, which is not installed; run: pip install 'hidenerf[track]'."
        ) from None
    return lsq_linear
