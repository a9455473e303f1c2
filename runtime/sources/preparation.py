"""From a portrait to a prepared source: face found and fitted, crop aligned, person cut out, background painted in."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import camera_from_head_pose
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.source import Source, load_source
from hidenerf.runtime.tracking.identity_fit import FaceFit, fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.pose import HeadPose, aligned_square, project_head
from hidenerf.runtime.tracking.search import find_faces, select_face
from hidenerf.runtime.video.pictures import read_picture_with_alpha

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

PREPARED_SUFFIX = ".npz"
LARGEST_WARP = 4096

# GrabCut works on a small copy; sizes below are shares of the crop's side.
CUT_OUT_SIZE = 256
CUT_OUT_TURNS = 6
SURE_MARGIN = 0.02
HAIR_MARGIN = 0.12
EDGE_BLUR = 0.006

# The person's edge and shadow are kept out of the background by this margin, a share of the crop's side.
BACKGROUND_SIZE = 128
BACKGROUND_MARGIN = 0.04


def prepare_source(
    path: Path, face_model: FaceModel, size: int, *, landmarker: Path | None = None, face: int | None = None
) -> Source:
    """The source of a picture, or of a prepared source file, for pictures of `size` × `size`.

    landmarker: MediaPipe's model file, see `find_landmarker_model`; a prepared source needs none. face: which of
    several faces, 1-based from the left. Errors: those of reading the picture and finding its face, a prepared source
    made with another face model.
    """
    if path.suffix.lower() == PREPARED_SUFFIX:
        return _fitted_to(load_source(path), face_model, size, path)
    picture, alpha = read_picture_with_alpha(path)
    with FaceLandmarker(landmarker, face_model.expression_names) as finder:
        observed = select_face(find_faces(finder, _over_grey(picture, alpha)), face, str(path))
    return source_from_face(picture, alpha, observed, face_model, size)


def source_from_face(
    picture: Picture, alpha: Mask | None, observed: FaceObservation, face_model: FaceModel, size: int
) -> Source:
    """The source [size, size] of one observed face in a picture [H, W, 3] with transparency [H, W], if it has any."""
    fit = fit_face(observed, face_model, *picture.shape[:2])
    alignment = align(fit.pose, fit.intrinsics, size)
    crop = warp(picture, alignment.matrix, size, cv2.BORDER_REPLICATE)
    inside = warp(np.full(picture.shape[:2], 255, np.uint8), alignment.matrix, size, cv2.BORDER_CONSTANT)
    if alpha is not None:
        mask = warp(alpha, alignment.matrix, size, cv2.BORDER_CONSTANT)
    else:
        mask = np.minimum(cut_out(crop, inside, _vertices_in_crop(fit, face_model, alignment), face_model), inside)
    return Source(
        picture=over_black(crop, mask),
        mask=mask,
        background=paint_background(crop, np.maximum(mask, 255 - inside)),
        camera=alignment.camera,
        identity=fit.identity,
        expression=fit.expression,
        face_model=face_model.name,
    )


@dataclass(frozen=True)
class Alignment:
    """matrix [2, 3]: from the picture's pixels to the crop's (both spanning [0, W]×[0, H]); camera [25] of the crop."""

    matrix: Array
    camera: NDArray[np.float32]


def align(pose: HeadPose, intrinsics: Array, size: int) -> Alignment:
    """The aligned crop of a head: centred, upright, its radius filling `CANONICAL_FILL` of half the picture."""
    matrix = square_matrix(*aligned_square(pose, intrinsics), head_tilt(pose), size)
    return Alignment(matrix, crop_camera(pose, intrinsics, matrix, size))


def head_tilt(pose: HeadPose) -> float:
    """How far the head's up leans in the picture, radians; an upright crop is turned by as much."""
    return float(np.arctan2(pose.rotation[0, 1], pose.rotation[1, 1]))


def square_matrix(centre: Array, side: float, tilt: float, size: int) -> Array:
    """The matrix [2, 3] that crops a square about `centre` [2], pixels, turned by `tilt` radians, to size × size."""
    cosine, sine = np.cos(tilt), np.sin(tilt)
    turn = size / side * np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([turn, size / 2 - turn @ centre])


