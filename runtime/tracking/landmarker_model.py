"""The landmarker's model file, MediaPipe's face_landmarker.task: found, or downloaded once."""

import logging
import os
import zipfile
from pathlib import Path

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of

_logger = logging.getLogger(__name__)

MODEL_NAME = "face_landmarker.task"
MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_VARIABLE = "HIDENERF_FACE_LANDMARKER"
DOWNLOAD_TIMEOUT_SECONDS = 10


def find_landmarker_model(explicit: Path | None = None) -> Path:
    """Path of the tracker's model file.

    Searched in this order: `explicit` (the option --face-landmarker), the environment variable
    HIDENERF_FACE_LANDMARKER, the user's cache; else it is downloaded to the cache and its SHA-256 is checked.
    Errors: a named file that is absent or not such a model, no network.
    """
    if explicit is not None:
        return _named_model(explicit, "--face-landmarker")
    if os.environ.get(MODEL_VARIABLE):
        return _named_model(Path(os.environ[MODEL_VARIABLE]), MODEL_VARIABLE)
    cached = cached_model_path()
    if not (cached.is_file() and sha256_of(cached) == MODEL_SHA256):
        _download(cached)
    return cached


def cached_model_path() -> Path:
    """The model's place in the user's cache, whether or not it is there yet."""
    import pooch

    return Path(pooch.os_cache("hidenerf")) / MODEL_NAME


def _named_model(path: Path, origin: str) -> Path:
    if not path.is_file():
        raise HideNerfError(f"{path}: no such file ({origin}); give the path of {MODEL_NAME}, or leave it out.")
    if not zipfile.is_zipfile(path):
        raise HideNerfError(f"{path}: not a face landmarker model ({origin}); get {MODEL_NAME} from {MODEL_URL}.")
    return path


def _download(target: Path) -> None:
    import pooch

    _logger.info("Downloading the face tracker's model to %s.", target)
    poochs: logging.Logger = pooch.get_logger()
    level = poochs.level
    poochs.setLevel(logging.WARNING)
    try:
        pooch.retrieve(
            MODEL_URL,
            known_hash=f"sha256:{MODEL_SHA256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=DOWNLOAD_TIMEOUT_SECONDS),
        )
    except Exception as error:  # requests, urllib3, the hash check and the disk each raise their own kind
        raise HideNerfError(
            f"The face tracker's model could not be downloaded ({_reason(error)}); get it from {MODEL_URL} on another "
            f"machine and put it at {target}, or name it with --face-landmarker or {MODEL_VARIABLE}."
        ) from None
    finally:
        poochs.setLevel(level)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and "hash" in str(error):
        return "the file that came has another SHA-256"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The exceptions of requests, which pooch downloads with.
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"the server answered {status}" if status is not None else "no connection"
