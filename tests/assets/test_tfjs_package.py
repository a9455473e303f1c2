"""TensorFlow.js packages: weights by hand, from a folder and from a .tgz."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from hidenerf.assets.tfjs_package import package_files, read_manifest
from hidenerf.runtime.errors import HideNerfError

INSTEAD = "give the right one"


def write_package(folder: Path) -> Path:
    """Two files in two groups: bytes 0, 2 and 4 in steps of 0.5 from -1; then a float and two integers."""
    entries = [
        [{"name": "a", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}}],
        [{"name": "b", "shape": [], "dtype": "float32"}, {"name": "c", "shape": [2, 1], "dtype": "int32"}],
    ]
    contents = bytes([0, 2, 4]), np.float32(0.25).tobytes() + np.array([7, -7], np.int32).tobytes()
    (folder / "deep").mkdir(parents=True)
    groups = [{"paths": [f"{number}.bin"], "weights": one} for number, one in enumerate(entries)]
    (folder / "manifest.json").write_text(json.dumps(groups))
    for number, content in enumerate(contents):
        (folder / "deep" / f"{number}.bin").write_bytes(content)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_weights_by_hand(tmp_path: Path, packed: bool) -> None:
    place = write_package(tmp_path / "package")
    if packed:
        with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
            archive.add(place, "package")
        place = tmp_path / "package.tgz"
    found = read_manifest(place, "manifest.json", INSTEAD)
    assert found["a"].tolist() == [-1, 0, 1]
    assert found["b"].tolist() == 0.25
    assert found["c"].tolist() == [[7], [-7]]
    assert found["a"].dtype == np.float32


def test_what_is_missing_or_malformed_is_said(tmp_path: Path) -> None:
    place = write_package(tmp_path / "package")
    with pytest.raises(HideNerfError, match=r"holds 0 files none\.json, not one; give the right one"):
        package_files(place, ["none.json"], INSTEAD)
    (place / "deep" / "0.bin").write_bytes(b"12")
    with pytest.raises(HideNerfError, match=r"package: the weights end before a does; give the right one"):
        read_manifest(place, "manifest.json", INSTEAD)
    (place / "manifest.json").write_text("[1]")
    with pytest.raises(HideNerfError, match=r"manifest\.json is no manifest of TensorFlow\.js"):
        read_manifest(place, "manifest.json", INSTEAD)
