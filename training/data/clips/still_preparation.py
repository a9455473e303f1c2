"""Still preparation: makes a prepared clip of pictures of one person; fits the face, crops the head, cuts it out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import project
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.sources.alignment import align, warp
from hidenerf.runtime.sources.alpha import cuts_a_person_out, normalised, over_grey
from hidenerf.runtime.sources.background import continued
from hidenerf.runtime.sources.cut_out import over_black, triangle_mask
from hidenerf.runtime.sources.matting import cut_out_person
from hidenerf.runtime.sources.matting_network import MattingNetwork
from hidenerf.runtime.tracking.identity_fit import FaceFit, fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker
from hidenerf.runtime.tracking.pose import aligned_square, project_head, solve_head_pose
from hidenerf.runtime.tracking.search import find_faces, select_face, smallest_face
from hidenerf.runtime.video.pictures import read_picture_with_alpha
from hidenerf.training.data.clips.file import JPEG_QUALITY, Clip, ClipFrame, encode_frame
from hidenerf.training.data.clips.photometric_fit import grey, refine_fit
from hidenerf.training.data.clips.preparation import FIT, LARGEST_ERROR, PreparedClip, draw_region, name_of_cut_out

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]

MATTE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Values of a matte within this distance of 0 or 255 are set to 0 or 255.
HAZE = 8
# Alpha channels are judged in crops of this side, pixels.
_ALPHA_SIZE = 256
# Frame rate of a clip of pictures; they have none.
_FPS = Fraction(1)


@dataclass(frozen=True)
class StillOptions:
    """Options of `prepare_stills`.

    size: S.
    face: number of the face, from 1, from the left; None requires a single face.
    quality: of the JPEGs, 1 to 100.
    """

    size: int
    face: int | None = None
    quality: int = JPEG_QUALITY


@dataclass(frozen=True)
class Still:
    """A picture with a fitted face.

    path: of the picture's file.
    picture: [H, W, 3].
    mask: [H, W], of the person; None if it has to be computed.
    fit: the fitted face.
    observed: [M, 2], the face model's landmarks as tracked, pixels.
    others: [N, 2] each, landmarks of other faces in the picture, pixels.
    """

    path: Path
    picture: Picture
    mask: Mask | None
    fit: FaceFit
    observed: NDArray[np.floating]
    others: Sequence[NDArray[np.float64]] = ()


def origin_of_stills(
    paths: Sequence[Path],
    mattes: Sequence[Path | None],
    face_model: FaceModel,
    options: StillOptions,
    network: MattingNetwork | None,
) -> str:
    """`Clip.origin` of a clip prepared from these pictures and mattes with these options, JSON.

    network: cuts people out where there is no matte; it enters only there.
    """
    cut_out = {"cut_out": name_of_cut_out(network)} if None in mattes else {}
    return json.dumps(
        {
            "sha256": [sha256_of(path) for path in paths],
            "mattes": [None if matte is None else sha256_of(matte) for matte in mattes],
            "face_model": face_model.name,
            "fit": FIT,
            **cut_out,
            **asdict(options),
        }
    )


def matte_of(path: Path, mattes: Path) -> Path:
    """Path of a picture's matte: the file of the same stem in the folder `mattes`. Errors: there is none."""
    for suffix in MATTE_SUFFIXES:
        matte = mattes / f"{path.stem}{suffix}"
        if matte.is_file():
            return matte
    raise HideNerfError(f"{path}: {mattes} holds no matte {path.stem}.png; add it, or prepare without --mattes.")


def fit_still(
    path: Path,
    matte: Path | None,
    face_model: FaceModel,
    landmarker: FaceLandmarker,
    face: int | None = None,
    network: MattingNetwork | None = None,
) -> Still:
    """Read a picture and fit the face in it.

    matte: of the picture's size; None takes the picture's alpha, if it has any that cuts a person out.
    face: number of the face, see `StillOptions`.
    network: tells whether alpha cuts a person out.
    Errors: the picture cannot be read; no face, or several; a matte of another size; the face model does not fit.
    """
    picture, alpha = read_picture_with_alpha(path)
    alpha = None if alpha is None else normalised(alpha)
    mask = None
    if matte is not None:
        grey, opacity = read_picture_with_alpha(matte)
        mask = np.ascontiguousarray(grey[..., 1] if opacity is None else opacity)
        if mask.shape != picture.shape[:2]:
            raise HideNerfError(
                f"{matte}: this matte has {mask.shape[1]} × {mask.shape[0]} pixels, but its picture "
                f"{picture.shape[1]} × {picture.shape[0]}; make it anew."
            )
    ground = picture if alpha is None else over_grey(picture, alpha)
    faces = find_faces(landmarker, ground)
    observed = select_face(faces, face, str(path), smallest_face(*picture.shape[:2]))
    fit = fit_face(observed, face_model, *picture.shape[:2])
    _, side = aligned_square(fit.pose, fit.intrinsics)
    # Wrong landmarks may put the head behind the camera.
    if side <= 0 or fit.error / side > LARGEST_ERROR:
        raise HideNerfError(f"{path}: the face model does not fit the face in this picture; leave it out.")
    if mask is None and alpha is not None:
        matrix = align(fit.pose, fit.intrinsics, _ALPHA_SIZE).matrix
        vertices = project_head(face_model.vertices(fit.identity, fit.expression), fit.pose, fit.intrinsics)
        vertices = vertices @ matrix[:, :2].T + matrix[:, 2]
        if cuts_a_person_out(ground, alpha, matrix, _ALPHA_SIZE, vertices, face_model, network):
            mask = alpha
        else:
            picture = continued(picture, alpha)
    others = [one.landmarks for one in faces if one is not observed]
    return Still(path, picture, mask, fit, observed.landmarks[face_model.landmark_index], others)


