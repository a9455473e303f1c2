"""From a clip of one person to a prepared clip: face tracked and fitted, head cropped, person cut out."""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.sources.alignment import crop_camera, head_tilt, square_matrix, warp
from hidenerf.runtime.sources.cut_out import over_black, person_mask
from hidenerf.runtime.tracking.face_tracker import FaceTracker
from hidenerf.runtime.tracking.identity_fit import fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.pose import (
    FOCAL_PER_LONG_SIDE,
    Array,
    HeadPose,
    aligned_square,
    picture_intrinsics,
    project_head,
    solve_head_pose,
)
from hidenerf.runtime.video.reader import VideoReader
from hidenerf.training.data.clips.file import Clip, ClipFrame, encode_frame
from hidenerf.training.data.synthetic.heads import on_mouth_or_eyes
from hidenerf.training.data.synthetic.rasterise import Rasteriser

Picture = NDArray[np.uint8]

# The identity is the median of those fitted to so many frames, the best of equal stretches of the clip.
FIT_FRAMES = 5
# The best frame has the smallest sum of the head's turn from frontal, radians, and this times how far the expression
# moves the landmarks on average, world units: a mouth wide open counts like some 25 degrees.
EXPRESSION_COST = 10.0
# Frames on which the tracker is farther off than this on average, a share of the crop's side, are left out.
LARGEST_ERROR = 0.025
# A crop stays where it is until the head leaves its middle, size or roll by more than this: shares of its side, natural
# logarithm, radians. Synthetic targets move a little more.
STRAYS = np.array([0.08, 0.08, 0.12, np.radians(10)])
# What never gets brighter than this at the edges of a clip is a bar around it; compression leaves bars not quite black.
BLACK_BAR = 24

_FRAMES_AT_ONCE = 4


@dataclass(frozen=True)
class ClipOptions:
    """size: S. every: which frames are looked at, every how many. limit: most frames to keep, None for all. face:
    which of several faces, 1-based from the left; None takes the only one."""

    size: int
    every: int = 1
    limit: int | None = None
    face: int | None = None


@dataclass(frozen=True)
class PreparedClip:
    """clip: all but its pictures. frames: as `encode_frame` makes them. error: mean distance of the fitted landmarks to
    the tracked ones, pixels of the crops."""

    clip: Clip
    frames: list[tuple[bytes, int]]
    error: float


def origin_of(path: Path, face_model: FaceModel, options: ClipOptions) -> str:
    """What a clip prepared from this file in this way says of its origin."""
    return json.dumps({"sha256": sha256_of(path), "face_model": face_model.name, **asdict(options)})


def prepare_clip(
    path: Path,
    face_model: FaceModel,
    landmarker: FaceLandmarker,
    options: ClipOptions,
    frame_done: Callable[[], None] = lambda: None,
) -> PreparedClip:
    """Prepare one clip that shows one person; `frame_done` is called after each frame that is cut out.

    The clip is decoded twice, so that memory holds a few of its pictures only. Errors: those of the reader and of
    `FaceTracker`; fewer than two frames with a face.
    """
    origin = origin_of(path, face_model, options)
    with VideoReader(path) as reader:
        fps, (height, width) = reader.fps, reader.size
        seen, shown = _track(reader, FaceTracker(landmarker, options.face, str(path)), options)
    if len(seen) < 2:
        found = "one frame" if seen else "no frame"
        raise HideNerfError(f"{path}: a face was found in {found} of this clip, but a pair takes two; leave it out.")
    fit = fit_clip(list(seen.values()), face_model, height, width)
    kept = np.flatnonzero(fit.errors <= LARGEST_ERROR)
    if len(kept) < 2:
        raise HideNerfError(
            f"{path}: the face model fits the face in {len(kept)} of {len(seen)} frames of this clip, but a pair takes "
            "two; leave it out."
        )
    numbers = np.array(list(seen))[kept]
    poses = [fit.poses[index] for index in kept]
    matrices = still_squares(poses, fit.intrinsics, options.size)
    clip = Clip(
        source=path.name,
        origin=origin,
        face_model=face_model.name,
        expression_names=face_model.expression_names,
        size=options.size,
        fps=fps,
        number=numbers,
        identity=fit.identity,
        expression=np.array([seen[number].scores for number in numbers]),
        camera=np.array(
            [
                crop_camera(pose, fit.intrinsics, matrix, options.size)
                for pose, matrix in zip(poses, matrices, strict=True)
            ]
        ),
    )
    with VideoReader(path) as reader:
        frames = _cut_frames(reader, clip, matrices, shown, face_model, frame_done)
    return PreparedClip(clip, frames, float(fit.errors[kept].mean()) * options.size)


