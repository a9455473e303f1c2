"""Opening a driver: from what a user names as the driving input to its driver."""

from pathlib import Path

from hidenerf.runtime.drivers.base import Driver
from hidenerf.runtime.drivers.registry import DriverOptions, kind_of
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.profiling import StageTimes


def open_driver(
    spec: str,
    *,
    face_model: FaceModel,
    landmarker: Path | None = None,
    face: int | None = None,
    smoothing: float = 1.0,
    times: StageTimes | None = None,
) -> Driver:
    """The driver of a driving input, of any kind in `hidenerf.runtime.drivers.registry`.

    spec: path of a file or folder, or `camera:N`. The other arguments: see `DriverOptions`.
    Errors: no such file, motion for another face model, and those of each kind.
    """
    options = DriverOptions(face_model, landmarker, face, smoothing, times)
    return check_face_model(kind_of(spec).load(spec, options), face_model)


def check_face_model(driver: Driver, face_model: FaceModel) -> Driver:
    """The driver itself. Errors: its coefficients belong to another face model."""
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