def crop_camera(pose: HeadPose, intrinsics: Array, matrix: Array, size: int) -> NDArray[np.float32]:
    """The camera [25] that sees in a crop what the picture's saw of a head in this pose; matrix: see `square_matrix`.

    Turning the picture turns the camera about its axis, and cropping and scaling change its intrinsics, so this is
    exact.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    turn = matrix[:, :2] / scale
    # The same turn in the world's axes, y up.
    upright = np.eye(3)
    upright[:2, :2] = turn.T
    crop_intrinsics = intrinsics.copy()
    crop_intrinsics[:2, :2] *= scale
    crop_intrinsics[:2, 2] = matrix @ np.append(intrinsics[:2, 2], 1.0)
    crop_intrinsics[:2] /= size
    translation = np.append(turn @ pose.translation[:2], pose.translation[2])
    return camera_from_head_pose(upright @ pose.rotation, translation, crop_intrinsics)


def warp(picture: Picture, matrix: Array, size: int, border: int) -> Picture:
    """The crop [size, size] or [size, size, 3] that `matrix` [2, 3] makes of a picture; shrinking averages.

    border: OpenCV's way to fill what lies outside the picture.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    oversampling = max(1, min(int(np.ceil(1 / scale)), LARGEST_WARP // size))
    # OpenCV counts from pixel centres: half a pixel is added on the way in and taken off on the way out.
    fine = matrix * oversampling
    fine[:, 2] += fine[:, :2] @ np.array([0.5, 0.5]) - 0.5
    side = size * oversampling
    warped = cv2.warpAffine(picture, fine, (side, side), flags=cv2.INTER_CUBIC, borderMode=border)
    if oversampling > 1:
        warped = cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)


def _vertices_in_crop(fit: FaceFit, face_model: FaceModel, alignment: Alignment) -> Array:
    pixels = project_head(face_model.vertices(fit.identity, fit.expression), fit.pose, fit.intrinsics)
    return pixels @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]


