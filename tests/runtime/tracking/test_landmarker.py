import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS, limit_mouth_close
from hidenerf.runtime.tracking.landmarker import FaceLandmarker, map_scores, score_order
from tests.support.faces import portrait


def test_scores_are_mapped_by_name_and_a_missing_one_is_zero() -> None:
    names = ("tongueOut", "mouthClose", "jawOpen")
    order = score_order(["_neutral", "jawOpen", "mouthClose"], names)
    np.testing.assert_array_equal(order, [-1, 2, 1])
    np.testing.assert_allclose(map_scores(np.array([0.9, 0.6, 0.2]), order, names), [0.0, 0.2, 0.6])


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=2))
def test_scores_stay_in_their_bounds(scores: list[float]) -> None:
    names = ("mouthClose", "jawOpen")
    close, jaw = map_scores(np.array(scores), np.array([0, 1]), names)
    assert 0 <= close <= jaw <= 1


def test_mouth_close_is_limited_in_every_row() -> None:
    expression = np.array([[0.5, 0.2], [0.1, 0.2]], np.float32)
    limited = limit_mouth_close(expression, ("mouthClose", "jawOpen"))
    np.testing.assert_allclose(limited, [[0.2, 0.2], [0.1, 0.2]])
    np.testing.assert_allclose(expression, [[0.5, 0.2], [0.1, 0.2]])


def test_the_smile_of_a_portrait_and_its_landmarks(shared_data: Path, face_landmarker: Path) -> None:
    with FaceLandmarker(face_landmarker, ARKIT_EXPRESSIONS) as landmarker:
        (face,) = landmarker.detect(portrait(shared_data, "src_obama.jpg"))
    assert face.landmarks.shape == (478, 2)
    scores = dict(zip(ARKIT_EXPRESSIONS, face.scores, strict=True))
    assert scores["mouthSmileLeft"] > 0.5
    assert scores["mouthSmileRight"] > 0.5
    assert scores["tongueOut"] == 0
    assert scores["eyeBlinkLeft"] < 0.4
    # Landmark 468 is the iris of the subject's right eye, on the picture's left.
    # Where they are was read off the picture.
    np.testing.assert_allclose(face.landmarks[468], [444, 214], atol=4)
    np.testing.assert_allclose(face.landmarks[473], [549, 212], atol=4)


def test_a_model_file_that_mediapipe_cannot_read_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(HideNerfError, match=r"wrong\.task: MediaPipe cannot read"):
        FaceLandmarker(wrong, ARKIT_EXPRESSIONS)


def test_expressions_that_are_not_arkits_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(HideNerfError, match="are not ARKit's"):
        FaceLandmarker(tmp_path / "any.task", [f"exp{i}" for i in range(64)])


def test_versions_that_report_to_their_maker_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.2.2")
    with pytest.raises(HideNerfError, match=r"MediaPipe 1\.2\.2 .* pip install 'mediapipe<1\.0'"):
        FaceLandmarker(tmp_path / "any.task", ARKIT_EXPRESSIONS)


def test_without_mediapipe_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(HideNerfError, match=r"pip install 'hidenerf\[track\]'"):
        FaceLandmarker(tmp_path / "any.task", ARKIT_EXPRESSIONS)


def test_nothing_is_written_to_the_terminal(shared_data: Path, face_landmarker: Path) -> None:
    code = (
        "import sys, cv2, pathlib\n"
        "from hidenerf.runtime.tracking.arkit import ARKIT_EXPRESSIONS\n"
        "from hidenerf.runtime.tracking.landmarker import FaceLandmarker\n"
        "with FaceLandmarker(pathlib.Path(sys.argv[1]), ARKIT_EXPRESSIONS) as landmarker:\n"
        "    print(len(landmarker.detect(cv2.imread(sys.argv[2])[:, :, ::-1])))\n"
        "sys.stderr.write('mine')\n"
    )
    arguments = [sys.executable, "-c", code, str(face_landmarker), str(shared_data / "src_obama.jpg")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "mine")