def prepare_stills(
    stills: Sequence[Still],
    name: str,
    origin: str,
    face_model: FaceModel,
    options: StillOptions,
    network: MattingNetwork | None = None,
) -> PreparedClip:
    """Make a clip of pictures of one person; its identity is the mean of the fitted ones.

    name: of the clip.
    origin, network: see `origin_of_stills`.
    """
    identity = np.mean([still.fit.identity for still in stills], axis=0).astype(np.float32)
    crops, matrices, cameras, errors = [], [], [], []
    for still in stills:
        intrinsics, pose, expression = still.fit.intrinsics, still.fit.pose, still.fit.expression
        points = face_model.landmarks(identity, expression).astype(np.float64)
        if len(stills) > 1:
            pose = solve_head_pose(points, still.observed, intrinsics)
        alignment = align(pose, intrinsics, options.size)
        crops.append(_crop(still, alignment.matrix, options.size))
        matrices.append(alignment.matrix)
        cameras.append(alignment.camera)
        scale = float(np.hypot(alignment.matrix[0, 0], alignment.matrix[1, 0]))
        distance = np.linalg.norm(project_head(points, pose, intrinsics) - still.observed, axis=1).mean()
        errors.append(scale * float(distance))
    pictures = [grey(crop.picture) for crop in crops]
    scores = np.array([still.fit.expression for still in stills])
    inside = [crop.inside for crop in crops]
    camera, expression = refine_fit(pictures, inside, np.array(cameras), identity, scores, face_model)
    frames = [
        encode_frame(
            _cut_still(still, matrix, crop, seen, face_model.vertices(identity, shown), face_model, network),
            options.quality,
        )
        for still, matrix, crop, seen, shown in zip(stills, matrices, crops, camera, expression, strict=True)
    ]
    clip = Clip(
        source=name,
        origin=origin,
        face_model=face_model.name,
        expression_names=face_model.expression_names,
        size=options.size,
        fps=_FPS,
        number=np.arange(len(stills)),
        identity=identity,
        expression=expression,
        camera=camera,
    )
    return PreparedClip(clip, frames, float(np.mean(errors)))


@dataclass(frozen=True)
class _StillCrop:
    """Crop of a still: its picture [S, S, 3], `inside` [S, S], 255 where the still has pixels, and its mask [S, S]."""

    picture: Picture
    inside: Mask
    mask: Mask | None


def _crop(still: Still, matrix: NDArray[np.float64], size: int) -> _StillCrop:
    """Crop a still. matrix: [2, 3], from its pixels to those of the crop."""
    whole = np.full(still.picture.shape[:2], 255, np.uint8)
    inside, mask = (
        None if one is None else warp(one, matrix, size, cv2.BORDER_CONSTANT) for one in (whole, still.mask)
    )
    assert inside is not None
    return _StillCrop(warp(still.picture, matrix, size, cv2.BORDER_REPLICATE), inside, mask)


def _cut_still(
    still: Still,
    matrix: NDArray[np.float64],
    crop: _StillCrop,
    camera: NDArray[np.float32],
    vertices: NDArray[np.float32],
    face_model: FaceModel,
    network: MattingNetwork | None,
) -> ClipFrame:
    """Cut the person out of a crop.

    matrix: [2, 3], from the still's pixels to the crop's.
    camera: [25] of the crop.
    vertices: [V, 3] of the fitted head, world units.
    """
    size = len(crop.picture)
    pixels = project(vertices.astype(np.float64), camera) * size
    if crop.mask is not None:
        mask = np.minimum(one_person(crop.mask, triangle_mask(pixels, face_model.triangles, size)), crop.inside)
    else:
        mask = cut_out_person(
            still.picture, matrix, crop.picture, crop.inside, pixels, face_model, network, still.others
        )
    region = np.minimum(draw_region(vertices, camera, face_model, size), mask)
    return ClipFrame(over_black(crop.picture, mask), mask, region)


def one_person(matte: Mask, head: Mask) -> Mask:
    """Clean a matte: round values near 0 and 255, and remove parts that are not connected to the head.

    matte: [S, S].
    head: [S, S], above 0 on the head.
    """
    clean = np.where(matte <= HAZE, 0, np.where(matte >= 255 - HAZE, 255, matte)).astype(np.uint8)
    _, labels = cv2.connectedComponents((clean > 0).astype(np.uint8))
    touching = np.unique(labels[(head > 0) & (clean > 0)])
    return np.asarray(clean * np.isin(labels, touching), np.uint8)
