"""Which point of a face model each of MediaPipe's 478 landmarks lies on, found by FaceLandmarker in pictures."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.assets.portraits import BALD, Portrait, PortraitPainter, make_look
from hidenerf.runtime.camera import METRES_PER_UNIT, canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_parts import EYE, SKIN
from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING
from hidenerf.training.data.synthetic.heads import HeadMesh
from hidenerf.training.data.synthetic.people import Person

Array = NDArray[np.float64]
Detector = Callable[[NDArray[np.uint8]], Array | None]

LANDMARKS = 478
FIRST_IRIS = 468
# The outline of the face: an occluding contour in the picture, not a fixed place on the skin.
OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)

_OUTLINE_WEIGHT = 0.35
_IRIS_WEIGHT = 0.5
_TRUSTED_SPREAD_METRES = 0.0015

# Side of the pictures in which landmarks are looked for.
PICTURE_SIZE = 512
_YAWS = (-14.0, -7.0, 0.0, 7.0, 14.0)
_PITCHES = (-8.0, 0.0, 8.0)
_LOOKS = (make_look(), make_look(brow_density=0.9, unevenness=0.8))
_OPEN_MOUTHS: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.22},
    {"jawOpen": 0.35, "mouthUpperUpLeft": 0.2, "mouthUpperUpRight": 0.2},
)
_FARTHEST_PIXEL = 4.0
# Off the middle of the face, only nearly frontal pictures count: farther landmarks slide along the contour there.
_MIDDLE = 0.3
_NEARLY_FRONTAL = 7.0


@dataclass(frozen=True)
class LandmarkMap:
    """index [M] int32, vertices [M, 3] int32, barycentric [M, 3] float32, weight [M] float32: as in `FaceModel`."""

    index: NDArray[np.int32]
    vertices: NDArray[np.int32]
    barycentric: NDArray[np.float32]
    weight: NDArray[np.float32]


NO_LANDMARKS = LandmarkMap(
    np.zeros(0, np.int32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
)


def find_landmarks(painter: PortraitPainter, detect: Detector) -> LandmarkMap:
    """Where the landmarks lie on the mean shape of a face model, found in pictures of it.

    painter: of the face model's head mesh; the model's own landmarks are not used. detect: picture [S, S, 3] uint8 RGB
    → landmarks [478, 2] in pixels, None where no face is found. The place of a landmark is the median over 90 pictures,
    made symmetric. Errors: a face in too few pictures, a landmark that is never on the face.
    """
    mesh = painter.mesh
    identity = np.zeros(len(mesh.face_model.identity_names), np.float32)
    names = mesh.face_model.expression_names
    places, inner_lips_show, yaws, tried = [], [], [], 0
    for opening in ({}, *_OPEN_MOUTHS):
        expression = np.array([opening.get(name, 0.0) for name in names], np.float32)
        for look in _LOOKS:
            for yaw in _YAWS:
                for pitch in _PITCHES:
                    portrait = painter.paint(Person(identity, BALD, look), expression, canonical_camera(yaw, pitch))
                    picture = portrait.picture + (1 - portrait.alpha[..., None]) * 0.55
                    found = detect(np.ascontiguousarray((picture * 255).round().astype(np.uint8)))
                    tried += 1
                    if found is not None:
                        places.append(_places_on_mean(mesh, portrait, found))
                        inner_lips_show.append(bool(opening))
                        yaws.append(yaw)
    if len(places) < len(_YAWS) * len(_PITCHES):
        raise HideNerfError(f"FaceLandmarker found a face in {len(places)} of {tried} pictures; check the .task file.")
    usable = _usable(np.array(places), np.array(inner_lips_show), np.array(yaws))
    median = np.nanmedian(usable, axis=0)
    if np.isnan(median).any():
        missing = np.flatnonzero(np.isnan(median).any(axis=1)).tolist()
        raise HideNerfError(f"FaceLandmarker never placed the landmarks {missing} on the face; check the .task file.")
    spread = np.sqrt(np.nanmean(((usable - median) ** 2).sum(axis=-1), axis=0))
    triangle, barycentric = _nearest_on_surface(mesh, _symmetric(median))
    return LandmarkMap(
        np.arange(LANDMARKS, dtype=np.int32),
        mesh.triangles[triangle].astype(np.int32),
        barycentric.astype(np.float32),
        landmark_weights(spread * METRES_PER_UNIT),
    )


def landmark_weights(spread: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weights [478] for a fit, from how far (metres) each landmark wandered over the pictures it was found in."""
    weight = np.ones(LANDMARKS)
    weight[list(OUTLINE)] = _OUTLINE_WEIGHT
    weight[FIRST_IRIS:] = _IRIS_WEIGHT
    return (weight / np.clip(spread / _TRUSTED_SPREAD_METRES, 1, 4)).astype(np.float32)


