"""`Backend`: what a subclass gets without doing anything, which is the SECC drawn on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hidenerf.runtime.backends.base import Backend, Float, Frame
from hidenerf.runtime.bundle import Bundle, open_bundle
from hidenerf.runtime.camera import canonical_camera
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import load_face_model
from hidenerf.runtime.profiling import StageTimes
from hidenerf.runtime.secc import secc


class Recording(Backend):
    """Keeps what it is asked to render."""

    name = "recording"

    def __init__(self, bundle: Bundle, times: StageTimes) -> None:
        super().__init__(bundle, times)
        self.rendered: list[tuple[Float, Float]] = []

    @classmethod
    def load_graphs(cls, bundle: Bundle) -> dict[str, Any]:
        return {name: object() for name in bundle.graphs}

    def encode_source(self, source_image: Float, source_camera: Float, secc_canonical: Float) -> None:
        pass

    def render_secc(self, secc_driving: Float, camera: Float, face_sight: Float | None = None) -> Frame:
        assert face_sight is None
        self.rendered.append((secc_driving, camera))
        return np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def bundle(bundle_fp16: Path) -> Bundle:
    return open_bundle(bundle_fp16)


def test_an_expression_is_rendered_by_its_secc(bundle: Bundle) -> None:
    face_model = load_face_model(bundle.face_model_path)
    rng = np.random.default_rng(0)
    identity = rng.normal(0, 0.3, len(face_model.identity_names)).astype(np.float32)
    expression = rng.uniform(0, 0.6, len(face_model.expression_names)).astype(np.float32)
    camera = canonical_camera(10.0, 4.0, 0.0)[None]
    times = StageTimes()
    backend = Recording(bundle, times)
    backend.set_face(face_model, face_model.vertices_with_teeth(identity, np.zeros_like(expression)))
    backend.render(expression, camera)
    ((found, found_camera),) = backend.rendered
    expected = secc(face_model.vertices(identity, expression), face_model, bundle.secc_size)
    assert found.shape == (1, 3, bundle.secc_size, bundle.secc_size)
    assert np.mean(np.abs(found[0] - expected) > 1e-3) < 1e-3
    assert found_camera is camera
    assert times.percentile("secc", 50) > 0


def test_an_expression_without_a_face_is_refused(bundle: Bundle) -> None:
    with pytest.raises(HideNerfError, match="No face has been set"):
        Recording(bundle, StageTimes()).render(np.zeros(3, np.float32), canonical_camera()[None])


def test_a_face_without_its_teeth_is_refused(bundle: Bundle) -> None:
    face_model = load_face_model(bundle.face_model_path)
    with pytest.raises(HideNerfError, match=r"shape \[4570, 3\].*with its teeth \[4988, 3\]"):
        Recording(bundle, StageTimes()).set_face(face_model, face_model.mean)


def test_frames_have_the_graphs_precision(bundle: Bundle) -> None:
    assert Recording(bundle, StageTimes()).frame_precision == "fp16"
