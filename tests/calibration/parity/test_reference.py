import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hidenerf.calibration.parity.reference import model_of
from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.runtime.bundle import Bundle, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import MANIFEST_NAME


def with_checkpoint(folder: Path, entry: Any) -> Bundle:
    """The bundle, its manifest saying this of the weights."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest | {"checkpoint": entry}))
    return open_bundle(folder)


@pytest.fixture
def checkpoint(model: HideNerf, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_checkpoint(random_model(model.config, 9), path)
    return path


def test_untrained_weights_come_from_the_manifests_seed(own_bundle: Path, model: HideNerf) -> None:
    for seed in (0, 3):
        rebuilt = model_of(with_checkpoint(own_bundle, {"random_init": seed}), None)
        expected = random_model(model.config, seed).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in rebuilt.state_dict().items())
        assert not rebuilt.training


def test_the_bundles_own_checkpoint_is_loaded(own_bundle: Path, checkpoint: Path, model: HideNerf) -> None:
    bundle = with_checkpoint(own_bundle, {"sha256": sha256_of(checkpoint), "name": "weights.safetensors"})
    expected = random_model(model.config, 9).state_dict()
    loaded = model_of(bundle, checkpoint).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.items())


def test_another_checkpoint_is_refused(own_bundle: Path, checkpoint: Path) -> None:
    bundle = with_checkpoint(own_bundle, {"sha256": "0" * 64, "name": "other.safetensors"})
    with pytest.raises(HideNerfError, match=sha256_of(checkpoint)) as error:
        model_of(bundle, checkpoint)
    assert "0" * 64 in str(error.value)
    assert "other.safetensors" in str(error.value)


def test_a_needed_checkpoint_is_asked_for(own_bundle: Path) -> None:
    bundle = with_checkpoint(own_bundle, {"sha256": "0" * 64, "name": "other.safetensors"})
    with pytest.raises(HideNerfError, match=r"other\.safetensors.*--checkpoint"):
        model_of(bundle, None)


def test_a_missing_checkpoint_is_named(own_bundle: Path, tmp_path: Path) -> None:
    bundle = with_checkpoint(own_bundle, {"sha256": "0" * 64, "name": "other.safetensors"})
    with pytest.raises(HideNerfError, match=r"nowhere\.safetensors: no such file"):
        model_of(bundle, tmp_path / "nowhere.safetensors")


def test_a_superfluous_checkpoint_is_refused(own_bundle: Path, checkpoint: Path) -> None:
    with pytest.raises(HideNerfError, match="seed 0; leave out --checkpoint"):
        model_of(open_bundle(own_bundle), checkpoint)


@pytest.mark.parametrize("entry", [{}, "seed 0"])
def test_a_manifest_that_does_not_say_which_weights(own_bundle: Path, entry: Any) -> None:
    with pytest.raises(HideNerfError, match="which weights"):
        model_of(with_checkpoint(own_bundle, entry), None)
