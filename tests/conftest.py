"""Real media in `../shared/data` beside the checkout, without which tests that need it skip, and small bundles."""

import signal
from pathlib import Path

import pytest

# Started in the background by a shell, we ignore Ctrl-C, and so would the commands whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


def _small_bundle(folder: Path, half: bool) -> Path:
    from hidenerf.export.bundle_writer import write_bundle
    from hidenerf.model.config import ModelConfig
    from hidenerf.model.hidenerf import random_model
    from hidenerf.runtime.face_model import default_face_model_path, load_face_model

    config = ModelConfig(
        name="small",
        image_size=32,
        render_size=32,
        secc_size=64,
        samples_per_ray=4,
        plane_sizes=(8, 16),
        plane_channels=4,
        volume_terms=2,
        volume_depths=(4, 4),
        plane_samples=(4, 4),
        mlp_width=16,
        encoding_octaves=2,
        render_channels=5,
        extractor_channels=(8, 8, 8),
        expression_channels=8,
        position_channels=8,
        lookup_channels=4,
        lookup_stride=4,
        deformation_channels=(8, 8),
        maximum_deformation=0.3,
        identity_channels=(8, 8, 8),
        refiner_channels=(8, 8, 8),
        spade_width=8,
    )
    write_bundle(
        random_model(config, 0),
        folder,
        checkpoint={"random_init": 0},
        face_model=load_face_model(default_face_model_path()),
        half=half,
        report=lambda _: None,
    )
    return folder


@pytest.fixture(scope="session")
def bundle_fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small untrained model with the shipped face model; not to be changed, copy it for that."""
    return _small_bundle(tmp_path_factory.mktemp("bundle") / "fp32", half=False)


@pytest.fixture(scope="session")
def bundle_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in FP16."""
    return _small_bundle(tmp_path_factory.mktemp("bundle") / "fp16", half=True)
