"""Checkpoints: what was saved comes back, and every misfit is named."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from hidenerf.model.checkpoint import (
    CHECKPOINT_FORMAT,
    CHECKPOINT_VERSION,
    SHIPPED,
    load_checkpoint,
    save_checkpoint,
    shipped_checkpoint_path,
)
from hidenerf.model.config import PRESETS
from hidenerf.model.growth import grown
from hidenerf.model.hidenerf import HideNerf
from hidenerf.runtime.errors import HideNerfError
from tests.support.full_disk import run_on_small_disk
from tests.support.tiny import TINY, TINY_ENLARGED, aligned_model, tiny_inputs, tiny_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(tiny_model(), path)
    return path


def write(
    path: Path, change: dict[str, torch.Tensor | None] | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """The tiny checkpoint with some tensors replaced or left out, written without the code under test."""
    tensors: dict[str, torch.Tensor | None] = {**tiny_model().state_dict(), **(change or {})}
    good = {"format": CHECKPOINT_FORMAT, "version": CHECKPOINT_VERSION, "config": json.dumps(TINY.to_dict())}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.torch.save_file(kept, path, good | (metadata or {}))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(HideNerfError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_what_was_saved_comes_back(checkpoint: Path) -> None:
    model, loaded = tiny_model(), load_checkpoint(checkpoint)
    assert loaded.config == TINY
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(loaded(**tiny_inputs()).frame, model(**tiny_inputs()).frame)


def test_saving_leaves_one_file_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "tiny.safetensors"
    save_checkpoint(tiny_model(seed=1), path)
    save_checkpoint(tiny_model(seed=2), path)
    assert list(path.parent.iterdir()) == [path]
    name = "renderer.first.weight"
    assert torch.equal(load_checkpoint(path).get_parameter(name), tiny_model(seed=2).get_parameter(name))


def test_a_missing_tensor_is_named_with_its_shape(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "x.safetensors", {"renderer.first.bias": None}))
    assert "renderer.first.bias [16] is missing" in message


def test_an_extra_tensor_is_named_with_its_shape(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "x.safetensors", {"renderer.third.weight": torch.zeros(2, 5)}))
    assert "renderer.third.weight [2, 5] is not part of the model" in message


def test_a_misshaped_tensor_is_named_with_both_shapes(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "x.safetensors", {"renderer.first.bias": torch.zeros(4, 4)}))
    assert "renderer.first.bias" in message
    assert "[4, 4]" in message
    assert "[16]" in message


def test_of_many_problems_three_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    extra: dict[str, torch.Tensor | None] = {f"extra.{index}": torch.zeros(1) for index in range(5)}
    message = refusal(write(tmp_path / "x.safetensors", extra))
    assert message.count("is not part of the model") == 3
    assert "2 more" in message


def test_tensors_of_another_config_do_not_fit(tmp_path: Path) -> None:
    config = json.dumps(TINY.to_dict() | {"mlp_width": 24})
    message = refusal(write(tmp_path / "x.safetensors", metadata={"config": config}))
    assert "renderer.first.weight is [16, 26] but the config needs [24, 26]" in message


def test_no_such_file(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "nowhere.safetensors")
    assert "no such checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip, as torch.save writes", b"\x80\x04\x95 a pickle"])
def test_another_kind_of_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert "not a readable safetensors file" in refusal(path)


@pytest.mark.parametrize("part", [0.3, 0.999])
def test_a_truncated_file(checkpoint: Path, tmp_path: Path, part: float) -> None:
    path = tmp_path / "x.safetensors"
    content = checkpoint.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert "not a readable safetensors file" in refusal(path)


def test_safetensors_of_another_project(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    assert "not a hidenerf checkpoint" in refusal(path)


def test_another_version(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "x.safetensors", metadata={"version": "9"}))
    assert "version 9" in message
    assert f"reads {CHECKPOINT_VERSION}" in message


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "null",
        "[]",
        "{}",
        json.dumps(TINY.to_dict() | {"mlp_width": 0}),
        json.dumps(TINY.to_dict() | {"secc_size": 64}),
    ],
    ids=["not JSON", "null", "a list", "empty", "ill-typed", "breaks a rule"],
)
def test_a_broken_config_is_refused_with_the_files_name(tmp_path: Path, config: str) -> None:
    refusal(write(tmp_path / "x.safetensors", metadata={"config": config}))


SAVE_ON_A_FULL_DISK = """
import sys
from pathlib import Path
from hidenerf.model.checkpoint import save_checkpoint
from hidenerf.runtime.errors import HideNerfError
from tests.support.tiny import tiny_model
folder = Path(sys.argv[1])
try:
    save_checkpoint(tiny_model(), folder / "x.safetensors")
except HideNerfError as error:
    print(error)
print([path.name for path in folder.iterdir()])
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    result = run_on_small_disk(tmp_path, 64, [sys.executable, "-c", SAVE_ON_A_FULL_DISK, str(tmp_path)])
    assert result.returncode == 0, result.stderr
    message, files = result.stdout.splitlines()
    assert "disk is full" in message
    assert files == "[]"


def enlarged(seed: int = 3) -> HideNerf:
    """`aligned_model` with an enlarger whose every part shows."""
    model, _ = grown(aligned_model("maps and picture", 3), TINY_ENLARGED, seed)
    return model


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    save_checkpoint(aligned_model("maps and picture", 3), tmp_path / "small.safetensors")
    save_checkpoint(enlarged(), tmp_path / "large.safetensors", tmp_path / "small.safetensors")
    return tmp_path / "large.safetensors"


def test_an_extension_holds_what_the_other_checkpoint_lacks(extension: Path) -> None:
    with safetensors.safe_open(extension, framework="pt") as archive:
        assert {name.rpartition(".")[0] for name in archive.keys()} == {  # noqa: SIM118 (not a dict)
            f"refiner.enlarger.{layer}" for layer in ("first", "second", "change")
        }
    loaded = load_checkpoint(extension)
    assert loaded.config == TINY_ENLARGED
    expected = enlarged().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_an_extension_needs_the_checkpoint_that_it_extends(extension: Path) -> None:
    other = extension.with_name("small.safetensors")
    content = other.read_bytes()
    other.unlink()
    assert "extends small.safetensors, which is not beside it" in refusal(extension)
    other.write_bytes(content + b" ")
    assert "extends another small.safetensors" in refusal(extension)
    save_checkpoint(enlarged(), other, extends=write(other.with_name("whole.safetensors")))
    save_checkpoint(enlarged(), extension, extends=other)
    assert "which extends a checkpoint itself" in refusal(extension)


@pytest.mark.parametrize("entry", ["", "[]", '{"name": "small.safetensors"}'])
def test_an_entry_that_names_no_checkpoint_is_shown(tmp_path: Path, entry: str) -> None:
    assert f"'extends' is {entry!r}" in refusal(write(tmp_path / "x.safetensors", metadata={"extends": entry}))


def test_the_shipped_checkpoints_are_of_their_presets() -> None:
    for name in SHIPPED:
        config = load_checkpoint(shipped_checkpoint_path(name)).config
        assert config.name == name
        assert dataclasses.replace(config, alignment=PRESETS[name].alignment) == PRESETS[name]
