"""Clip preparation: tracks and fits the face in a clip of one person, crops the head and cuts the person out."""

import functools
import itertools
import json
import logging
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
from hidenerf.runtime.sources.cut_out import over_black
from hidenerf.runtime.sources.matting import cut_out_person
from hidenerf.runtime.sources.matting_network import MattingNetwork
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
from hidenerf.training.data.clips.photometric_fit import grey, refine_fit
from hidenerf.training.data.synthetic.heads import on_mouth_or_eyes
from hidenerf.training.data.synthetic.rasterise import Rasteriser

Picture = NDArray[np.uint8]

logger = logging.getLogger(__name__)

# The identity is the median of fits to this many frames: the best frame of each of as many equal parts of the clip.
FIT_FRAMES = 5
# Cost of a frame: the head's angle from frontal, radians, plus this factor times the mean displacement of the landmarks
# by the expression, world units. A mouth wide open costs as much as about 25 degrees.
EXPRESSION_COST = 10.0
# Frames with a larger mean distance of fitted to tracked landmarks, a share of the crop's side, are left out.
LARGEST_ERROR = 0.025
# A crop is kept while the head's centre (x, y: shares of the crop's side), size (natural logarithm) and roll (radians)
# stay within these distances of the crop's. Synthetic targets vary a little more.
STRAYS = np.array([0.08, 0.08, 0.12, np.radians(10)])
# Rows and columns at the edges of a clip that are never brighter than this are black bars, with compression noise.
BLACK_BAR = 24

# How poses and expressions are fitted, in `Clip.origin`: clips that were fitted in another way are prepared again.
FIT = "photometric"

# Frames that one thread is given at a time.
_FRAMES_AT_ONCE = 4


@dataclass(frozen=True)
class ClipOptions:
    """Options of `prepare_clip`.

    size: S.
    every: step between the frames that are used.
    limit: largest number of frames; None for all.
    face: number of the face, from 1, from the left; None requires a single face.
    """

    size: int
    every: int = 1
    limit: int | None = None
    face: int | None = None


@dataclass(frozen=True)
class PreparedClip:
    """A prepared clip that is not saved yet.

    clip: all but the pictures.
    frames: T results of `encode_frame`.
    error: mean distance of fitted to tracked landmarks, pixels of the crops.
    """

    clip: Clip
    frames: list[tuple[bytes, int]]
    error: float


def origin_of(path: Path, face_model: FaceModel, options: ClipOptions, network: MattingNetwork | None) -> str:
    """`Clip.origin` of a clip prepared from this file with these options and this matting network, JSON."""
    return json.dumps(
        {
            "sha256": sha256_of(path),
            "face_model": face_model.name,
            "fit": FIT,
            "cut_out": name_of_cut_out(network),
            **asdict(options),
        }
    )


def name_of_cut_out(network: MattingNetwork | None) -> str:
    """How people are cut out, in `Clip.origin`: by which network, or by colour."""
    return "colour" if network is None else network.sha256


def prepare_clip(
    path: Path,
    face_model: FaceModel,
    landmarker: FaceLandmarker,
    options: ClipOptions,
    frame_done: Callable[[], None] = lambda: None,
    network: MattingNetwork | None = None,
) -> PreparedClip:
    """Prepare a clip of one person.

    The clip is decoded three times, so that only a few of its pictures are in memory at a time.
    frame_done: called after each frame that is cut out.
    network: cuts the person out; None: by colour.
    Errors: those of `VideoReader` and `FaceTracker`; fewer than two usable frames.
    """
    origin = origin_of(path, face_model, options, network)
    note = functools.cache(logger.warning)
    with VideoReader(path, note) as reader:
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
    cameras = [
        crop_camera(pose, fit.intrinsics, matrix, options.size) for pose, matrix in zip(poses, matrices, strict=True)
    ]
    with VideoReader(path, note) as reader:
        pictures = [grey(crop) for _, _, crop in _crops(reader, numbers, matrices, options.size)]
    inside = [warp(shown, matrix, options.size, cv2.BORDER_CONSTANT) for matrix in matrices]
    scores = np.array([seen[number].scores for number in numbers])
    camera, expression = refine_fit(pictures, inside, np.array(cameras), fit.identity, scores, face_model)
    clip = Clip(
        source=path.name,
        origin=origin,
        face_model=face_model.name,
        expression_names=face_model.expression_names,
        size=options.size,
        fps=fps,
        number=numbers,
        identity=fit.identity,
        expression=expression,
        camera=camera,
    )
    with VideoReader(path, note) as reader:
        frames = _cut_frames(reader, clip, matrices, inside, face_model, network, frame_done)
    return PreparedClip(clip, frames, float(fit.errors[kept].mean()) * options.size)