def _track(
    reader: VideoReader, tracker: FaceTracker, options: ClipOptions
) -> tuple[dict[int, FaceObservation], NDArray[np.uint8]]:
    """The face by number of the frame, where there is one, and `shown_part` of the frames until then."""
    seen: dict[int, FaceObservation] = {}
    rows, columns = (np.zeros(length, np.uint8) for length in reader.size)
    for number, (picture, _) in enumerate(reader):
        if number % options.every:
            continue
        brightest = picture.max(axis=2)
        rows, columns = np.maximum(rows, brightest.max(axis=1)), np.maximum(columns, brightest.max(axis=0))
        face = tracker.follow(picture)
        if face is not None:
            seen[number] = face
        if len(seen) == options.limit:
            break
    return seen, shown_part(rows, columns)


def shown_part(rows: NDArray[np.uint8], columns: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W] uint8, 255 but for the black bars around a clip, given the brightest of each row [H] and column [W]."""
    spans = []
    for brightest in (rows, columns):
        lit = np.flatnonzero(brightest > BLACK_BAR)
        spans.append(slice(lit[0], lit[-1] + 1) if len(lit) else slice(0))
    shown = np.zeros((len(rows), len(columns)), np.uint8)
    shown[spans[0], spans[1]] = 255
    return shown


@dataclass(frozen=True)
class ClipFit:
    """identity [K] of the person; intrinsics [3, 3] of the clip's pictures, pixels; for each frame the head's pose, and
    in errors [T] the mean distance of the fitted landmarks to the tracked ones, shares of an aligned crop's side."""

    identity: NDArray[np.float32]
    intrinsics: Array
    poses: list[HeadPose]
    errors: Array


def fit_clip(faces: Sequence[FaceObservation], face_model: FaceModel, height: int, width: int) -> ClipFit:
    """Fit one person and one lens to observations in pictures of this size, and a head pose to each.

    Expressions are the tracker's scores, as drivers give them to a trained model.
    """
    stretches = np.array_split(np.arange(len(faces)), min(FIT_FRAMES, len(faces)))
    costs = _fitting_costs(faces, face_model, height, width)
    best = [stretch[costs[stretch].argmin()] for stretch in stretches]
    fits = [fit_face(faces[index], face_model, height, width) for index in best]
    identity = np.median([fit.identity for fit in fits], axis=0).astype(np.float32)
    focal = float(np.median([fit.intrinsics[0, 0] for fit in fits]))
    intrinsics = picture_intrinsics(height, width, focal)
    poses, errors = [], []
    for face in faces:
        points = face_model.landmarks(identity, face.scores)
        pixels = face.landmarks[face_model.landmark_index]
        pose = solve_head_pose(points, pixels, intrinsics)
        _, side = aligned_square(pose, intrinsics)
        distance = np.linalg.norm(project_head(points, pose, intrinsics) - pixels, axis=1).mean()
        poses.append(pose)
        # Landmarks that are no face's may put the head behind the camera.
        errors.append(distance / side if side > 0 else np.inf)
    return ClipFit(identity, intrinsics, poses, np.array(errors))


def _fitting_costs(faces: Sequence[FaceObservation], face_model: FaceModel, height: int, width: int) -> Array:
    """How little each observation tells of the person: turned heads and strong expressions cost; radians."""
    intrinsics = picture_intrinsics(height, width, FOCAL_PER_LONG_SIDE * max(height, width))
    nobody = np.zeros(len(face_model.identity_names), np.float32)
    neutral = face_model.landmarks(nobody, np.zeros(len(face_model.expression_names), np.float32))
    costs = []
    for face in faces:
        points = face_model.landmarks(nobody, face.scores)
        pose = solve_head_pose(points, face.landmarks[face_model.landmark_index], intrinsics)
        turn = np.arccos(np.clip(pose.rotation[2, 2], -1, 1))
        costs.append(turn + EXPRESSION_COST * np.linalg.norm(points - neutral, axis=1).mean())
    return np.array(costs)


