"""From what a user names as the driving input to its driver."""

from pathlib import Path

from hidenerf.runtime.drivers.base import Driver, MotionDriver
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.profiling import StageTimes

CAMERA_PREFIX = "camera:"
KINDS = "a motion file (.npz), an ARKit CSV, a Deep3DFaceRecon .mat, a picture, a video, or camera:N"


def open_driver(
    spec: str,
    *,
    face_model: FaceModel,
    landmarker: Path | None = None,
    face: int | None = None,
    smoothing: float = 1.0,
    times: StageTimes | None = None,
) -> Driver:
    """The driver for a path or `camera:N`; the kind of a file is told by its content, that of a CSV by its name.

    face_model: the bundle's. landmarker: MediaPipe's model file, see `find_landmarker_model`. face: which of several
    faces, 1-based from the left. smoothing: of tracked motion, 1 is the default, 0 none. times: where the stages'
    durations are added up. Errors: no such file (never a camera in its place), an unknown kind, motion for another face
    model, and those of each kind.
    """
    if spec.startswith(CAMERA_PREFIX):
        source: Path | int = _camera_number(spec)
        still = False
    else:
        source = Path(spec)
        motion = _motion_driver(source, face_model)
        if motion is not None:
            return check_face_model(motion, face_model)
        still = _is_picture(source)
    from hidenerf.runtime.drivers.video import VideoDriver

    return VideoDriver(
        source,
        still=still,
        face_model=face_model,
        landmarker=landmarker,
        face=face,
        smoothing=smoothing,
        times=times,
    )


def check_face_model(driver: Driver, face_model: FaceModel) -> Driver:
    """The driver itself, if its coefficients belong to this face model; otherwise a `HideNerfError`."""
    if driver.face_model != face_model.name:
        raise HideNerfError(
            f"The motion was made for the face model {driver.face_model}, but the bundle has {face_model.name}; record "
            "it again with this bundle, or use a bundle with that face model."
        )
    if driver.expression_names != face_model.expression_names:
        raise HideNerfError(
            f"The motion's {len(driver.expression_names)} expressions are not the {len(face_model.expression_names)} "
            f"of the bundle's face model {face_model.name}; record it again with this bundle."
        )
    return driver


def _motion_driver(path: Path, face_model: FaceModel) -> MotionDriver | None:
    """The driver of a file that holds motion itself; None for pictures and videos."""
    if path.is_dir():
        from hidenerf.runtime.drivers.deep3d_mat import load_deep3d_mat

        return MotionDriver(load_deep3d_mat(path, face_model))
    if not path.is_file():
        raise HideNerfError(f"{path}: no such file; give {KINDS}.")
    start = _first_bytes(path)
    suffix = path.suffix.lower()
    if suffix == ".npz" or start.startswith(b"PK\x03\x04"):
        return MotionDriver(load_motion(path))
    if suffix == ".csv":
        from hidenerf.runtime.drivers.arkit_csv import load_arkit_csv

        return MotionDriver(load_arkit_csv(path, face_model))
    if suffix == ".mat" or start.startswith(b"MATLAB "):
        from hidenerf.runtime.drivers.deep3d_mat import load_deep3d_mat

        return MotionDriver(load_deep3d_mat(path, face_model))
    return None


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError as error:
        raise HideNerfError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None


def _is_picture(path: Path) -> bool:
    from hidenerf.runtime.video.pictures import is_picture

    return is_picture(path)


def _camera_number(spec: str) -> int:
    number = spec.removeprefix(CAMERA_PREFIX)
    if not (number.isascii() and number.isdigit()):
        raise HideNerfError(f"{spec}: not a camera; give camera:0 for the first one.")
    return int(number)
