import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.tracking import landmarker_model
from hidenerf.runtime.tracking.landmarker_model import MODEL_SHA256, MODEL_VARIABLE, find_landmarker_model


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    return tmp_path / "cache" / "hidenerf"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder behind a local web server; the model is asked of it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(landmarker_model, "MODEL_URL", f"http://127.0.0.1:{server.server_port}/face_landmarker.task")
    yield folder
    server.shutdown()


def test_the_option_comes_before_the_variable_and_the_variable_before_the_cache(
    face_landmarker: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_option, by_variable = tmp_path / "option.task", tmp_path / "variable.task"
    empty_cache.mkdir(parents=True)
    for path in (by_option, by_variable, empty_cache / "face_landmarker.task"):
        shutil.copy(face_landmarker, path)
    assert find_landmarker_model() == empty_cache / "face_landmarker.task"
    monkeypatch.setenv(MODEL_VARIABLE, str(by_variable))
    assert find_landmarker_model() == by_variable
    assert find_landmarker_model(by_option) == by_option


def test_a_named_file_that_is_absent_is_an_error_that_names_who_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent.task"
    with pytest.raises(HideNerfError, match=r"absent\.task: no such file \(--face-landmarker\)"):
        find_landmarker_model(absent)
    monkeypatch.setenv(MODEL_VARIABLE, str(absent))
    with pytest.raises(HideNerfError, match=r"absent\.task: no such file \(HIDENERF_FACE_LANDMARKER\)"):
        find_landmarker_model()


def test_a_named_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    wrong = tmp_path / "model.task"
    wrong.write_bytes(b"<html>not found</html>")
    with pytest.raises(HideNerfError, match="not a face landmarker model"):
        find_landmarker_model(wrong)


def test_it_is_downloaded_once_and_its_sum_checked(face_landmarker: Path, served: Path, empty_cache: Path) -> None:
    shutil.copy(face_landmarker, served / "face_landmarker.task")
    path = find_landmarker_model()
    assert path == empty_cache / "face_landmarker.task"
    assert sha256_of(path) == MODEL_SHA256
    (served / "face_landmarker.task").unlink()
    assert find_landmarker_model() == path


def test_a_damaged_copy_in_the_cache_is_fetched_again(face_landmarker: Path, served: Path, empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "face_landmarker.task").write_bytes(b"half a file")
    shutil.copy(face_landmarker, served / "face_landmarker.task")
    assert sha256_of(find_landmarker_model()) == MODEL_SHA256


def test_another_file_in_its_place_is_refused_and_not_kept(served: Path, empty_cache: Path) -> None:
    (served / "face_landmarker.task").write_bytes(b"something else")
    with pytest.raises(HideNerfError, match="has another SHA-256"):
        find_landmarker_model()
    assert list(empty_cache.iterdir()) == []


def test_without_a_network_it_says_where_from_and_where_to(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on the discard port of this machine.
    url = "http://127.0.0.1:9/face_landmarker.task"
    monkeypatch.setattr(landmarker_model, "MODEL_URL", url)
    with pytest.raises(HideNerfError, match="could not be downloaded") as raised:
        find_landmarker_model()
    message = str(raised.value)
    assert url in message
    assert str(empty_cache / "face_landmarker.task") in message
    assert "--face-landmarker" in message
    assert MODEL_VARIABLE in message
    assert "\n" not in message
