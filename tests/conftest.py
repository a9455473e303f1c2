"""Where the tests find real media: `../shared/data` beside the checkout; tests that need it skip where it is absent."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is absent: no real portraits and clips here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def face_landmarker(shared_data: Path) -> Path:
    path = shared_data / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the tracker's model is needed here")
    pytest.importorskip("mediapipe", reason="mediapipe is not installed (extra [track])")
    return path