def cut_out(crop: Picture, inside: Mask, vertices: Array, face_model: FaceModel) -> Mask:
    """Mask [S, S] of the person in an aligned crop [S, S, 3], 255 on the person with soft edges, by GrabCut.

    inside [S, S]: 0 where the crop lies outside the picture. vertices [V, 2]: the fitted head in the crop's pixels,
    which seeds the person; hair is looked for around it and the torso below.
    """
    size = len(crop)
    work = min(size, CUT_OUT_SIZE)
    small = cv2.resize(crop, (work, work), interpolation=cv2.INTER_AREA)
    head = silhouette(vertices * (work / size), face_model.triangles, work)
    seeds = _seeds(head, np.asarray(cv2.resize(inside, (work, work), interpolation=cv2.INTER_AREA), np.uint8))
    # What lies outside the picture must not count among the background's colours.
    rows, columns = (np.flatnonzero((seeds != cv2.GC_BGD).any(axis=axis)) for axis in (1, 0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    colours, labels = np.ascontiguousarray(small[part]), np.ascontiguousarray(seeds[part])
    # GrabCut wants some background, which a face that fills the picture leaves none of.
    if np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        models = np.zeros((1, 65)), np.zeros((1, 65))
        # GrabCut clusters colours at random.
        cv2.setRNGSeed(0)
        cv2.grabCut(colours, labels, (0, 0, 1, 1), models[0], models[1], CUT_OUT_TURNS, cv2.GC_INIT_WITH_MASK)
    seeds[part] = labels
    person = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = _one_piece(person, head)
    soft = cv2.GaussianBlur(person * np.float32(255), (0, 0), max(0.5, EDGE_BLUR * work))
    return np.asarray(cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR).round(), np.uint8)


def silhouette(vertices: Array, triangles: NDArray[np.int32], size: int) -> Mask:
    """Mask [size, size] uint8, 1 where any triangle of vertices [V, 2] (pixels) covers the pixel."""
    filled = np.zeros((size, size), np.uint8)
    for corners in (vertices[triangles] - 0.5).round().astype(np.int32):
        cv2.fillConvexPoly(filled, corners, 1)
    return filled


def _seeds(head: Mask, inside: Mask) -> Mask:
    work = len(head)
    rows, columns = np.nonzero(head)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    middle, width, height = (left + right) / 2, right - left, bottom - top
    y, x = np.mgrid[:work, :work]
    # Rows from the chin down, in heights of the head; the fitted head ends in its neck. Shoulders soon reach twice the
    # head's width, and the chest below the throat is the person's for sure, which tells the colours of the clothes.
    below = (y - (bottom - 0.22 * height)) / height
    aside = np.abs(x - middle) / width
    shoulders = (below > 0) & (aside < 0.4 + 4.0 * below)
    chest = (below > 0.17) & (aside < 0.25 + 0.8 * (below - 0.17))
    neck = (below > 0.07) & (aside < 0.2)
    # Hair all around the skull, but beside the jaw only where its colour says so.
    upper = head * (y < top + 0.6 * height)
    hair = (_grown(upper.astype(np.uint8), HAIR_MARGIN) > 0) & (y < top + 0.65 * height)
    hair |= _grown(head, SURE_MARGIN) > 0
    sure = cv2.erode(head, _disc(SURE_MARGIN * work)) > 0
    seeds = np.full(head.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[hair | shoulders] = cv2.GC_PR_FGD
    seeds[sure | neck | chest] = cv2.GC_FGD
    seeds[inside < 128] = cv2.GC_BGD
    return seeds


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _grown(mask: Mask, share: float) -> Mask:
    return np.asarray(cv2.dilate(mask, _disc(share * len(mask))), np.uint8)


def _one_piece(person: Mask, head: Mask) -> Mask:
    """The piece of a 0/1 mask that holds the head, smooth-edged and without holes."""
    disc = _disc(0.008 * len(person))
    core = np.asarray(cv2.erode(head, disc), np.uint8)
    person = np.asarray(cv2.morphologyEx(person, cv2.MORPH_OPEN, disc), np.uint8) | core
    _, labels = cv2.connectedComponents(person, connectivity=4)
    label = np.bincount(labels[core > 0]).argmax()
    outlines, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(person)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled


def paint_background(crop: Picture, hidden: Mask) -> Picture:
    """The crop [S, S, 3] with what is `hidden` [S, S] > 0, and a margin, painted over smoothly from around it."""
    size = len(crop)
    grown = _grown((hidden > 0).astype(np.uint8), BACKGROUND_MARGIN).astype(np.float32)
    small_size = min(size, BACKGROUND_SIZE)
    small = cv2.resize(crop, (small_size, small_size), interpolation=cv2.INTER_AREA).astype(np.float32)
    small_hidden = cv2.resize(grown, (small_size, small_size), interpolation=cv2.INTER_AREA)
    known = (np.asarray(small_hidden) == 0).astype(np.float32)
    painted = cv2.resize(_spread(small, known), (size, size), interpolation=cv2.INTER_CUBIC)
    share = cv2.GaussianBlur(grown, (0, 0), BACKGROUND_MARGIN / 4 * size)[..., None]
    return np.asarray((painted * share + crop * (1 - share)).round().clip(0, 255), np.uint8)


def _spread(colours: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours [H, W, 3] where `known` [H, W] is 1; elsewhere averages of what is known around."""
    if min(known.shape) <= 1:
        return colours
    share = np.asarray(cv2.pyrDown(known), np.float32)
    average = np.asarray(cv2.pyrDown(colours * known[..., None])) / np.maximum(share, 1e-6)[..., None]
    wide = _spread(average.astype(np.float32), np.minimum(1, 4 * share))
    wide = np.asarray(cv2.pyrUp(wide, dstsize=(known.shape[1], known.shape[0])), np.float32)
    return colours * known[..., None] + wide * (1 - known[..., None])


def over_black(crop: Picture, mask: Mask) -> Picture:
    """The crop [S, S, 3] as far as the mask [S, S] shows it, over black."""
    return np.asarray((crop * (mask[..., None] / np.float32(255))).round(), np.uint8)


def _over_grey(picture: Picture, alpha: Mask | None) -> Picture:
    """What lies under full transparency is arbitrary, so the face finder sees grey there."""
    if alpha is None:
        return picture
    share = alpha[..., None] / np.float32(255)
    return np.asarray((picture * share + 128 * (1 - share)).round(), np.uint8)


def _fitted_to(source: Source, face_model: FaceModel, size: int, path: Path) -> Source:
    """A prepared source brought to this size, after checking that it belongs to the face model."""
    if source.face_model != face_model.name:
        raise HideNerfError(
            f"{path}: this source was prepared with the face model {source.face_model}, but the bundle has "
            f"{face_model.name}; prepare the portrait again with this bundle."
        )
    if len(source.identity) != len(face_model.identity_names):
        raise HideNerfError(
            f"{path}: this source has {len(source.identity)} identity coefficients, but the bundle's face model "
            f"{face_model.name} has {len(face_model.identity_names)}; prepare the portrait again with this bundle."
        )
    if len(source.picture) == size:
        return source
    method = cv2.INTER_AREA if len(source.picture) > size else cv2.INTER_CUBIC

    def resized(picture: Picture) -> Picture:
        return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.uint8)

    return replace(
        source,
        picture=resized(source.picture),
        mask=resized(source.mask),
        background=resized(source.background),
    )
