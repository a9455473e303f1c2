"""Frame pairs of clips: decoded pictures and drawn SECCs, the work of the worker processes on the CPU.

Nothing here imports torch, which worker processes do not need.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.training.data.clips.file import StoredFrame
from hidenerf.training.data.surface_points import surface_points
from hidenerf.training.data.synthetic.geometry import SeccChoice, draw_face_sights, draw_seccs
from hidenerf.training.data.synthetic.rasterise import Rasteriser


class FramePair(NamedTuple):
    """Two frames of a clip.

    frames: their places in the file.
    identity: [K].
    expression: [2, E].
    camera: [2, 25].
    """

    frames: tuple[StoredFrame, StoredFrame]
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    camera: NDArray[np.float32]


class DrawnPair(NamedTuple):
    """One entry of `image_pairs.ImagePairs` as NumPy arrays: fields in the same order, but for the last, without n."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    region: NDArray[np.uint8]
    secc: NDArray[np.uint8]
    camera: NDArray[np.float32]
    surface: NDArray[np.float16]
    face_sight: NDArray[np.float16]


@cache
def clip_face_model() -> FaceModel:
    """The face model of all prepared clips: the shipped one, loaded once."""
    return load_face_model(default_face_model_path())


def draw_frame_pair(pair: FramePair, secc_size: int, seccs: SeccChoice) -> DrawnPair:
    """Read two frames and draw their SECCs. Their face sights do not say what is inside a mouth.

    secc_size: Q. seccs: what the SECCs show; if only one SECC at rest is needed, it is the first frame's.
    Errors: those of `StoredFrame.read`.
    """
    views = list(zip(pair.expression, pair.camera, strict=True))
    pictures, masks, regions = zip(*(stored.read() for stored in pair.frames), strict=True)
    sights = draw_face_sights(clip_face_model(), pair.identity, views, pictures[0].shape[0])
    # What is inside an opened mouth, only synthetic heads teach: here teeth and tongue lie elsewhere than in the mesh.
    sights[:, 3] = np.maximum(sights[:, 3], 0)
    return DrawnPair(
        picture=np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)),
        mask=np.stack(masks)[:, None],
        region=np.stack(regions)[:, None],
        secc=draw_seccs(clip_face_model(), pair.identity, views, seccs, secc_size),
        camera=pair.camera,
        surface=_draw_surface(pair, secc_size // 2),
        face_sight=sights,
    )


def _draw_surface(pair: FramePair, size: int) -> NDArray[np.float16]:
    """`ImagePairs.surface` [2, 6, size, size] of the face model, which has no hair and body."""
    model = clip_face_model()
    vertices = np.stack([model.vertices(pair.identity, expression) for expression in pair.expression])
    rasteriser = _rasteriser(size)
    triangle, barycentric = np.empty((size, size), np.int16), np.empty((2, size, size), np.uint8)
    all_triangles = np.arange(len(model.triangles))
    surfaces = []
    for both, camera in zip((vertices, vertices[::-1]), pair.camera, strict=True):
        rasteriser.draw(both[0], camera, all_triangles, len(all_triangles), triangle, barycentric)
        surfaces.append(surface_points(model.triangles, both, triangle, barycentric))
    return np.stack(surfaces)


@cache
def _rasteriser(size: int) -> Rasteriser:
    """Rasteriser of the face model, size × size pixels; kept for further calls."""
    return Rasteriser(clip_face_model().triangles, size)
