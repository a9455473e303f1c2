"""Metrics of tracked faces: AUCON's counterpart, PRMSE and AVD.

The paper's §4.1 and supplement 7.2 name these metrics without formulas. Ours use MediaPipe's tracker on all pictures,
and count the pictures in which it finds a face both in the output and in the truth.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import euler_from_rotation, head_pose_from_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.tracking.identity_fit import fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.pose import solve_head_pose
from hidenerf.runtime.tracking.search import find_faces
from hidenerf.training.evaluation import columns
from hidenerf.training.evaluation.tables import Row

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

# Two tracked values of an action count as the same up to this difference. In pictures of one synthetic face that differ
# by a few pixels and a slight blur, 97 of 100 values above it are the same.
SAME_ACTION = 0.1
# An action whose true values have a smaller standard deviation over the pictures has no correlation.
LEAST_SPREAD = 0.05
FEWEST_FOR_CORRELATION = 3


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face that the tracker found in a picture.

    scores: [E] float32 in [0, 1], of the actions.
    angles: [3], yaw, pitch and roll, degrees.
    neutral: [V, 3], vertices with the fitted identity, without pose and expression, world units.
    """

    scores: Floats
    angles: Array
    neutral: Floats


class FaceRetracker:
    """Tracks the largest face of single pictures, with a cache of pictures. A context manager.

    landmarker: path of face_landmarker.task; None searches as `find_landmarker_model` does.
    Errors: MediaPipe or SciPy is not installed; those of `FaceLandmarker`.
    """

    def __init__(self, landmarker: Path | None, face_model: FaceModel) -> None:
        if importlib.util.find_spec("scipy") is None:
            raise HideNerfError(
                "Re-fitting faces needs SciPy, which is not installed; run: pip install 'hidenerf[track]'."
            )
        self._face_model = face_model
        self._landmarker = FaceLandmarker(landmarker, face_model.expression_names)
        self._known: dict[bytes, TrackedFace | None] = {}

    def __enter__(self) -> "FaceRetracker":
        """The tracker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the landmarker."""
        self._landmarker.close()

    def track(
        self, picture: Picture, identity: NDArray[np.floating], camera: NDArray[np.floating]
    ) -> TrackedFace | None:
        """The largest face of a picture [H, W, 3] uint8 RGB; None if none is found.

        The pose is that of a face of this identity [K], with the tracked expression, through the intrinsics of this
        camera [25], whose pose is not looked at. The fitted identity (AVD's) makes no use of either.
        """
        digest = hashlib.blake2b(digest_size=16)
        for part in (picture, identity, camera):
            digest.update(np.ascontiguousarray(part).tobytes())
        key = digest.digest()
        if key not in self._known:
            self._known[key] = self._track(picture, identity, camera)
        return self._known[key]

    def _track(
        self, picture: Picture, identity: NDArray[np.floating], camera: NDArray[np.floating]
    ) -> TrackedFace | None:
        model = self._face_model
        face = max(find_faces(self._landmarker, picture), key=lambda found: found.size, default=None)
        if face is None:
            return None
        height, width = picture.shape[:2]
        intrinsics = np.diag([width, height, 1.0]) @ head_pose_from_camera(camera)[2]
        pose = solve_head_pose(model.landmarks(identity, face.scores), face.landmarks[model.landmark_index], intrinsics)
        fit = fit_face(face, model, height, width)
        neutral = model.vertices(fit.identity, np.zeros_like(fit.expression))
        return TrackedFace(face.scores, np.array(euler_from_rotation(pose.rotation)), neutral)


def same_actions(scores: NDArray[np.floating], true_scores: NDArray[np.floating]) -> tuple[float, float]:
    """AUCON's counterpart, the share of the actions [E] whose two tracked values are the same (see SAME_ACTION): of all
    actions, and of those that show in either picture, by a value above SAME_ACTION (NaN if none does).

    The paper's is "the ratio of the same facial action unit values between the generated and the driving images". Most
    of the 52 are at rest in most pictures and agree in any two faces, hence the second share.
    """
    same = np.abs(scores - true_scores) <= SAME_ACTION
    shown = np.maximum(scores, true_scores) > SAME_ACTION
    return float(same.mean()), float(same[shown].mean()) if shown.any() else float("nan")


def action_correlation(scores: NDArray[np.floating], true_scores: NDArray[np.floating]) -> float:
    """Correlation over pictures of an action's values [n, E] with the true ones, mean over the actions that vary.

    An action varies whose true values spread by LEAST_SPREAD; one that then does not vary in the pictures counts as 0.
    NaN if none varies or the pictures are fewer than three.
    """
    varying = np.asarray(true_scores, np.float64).std(axis=0) >= LEAST_SPREAD
    if len(scores) < FEWEST_FOR_CORRELATION or not varying.any():
        return float("nan")
    found, true = (values[:, varying] - values[:, varying].mean(axis=0) for values in (scores, true_scores))
    scale = np.linalg.norm(found, axis=0) * np.linalg.norm(true, axis=0)
    return float(np.mean(np.where(scale > 1e-9, (found * true).sum(axis=0) / np.maximum(scale, 1e-9), 0.0)))


def angle_error(angles: Array, true_angles: Array) -> float:
    """PRMSE: root mean square difference of angles [..., 3], degrees, over all pictures and yaw, pitch and roll."""
    difference = (angles - true_angles + 180) % 360 - 180
    return float(np.sqrt(np.square(difference).mean()))


def vertex_distance(neutral: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """AVD: mean distance of vertices [V, 3], world units.

    Of eight synthetic people, fits to two true pictures of one person are 0.009 apart, those of two people 0.017.
    """
    return float(np.linalg.norm(np.asarray(neutral, np.float64) - other, axis=1).mean())


def tracked_figures(
    faces: Sequence[TrackedFace | None],
    true_faces: Sequence[TrackedFace | None],
    source_faces: Sequence[TrackedFace | None],
    cameras: Sequence[NDArray[np.floating]],
) -> Row:
    """The figures of tracked pictures against the tracked truths, the tracked sources (AVD) and the cameras [25] that
    the truths are seen through; without those that no picture has."""
    figures = {columns.FACE_FOUND: float(np.mean([face is not None for face in faces]))}
    pairs = [(face, true) for face, true in zip(faces, true_faces, strict=True) if face and true]
    if pairs:
        agreement = np.array([same_actions(face.scores, true.scores) for face, true in pairs])
        scores, true_scores = (np.stack([pair[which].scores for pair in pairs]) for which in (0, 1))
        angles, true_angles = (np.stack([pair[which].angles for pair in pairs]) for which in (0, 1))
        figures[columns.AUCON] = float(agreement[:, 0].mean())
        if not np.isnan(agreement[:, 1]).all():
            figures[columns.AUCON_SHOWN] = float(np.nanmean(agreement[:, 1]))
        figures[columns.ACTION_CORRELATION] = action_correlation(scores, true_scores)
        figures[columns.PRMSE] = angle_error(angles, true_angles)
    found = [(face, camera) for face, camera in zip(faces, cameras, strict=True) if face]
    if found:
        known = np.array([euler_from_rotation(head_pose_from_camera(camera)[0]) for _, camera in found])
        figures[columns.PRMSE_TO_CAMERA] = angle_error(np.stack([face.angles for face, _ in found]), known)
    shapes = [(face, source) for face, source in zip(faces, source_faces, strict=True) if face and source]
    if shapes:
        figures[columns.AVD] = float(
            np.mean([vertex_distance(face.neutral, source.neutral) for face, source in shapes])
        )
    return {name: value for name, value in figures.items() if not np.isnan(value)}