@contextlib.contextmanager
def mediapipe_detector(face_landmarker: Path) -> Iterator[Detector]:
    """`with mediapipe_detector(path) as detect:` MediaPipe's FaceLandmarker, from its `.task` file, as a `Detector`."""
    try:
        import mediapipe
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision
    except ImportError:
        raise HideNerfError("mediapipe is not installed; run pip install 'hidenerf[facemodel]'.") from None
    if not face_landmarker.is_file():
        raise HideNerfError(f"{face_landmarker}: no such file; give the path of MediaPipe's face_landmarker.task.")
    try:
        model = tasks.BaseOptions(model_asset_buffer=face_landmarker.read_bytes())
        landmarker = vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(base_options=model))
    except (RuntimeError, ValueError) as error:
        raise HideNerfError(f"{face_landmarker}: not a FaceLandmarker model ({error}).") from None

    def detect(picture: NDArray[np.uint8]) -> Array | None:
        result = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture))
        if not result.face_landmarks:
            return None
        height, width = picture.shape[:2]
        return np.array([(point.x * width, point.y * height) for point in result.face_landmarks[0]])

    try:
        yield detect
    finally:
        landmarker.close()


def _places_on_mean(mesh: HeadMesh, portrait: Portrait, found: Array) -> Array:
    """Landmarks [478, 2] in pixels → the points [478, 3] of the mean shape seen there; NaN where none is near."""
    from scipy.spatial import cKDTree

    drawn = portrait.triangle > 0
    triangle = portrait.triangle[drawn] - 1
    two = portrait.barycentric[:, drawn].T / 255
    weights = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)
    place = np.einsum("nk,nkc->nc", weights, mesh.mean[mesh.triangles[triangle]])
    centres = (np.argwhere(drawn)[:, ::-1] + 0.5) / SUPERSAMPLING
    skin, eyes = (surface[triangle] for surface in _surfaces(mesh))
    points = np.full((LANDMARKS, 3), np.nan)
    for which, pixels in ((np.arange(FIRST_IRIS), skin), (np.arange(FIRST_IRIS, LANDMARKS), eyes)):
        distance, nearest = cKDTree(centres[pixels]).query(found[which], distance_upper_bound=_FARTHEST_PIXEL)
        near = np.isfinite(distance)
        points[which[near]] = place[pixels][np.asarray(nearest)[near]]
    return points


def _surfaces(mesh: HeadMesh) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which triangles [F] are skin outside the mouth, and which are eyes."""
    corners = mesh.triangles
    # Where parts meet, on the neck, the triangles between them belong to the body.
    part = mesh.part[corners].max(axis=1)
    return (part == SKIN) & (mesh.mouth_bag[corners].max(axis=1) < 0.5), part == EYE


def _usable(places: Array, inner_lips_show: NDArray[np.bool_], yaws: Array) -> Array:
    """places [pictures, 478, 3] with NaN where the picture says nothing about the landmark."""
    usable = places.copy()
    usable[np.ix_(~inner_lips_show, np.array(INNER_LIPS))] = np.nan
    aside = np.abs(np.nanmedian(places, axis=0)[:, 0]) > _MIDDLE
    usable[np.ix_(np.abs(yaws) > _NEARLY_FRONTAL, aside)] = np.nan
    return usable


def _symmetric(points: Array) -> Array:
    """Each point [478, 3] averaged with the mirror image of its partner on the other side of the face."""
    from scipy.optimize import linear_sum_assignment

    mirrored = points * np.array([-1.0, 1.0, 1.0])
    _, partner = linear_sum_assignment(np.linalg.norm(points[:, None] - mirrored, axis=-1))
    return (points + mirrored[partner]) / 2


def _nearest_on_surface(mesh: HeadMesh, points: Array) -> tuple[NDArray[np.intp], Array]:
    """Triangles [478] and barycentric coordinates [478, 3] of the surface points nearest to these points [478, 3]."""
    triangle = np.zeros(LANDMARKS, np.intp)
    barycentric = np.zeros((LANDMARKS, 3))
    skin, eyes = _surfaces(mesh)
    for which, surface in ((range(FIRST_IRIS), skin), (range(FIRST_IRIS, LANDMARKS), eyes)):
        numbers = np.flatnonzero(surface)
        corners = mesh.mean[mesh.triangles[numbers]].astype(np.float64)
        for landmark in which:
            weights = closest_barycentric(corners, points[landmark])
            gap = np.linalg.norm(np.einsum("fk,fki->fi", weights, corners) - points[landmark], axis=1)
            best = int(gap.argmin())
            triangle[landmark], barycentric[landmark] = numbers[best], weights[best]
    return triangle, barycentric


def closest_barycentric(corners: Array, point: Array) -> Array:
    """Barycentric coordinates [F, 3] of the point of each triangle [F, 3, 3] that is nearest to a point [3]."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    u, v, w = b - a, c - a, point - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    determinant = np.maximum(uu * vv - uv * uv, 1e-30)
    second, third = (vv * wu - uv * wv) / determinant, (uu * wv - uv * wu) / determinant
    inside = np.stack([1 - second - third, second, third], axis=1)

    candidates = []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, end] - corners[:, start]
        along = ((point - corners[:, start]) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-30)
        on_edge = np.zeros_like(inside)
        on_edge[:, end] = np.clip(along, 0, 1)
        on_edge[:, start] = 1 - on_edge[:, end]
        candidates.append(on_edge)
    edges = np.stack(candidates)
    gaps = np.linalg.norm(np.einsum("efk,fki->efi", edges, corners) - point, axis=-1)
    nearest_edge = edges[gaps.argmin(axis=0), np.arange(len(corners))]
    return np.where((inside >= 0).all(axis=1, keepdims=True), inside, nearest_edge)
