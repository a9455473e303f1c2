"""Preparing a source: find and fit the face, align the crop, cut the person out, paint the background."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.sources.alignment import Alignment, align, warp
from hidenerf.runtime.sources.alpha import cuts_a_person_out, normalised, over_grey
from hidenerf.runtime.sources.background import continued, paint_background
from hidenerf.runtime.sources.cut_out import over_black, triangle_mask
from hidenerf.runtime.sources.matting import cut_out_person, one_of_several
from hidenerf.runtime.sources.matting_network import MattingNetwork, open_matting_network
from hidenerf.runtime.sources.source import Source, load_source
from hidenerf.runtime.sources.windows import windows
from hidenerf.runtime.tracking.identity_fit import FaceFit, fit_face
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, FaceObservation
from hidenerf.runtime.tracking.pose import project_head
from hidenerf.runtime.tracking.search import find_faces, select_face, smallest_face
from hidenerf.runtime.video.pictures import read_picture_with_alpha, resized

Picture = NDArray[np.uint8]
Alpha = NDArray[np.uint8]

PREPARED_SUFFIX = ".npz"

logger = logging.getLogger(__name__)


def prepare_source(
    path: Path,
    face_model: FaceModel,
    size: int,
    *,
    landmarker: Path | None = None,
    matting: Path | None = None,
    face: int | None = None,
) -> Source:
    """The source of a picture file, or of a prepared source's file (.npz), which is resized where needed.

    size: side S of the source's pictures, pixels.
    landmarker: MediaPipe's model file, see `find_landmarker_model`; a prepared source needs none.
    matting: matting network (.onnx), see `open_matting_network`; a prepared source needs none.
    face: which of several faces, from 1, counted from the left.
    Errors: those of reading the picture, of finding its face and of the matting network; a prepared source of another
    face model.
    """
    if path.suffix.lower() == PREPARED_SUFFIX:
        return _adapted(load_source(path), face_model, size, path)
    picture, alpha = read_picture_with_alpha(path)
    alpha = None if alpha is None else normalised(alpha)
    network = open_matting_network(matting)
    with FaceLandmarker(landmarker, face_model.expression_names) as finder:
        faces = find_faces(finder, picture if alpha is None else over_grey(picture, alpha))
    observed = select_face(faces, face, str(path), smallest_face(*picture.shape[:2]))
    others = [one for one in faces if one is not observed]
    return source_from_face(picture, alpha, observed, face_model, size, network, others)


def source_from_face(
    picture: Picture,
    alpha: Alpha | None,
    observed: FaceObservation,
    face_model: FaceModel,
    size: int,
    network: MattingNetwork | None,
    others: Sequence[FaceObservation] = (),
) -> Source:
    """The source of one observed face in a picture.

    picture: [H, W, 3] uint8 RGB.
    alpha: [H, W] uint8, the picture's opacity, which then is the mask if it cuts a person out; None where it has none.
    size: side S of the source's pictures, pixels.
    network: finds the mask where alpha does not; None: by colour.
    others: the other faces in the picture.
    """
    fit = fit_face(observed, face_model, *picture.shape[:2])
    alignment = align(fit.pose, fit.intrinsics, size)
    matrix = alignment.matrix
    vertices = _vertices_in_crop(fit, face_model, alignment)
    places = [other.landmarks for other in others]
    inside = warp(np.full(picture.shape[:2], 255, np.uint8), matrix, size, cv2.BORDER_CONSTANT)
    opacity = None if alpha is None else warp(alpha, matrix, size, cv2.BORDER_CONSTANT)
    cut = False
    if alpha is not None and opacity is not None:
        cut = cuts_a_person_out(over_grey(picture, alpha), alpha, matrix, size, vertices, face_model, network)
        if not cut:
            logger.info("The picture's transparency cuts no person out; the person is cut out as in an opaque picture.")
            picture, inside = continued(picture, alpha), opacity
    crop = warp(picture, matrix, size, cv2.BORDER_REPLICATE)
    if cut and opacity is not None:
        mask = one_of_several(crop, opacity, matrix, vertices, face_model, places)
    else:
        mask = cut_out_person(picture, matrix, crop, inside, vertices, face_model, network, places)
        # Not in clips: a window that opens in some frames alone would flicker.
        opened = windows(crop, mask, triangle_mask(vertices, face_model.triangles, size))
        mask = np.asarray((mask * (1 - opened)).round(), np.uint8)
    return Source(
        picture=over_black(crop, mask),
        mask=mask,
        background=paint_background(crop, np.maximum(mask, 255 - inside)),
        camera=alignment.camera,
        identity=fit.identity,
        expression=fit.expression,
        face_model=face_model.name,
    )


def _vertices_in_crop(fit: FaceFit, face_model: FaceModel, alignment: Alignment) -> NDArray[np.float64]:
    pixels = project_head(face_model.vertices(fit.identity, fit.expression), fit.pose, fit.intrinsics)
    return pixels @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]


def _adapted(source: Source, face_model: FaceModel, size: int, path: Path) -> Source:
    """A prepared source resized to `size`, after checking that it belongs to the face model."""
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
    return replace(
        source,
        picture=resized(source.picture, size),
        mask=resized(source.mask, size),
        background=resized(source.background, size),
    )
