"""Deep3DFaceRecon coefficients (`.mat`) for the BFM 2009 face model.

Conventions of the repository that makes them (sicxu/Deep3DFaceRecon_pytorch), in its units of 0.1 m: a vertex v of the
face, whose mean shape is centred on its vertices' mean, stands at R v + t with R = Rz Ry Rx of `angle` (radians); a
camera of focal length 1015 pixels for 224×224 looks at it from z = 10; x right, y up, z towards the camera.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import METRES_PER_UNIT, WORLD_TO_FRONTAL
from hidenerf.runtime.drivers.base import MotionDriver
from hidenerf.runtime.drivers.registry import DriverOptions
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.files import natural_order
from hidenerf.runtime.motion import Motion
from hidenerf.runtime.tracking.pose import HeadPose, aligned_square, square_camera

FACE_MODEL_NAME = "bfm2009"
# The files do not say their frame rate.
FPS = Fraction(25)
MAT_SUFFIX = ".mat"

# Where the coefficients lie in a row of all of them; rows of 260 have the crop appended.
ROW_LENGTHS = (257, 260)
ROW_PARTS = {"exp": slice(80, 144), "angle": slice(224, 227), "trans": slice(254, 257)}
PART_LENGTHS = {"exp": 64, "angle": 3, "trans": 3}

UNIT_METRES = 0.1
CAMERA_DISTANCE = 10.0
INTRINSICS = np.array([[1015.0, 0.0, 112.0], [0.0, 1015.0, 112.0], [0.0, 0.0, 1.0]])

Array = NDArray[np.float64]


def open_deep3d_mat(spec: str, options: DriverOptions) -> MotionDriver:
    """The driver of coefficients. Errors: those of `load_deep3d_mat`."""
    return MotionDriver(load_deep3d_mat(Path(spec), options.face_model))


def load_deep3d_mat(path: Path, face_model: FaceModel) -> Motion:
    """Read a `.mat` file of a whole clip, or a folder of one per frame in the order of their names' numbers.

    A file holds either exp [T, 64], angle [T, 3] and trans [T, 3], or one array of [T, 257] or [T, 260]. The camera is
    that of an aligned square chosen on the first frame. Errors: no such file, not a readable `.mat`, coefficients
    missing, another face model than BFM 2009.
    """
    if face_model.name != FACE_MODEL_NAME or len(face_model.expression_names) != PART_LENGTHS["exp"]:
        raise HideNerfError(
            f"{path}: Deep3DFaceRecon coefficients belong to the face model {FACE_MODEL_NAME}, but the bundle has "
            f"{face_model.name}; export a bundle with your own BFM 2009 file."
        )
    parts = [_read_parts(file) for file in _files(path)]
    expression, angle, trans = (np.concatenate([part[key] for part in parts]) for key in ("exp", "angle", "trans"))
    return Motion(
        face_model=face_model.name,
        expression_names=face_model.expression_names,
        expression=expression.astype(np.float32),
        camera=_cameras(angle, trans, face_model),
        tracked=np.ones(len(expression), np.bool_),
        fps=FPS,
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob(f"*{MAT_SUFFIX}"), key=natural_order)
    if not files:
        raise HideNerfError(f"{path}: there are no .mat files in this folder; give one with a file per frame.")
    return files


def _read_parts(path: Path) -> dict[str, Array]:
    arrays = _load(path)
    if all(key in arrays for key in PART_LENGTHS):
        parts = {key: _rows(path, key, arrays[key], length) for key, length in PART_LENGTHS.items()}
    else:
        whole = [a for a in arrays.values() if a.ndim in (1, 2) and a.shape[-1] in ROW_LENGTHS]
        if not whole:
            raise HideNerfError(
                f"{path}: no Deep3DFaceRecon coefficients (it holds {', '.join(sorted(arrays)) or 'nothing'}); it must "
                "hold exp, angle and trans, or one array of 257 columns."
            )
        rows = np.atleast_2d(whole[0]).astype(np.float64)
        parts = {key: rows[:, part] for key, part in ROW_PARTS.items()}
    if len({len(part) for part in parts.values()}) != 1:
        lengths = ", ".join(f"{key} {len(part)}" for key, part in parts.items())
        raise HideNerfError(f"{path}: the numbers of frames differ ({lengths}); write the file anew.")
    return parts


def _rows(path: Path, key: str, array: NDArray, length: int) -> Array:
    if array.ndim > 2 or array.shape[-1] != length or array.dtype.kind not in "fiu":
        raise HideNerfError(f"{path}: {key} has shape {list(array.shape)} where [T, {length}] is needed.")
    return np.atleast_2d(array).astype(np.float64)


def _load(path: Path) -> Mapping[str, NDArray]:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise HideNerfError("Reading .mat files needs SciPy; run: pip install 'hidenerf[track]'.") from None
    try:
        loaded = loadmat(str(path), appendmat=False)
    except FileNotFoundError:
        raise HideNerfError(f"{path}: no such file; give the path of a .mat file.") from None
    except NotImplementedError:
        raise HideNerfError(f"{path}: this .mat file is of version 7.3; save it again with the option -v7.") from None
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, EOFError, MemoryError) as error:
        raise HideNerfError(f"{path}: not a readable .mat file ({error}); write it anew.") from None
    return {
        key: array
        for key, array in loaded.items()
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiu" and array.ndim > 0
    }


def _cameras(angle: Array, trans: Array, face_model: FaceModel) -> NDArray[np.float32]:
    """Cameras [T, 25] from angles [T, 3] and translations [T, 3]."""
    scale = METRES_PER_UNIT / UNIT_METRES
    # The coefficients' origin is the mean of the mean shape's vertices, seen from the face model's own origin.
    origin = face_model.mean.astype(np.float64).mean(axis=0)
    poses = []
    for angles, shift in zip(angle, trans, strict=True):
        rotation = _rotation(*angles)
        in_camera = WORLD_TO_FRONTAL @ shift + np.array([0.0, 0.0, CAMERA_DISTANCE])
        poses.append(HeadPose(rotation, in_camera / scale - WORLD_TO_FRONTAL @ rotation @ origin))
    square = aligned_square(poses[0], INTRINSICS)
    return np.stack([square_camera(pose, INTRINSICS, *square) for pose in poses])


def _rotation(x: float, y: float, z: float) -> Array:
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