def still_squares(poses: Sequence[HeadPose], intrinsics: Array, size: int) -> Array:
    """For each frame the matrix [T, 2, 3] that crops it to size × size.

    The square stays the same for as many frames as the head strays little enough (`STRAYS`) from what is then its
    middle, so that the head moves in the crops as it does in a driving clip.
    """
    places = []
    for pose in poses:
        centre, side = aligned_square(pose, intrinsics)
        places.append([*centre, np.log(side), head_tilt(pose)])
    matrices: list[Array] = []
    for count, (x, y, log_side, tilt) in _calm_stretches(np.array(places)):
        matrices += count * [square_matrix(np.array([x, y]), float(np.exp(log_side)), tilt, size)]
    return np.array(matrices)


def _calm_stretches(places: Array) -> Iterator[tuple[int, Array]]:
    """Stretches of places [T, 4] (centre, logarithm of the side, tilt) as long as can be: length, and middle [4]."""
    first, low, high = 0, places[0], places[0]
    for number, place in enumerate(places):
        lower, higher = np.minimum(low, place), np.maximum(high, place)
        reach = (higher - lower) / 2
        reach[:2] /= np.exp((lower + higher)[2] / 2)
        if (reach > STRAYS).any():
            yield number - first, (low + high) / 2
            first, lower, higher = number, place, place
        low, high = lower, higher
    yield len(places) - first, (low + high) / 2


def _cut_frames(
    reader: VideoReader,
    clip: Clip,
    matrices: Array,
    shown: NDArray[np.uint8],
    face_model: FaceModel,
    frame_done: Callable[[], None],
) -> list[tuple[bytes, int]]:
    """The clip's frames, encoded; several at a time, since OpenCV leaves Python free."""

    def cut(index: int, picture: Picture) -> tuple[bytes, int]:
        vertices = face_model.vertices(clip.identity, clip.expression[index])
        inside = warp(shown, matrices[index], clip.size, cv2.BORDER_CONSTANT)
        crop = warp(picture, matrices[index], clip.size, cv2.BORDER_REPLICATE)
        return encode_frame(cut_frame(crop, inside, clip.camera[index], vertices, face_model))

    index_of = {number: index for index, number in enumerate(clip.number.tolist())}
    pictures = ((index_of[number], item[0]) for number, item in enumerate(reader) if number in index_of)
    expected = itertools.islice(pictures, len(clip))
    frames: list[tuple[bytes, int]] = []
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        while chunk := list(itertools.islice(expected, _FRAMES_AT_ONCE * workers)):
            for frame in pool.map(lambda item: cut(*item), chunk):
                frames.append(frame)
                frame_done()
    return frames


def cut_frame(
    crop: Picture,
    inside: NDArray[np.uint8],
    camera: NDArray[np.float32],
    vertices: NDArray[np.float32],
    face_model: FaceModel,
) -> ClipFrame:
    """The person cut out of a crop [S, S, 3] with this camera [25]; inside [S, S]: 0 where it is beyond the picture.

    vertices [V, 3]: the fitted head.
    """
    size = len(crop)
    pixels = project(vertices.astype(np.float64), camera) * size
    mask = np.minimum(person_mask(crop, inside, pixels, face_model), inside)
    region = np.minimum(draw_region(vertices, camera, face_model, size), mask)
    return ClipFrame(over_black(crop, mask), mask, region)


def draw_region(
    vertices: NDArray[np.float32], camera: NDArray[np.float32], face_model: FaceModel, size: int
) -> NDArray[np.uint8]:
    """Where a camera [25] sees mouth, eyes and brows of a head with vertices [V, 3]: [size, size] uint8, 0 or 255.

    It means the same as on synthetic heads.
    """
    count = len(face_model.triangles)
    triangle = np.zeros((size, size), np.int16)
    barycentric = np.zeros((2, size, size), np.uint8)
    Rasteriser(face_model.triangles, size).draw(vertices, camera, np.arange(count), count, triangle, barycentric)
    seen = triangle > 0
    first, second = barycentric[:, seen] / np.float32(255)
    weights = np.stack([first, second, 1 - first - second], 1)
    corners = face_model.mean[face_model.triangles[triangle[seen] - 1]]
    x, y, z = np.einsum("mc,mcd->dm", weights, corners)
    region = np.zeros((size, size), np.uint8)
    region[seen] = 255 * on_mouth_or_eyes(np.abs(x), y, z)
    return region