def _track(
    reader: VideoReader, tracker: FaceTracker, options: ClipOptions
) -> tuple[dict[int, FaceObservation], NDArray[np.uint8]]:
    """Tracked faces by frame number, and `shown_part` of the frames that were read."""
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
    """Mask [H, W] uint8 of a clip's picture without black bars, 255 inside; all of it if the whole clip is that dark.

    rows: [H], largest value of each row over the clip.
    columns: [W], the same of each column.
    """
    spans = []
    for brightest in (rows, columns):
        lit = np.flatnonzero(brightest > BLACK_BAR)
        spans.append(slice(lit[0], lit[-1] + 1) if len(lit) else slice(None))
    shown = np.zeros((len(rows), len(columns)), np.uint8)
    shown[spans[0], spans[1]] = 255
    return shown


@dataclass(frozen=True)
class ClipFit:
    """Face model fitted to T frames of a clip.

    identity: [K].
    intrinsics: [3, 3] of the clip's pictures, pixels.
    poses: T head poses.
    errors: [T], mean distance of fitted to tracked landmarks, shares of an aligned crop's side.
    """

    identity: NDArray[np.float32]
    intrinsics: Array
    poses: list[HeadPose]
    errors: Array


def fit_clip(faces: Sequence[FaceObservation], face_model: FaceModel, height: int, width: int) -> ClipFit:
    """Fit one identity and one focal length to all observations, and a head pose to each.

    Expressions are the tracker's scores; `photometric_fit` refines them, and the poses.
    height, width: of the pictures, pixels.
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
        # Wrong landmarks may put the head behind the camera.
        errors.append(distance / side if side > 0 else np.inf)
    return ClipFit(identity, intrinsics, poses, np.array(errors))


def _fitting_costs(faces: Sequence[FaceObservation], face_model: FaceModel, height: int, width: int) -> Array:
    """Cost [T] of fitting an identity to each observation, radians: large for turned heads and strong expressions."""
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
    """Matrices [T, 2, 3] from the pixels of each frame to those of a crop of size × size.

    Consecutive frames share a square while the head stays within STRAYS of it, so that the head moves in the crops as
    it does in a driving clip.
    intrinsics: [3, 3], pixels.
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
    """Longest runs of places [T, 4] within STRAYS (centre, logarithm of the side, tilt): lengths, and middles [4]."""
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


def _crops(
    reader: VideoReader, numbers: NDArray[np.int64], matrices: Array, size: int
) -> Iterator[tuple[int, Picture, Picture]]:
    """Frames with these numbers: the index among them, the picture [H, W, 3], and its crop [S, S, 3].

    matrices: [T, 2, 3], see `still_squares`.
    """
    index_of = {number: index for index, number in enumerate(numbers.tolist())}
    pictures = ((index_of[number], item[0]) for number, item in enumerate(reader) if number in index_of)
    for index, picture in itertools.islice(pictures, len(numbers)):
        yield index, picture, warp(picture, matrices[index], size, cv2.BORDER_REPLICATE)


def _cut_frames(
    reader: VideoReader,
    clip: Clip,
    matrices: Array,
    inside: Sequence[NDArray[np.uint8]],
    face_model: FaceModel,
    network: MattingNetwork | None,
    frame_done: Callable[[], None],
) -> list[tuple[bytes, int]]:
    """Cut out and encode the clip's frames, in threads, since OpenCV releases the GIL. inside: of `cut_frame`, each."""

    def cut(index: int, picture: Picture, crop: Picture) -> tuple[bytes, int]:
        vertices = face_model.vertices(clip.identity, clip.expression[index])
        camera = clip.camera[index]
        return encode_frame(
            cut_frame(picture, matrices[index], crop, inside[index], camera, vertices, face_model, network)
        )

    expected = _crops(reader, clip.number, matrices, clip.size)
    frames: list[tuple[bytes, int]] = []
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        while chunk := list(itertools.islice(expected, _FRAMES_AT_ONCE * workers)):
            for frame in pool.map(lambda item: cut(*item), chunk):
                frames.append(frame)
                frame_done()
    return frames


def cut_frame(
    picture: Picture,
    matrix: Array,
    crop: Picture,
    inside: NDArray[np.uint8],
    camera: NDArray[np.float32],
    vertices: NDArray[np.float32],
    face_model: FaceModel,
    network: MattingNetwork | None,
) -> ClipFrame:
    """Cut the person out of a crop.

    picture: [H, W, 3] of the clip.
    matrix: [2, 3], from its pixels to the crop's.
    crop: [S, S, 3].
    inside: [S, S], 255 where the crop is inside the clip's picture, 0 outside.
    camera: [25] of the crop.
    vertices: [V, 3] of the fitted head, world units.
    network: finds the mask; None: by colour.
    """
    size = len(crop)
    pixels = project(vertices.astype(np.float64), camera) * size
    mask = cut_out_person(picture, matrix, crop, inside, pixels, face_model, network)
    region = np.minimum(draw_region(vertices, camera, face_model, size), mask)
    return ClipFrame(over_black(crop, mask), mask, region)


def draw_region(
    vertices: NDArray[np.float32], camera: NDArray[np.float32], face_model: FaceModel, size: int
) -> NDArray[np.uint8]:
    """Region of mouth, eyes and brows, [size, size] uint8, 0 or 255; the same as on synthetic heads.

    vertices: [V, 3], world units.
    camera: [25].
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
