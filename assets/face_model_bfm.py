"""The Basel Face Model 2009 as Deep3DFaceRecon_pytorch uses it, from the user's own licensed file.

The file is `BFM_model_front.mat`, which that project's `transferBFM09` writes: a face cropped to 35,709 vertices, in
decimetres, x to the subject's left, y up, z out of the face, bases scaled so that coefficients are N(0, 1). Its mean
shape is moved, not turned, so that its face lies where the default face model's lies; Deep3DFaceRecon itself puts its
origin at the mean of the vertices, which is `mean.mean(axis=0)` here.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import METRES_PER_UNIT
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model, normalised_coordinates

Array = NDArray[np.float64]

UNITS_PER_DECIMETRE = 0.1 / METRES_PER_UNIT

# MediaPipe's number for each of dlib's 68 landmarks: jaw, brows, nose, eyes, outer and inner lips, from the
# subject's right to the left. Along the jaw the nearest at equal arc lengths.
MEDIAPIPE_FOR_DLIB = (
    127, 234, 132, 58, 172, 136, 149, 176, 152, 400, 378, 365, 397, 288, 361, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 195, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip

_JAW = slice(0, 17)
_JAW_WEIGHT = 0.35
_IDENTITY = 80
_EXPRESSION = 64
# Coefficients here have unit variance; the default model's, whose weights are around one, a tenth of it.
_IDENTITY_PRIOR = 0.1


def face_model_from_bfm(path: Path) -> FaceModel:
    """The face model "bfm2009" of a `BFM_model_front.mat`: 80 identity and 64 expression coefficients, 68 landmarks.

    Errors: no such file, not a `.mat` file, a missing array, other sizes or units, a mirrored or turned face.
    """
    arrays = _read(path)
    mean = arrays["meanshape"].astype(np.float64).reshape(-1, 3)
    triangles = arrays["tri"].astype(np.int64) - 1
    keypoints = arrays["keypoints"].astype(np.int64).reshape(-1) - 1
    _check(path, mean, triangles, keypoints, arrays)
    mean = mean * UNITS_PER_DECIMETRE
    mean += _offset_to_default_face(mean[keypoints])
    weight = np.ones(len(keypoints), np.float32)
    weight[_JAW] = _JAW_WEIGHT
    return FaceModel(
        name="bfm2009",
        mean=mean.astype(np.float32),
        identity_basis=_basis(arrays["idBase"]),
        identity_names=tuple(f"id_{i}" for i in range(_IDENTITY)),
        identity_prior=np.full(_IDENTITY, _IDENTITY_PRIOR, np.float32),
        expression_basis=_basis(arrays["exBase"]),
        expression_names=tuple(f"exp_{i}" for i in range(_EXPRESSION)),
        triangles=_outwards(mean, triangles).astype(np.int32),
        ncc=normalised_coordinates(mean),
        landmark_index=np.array(MEDIAPIPE_FOR_DLIB, np.int32),
        landmark_vertices=np.repeat(keypoints[:, None], 3, axis=1).astype(np.int32),
        landmark_barycentric=np.tile(np.array([1, 0, 0], np.float32), (len(keypoints), 1)),
        landmark_weight=weight,
    )


def _read(path: Path) -> dict[str, NDArray]:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise HideNerfError("scipy is not installed; run pip install 'hidenerf[track]'.") from None
    if not path.is_file():
        raise HideNerfError(f"{path}: no such file; give your BFM_model_front.mat from Deep3DFaceRecon_pytorch.")
    names = ("meanshape", "idBase", "exBase", "tri", "keypoints")
    try:
        arrays = loadmat(path, variable_names=names)
    except (MatReadError, ValueError, TypeError, OSError, EOFError, NotImplementedError) as error:
        raise HideNerfError(f"{path}: not a readable .mat file ({error}); write it with transferBFM09.") from None
    for name in names:
        if name not in arrays:
            raise HideNerfError(f"{path}: has no {name}; give BFM_model_front.mat as transferBFM09 writes it.")
    return arrays


def _check(path: Path, mean: Array, triangles: NDArray, keypoints: NDArray, arrays: dict[str, NDArray]) -> None:
    rows = 3 * len(mean)
    expected = {"idBase": (rows, _IDENTITY), "exBase": (rows, _EXPRESSION), "tri": (len(triangles), 3)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise HideNerfError(f"{path}: {name} has shape {list(arrays[name].shape)} where {list(shape)} is needed.")
    if len(keypoints) != len(MEDIAPIPE_FOR_DLIB):
        raise HideNerfError(f"{path}: has {len(keypoints)} keypoints where dlib's 68 are needed.")
    for name, numbers in (("tri", triangles), ("keypoints", keypoints)):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(mean):
            raise HideNerfError(f"{path}: {name} names vertices outside the {len(mean)} of meanshape.")
    width = float(np.ptp(mean[:, 0]))
    if not 0.8 < width < 3:
        raise HideNerfError(f"{path}: the face is {width:.3g} wide; give decimetres, as transferBFM09 does.")
    right_eye, left_eye, chin, brow = mean[keypoints[[36, 45, 8, 27]]]
    if left_eye[0] <= right_eye[0] or brow[1] <= chin[1]:
        raise HideNerfError(f"{path}: the face is mirrored or upside down; x must point to its left and y up.")


def _offset_to_default_face(keypoints: Array) -> Array:
    default = load_face_model(default_face_model_path())
    place = dict(zip(default.landmark_index.tolist(), default.landmark_mean, strict=True))
    default_keypoints = np.stack([place[number] for number in MEDIAPIPE_FOR_DLIB])
    inner = slice(_JAW.stop, None)
    return (default_keypoints[inner] - keypoints[inner]).mean(axis=0)


def _basis(columns: NDArray) -> NDArray[np.float32]:
    """[3V, N] in decimetres → [N, V, 3] in world units."""
    scaled = columns.astype(np.float64) * UNITS_PER_DECIMETRE
    return np.ascontiguousarray(scaled.T.reshape(columns.shape[1], -1, 3), np.float32)


def _outwards(mean: Array, triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """The triangles, all turned over if together they face into the head: a face looks along z."""
    a, b, c = (mean[triangles[:, corner]] for corner in range(3))
    facing = np.cross(b - a, c - a)[:, 2].sum()
    return triangles if facing >= 0 else triangles[:, ::-1]
