"""Matting networks from packages: which packages are refused, and what is joined and written."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from hidenerf.assets.matting_network import SELFIE_INPUT, main
from hidenerf.runtime.sources.matting_network import open_matting_network, shipped_matting_path
from tests.support.matting_files import red_network

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [cpu])")


def make(kind: str, package: Path, out: Path) -> Result:
    return CliRunner().invoke(main, [kind, str(package), "-o", str(out)])


def write_isnet_package(folder: Path, content: bytes) -> list[Path]:
    """A package as img.ly's, with one network in chunks of at most 60 bytes; returns their paths."""
    folder.mkdir()
    chunks = [content[start : start + 60] for start in range(0, len(content), 60)]
    names = [hashlib.sha256(chunk).hexdigest() for chunk in chunks]
    listed = {"chunks": [{"hash": name} for name in names], "size": len(content)}
    (folder / "resources.json").write_text(json.dumps({"/models/medium": listed}))
    for name, chunk in zip(names, chunks, strict=True):
        (folder / name).write_bytes(chunk)
    return [folder / name for name in names]


def test_the_chunks_of_isnet_are_joined(tmp_path: Path) -> None:
    network = red_network(8, metadata={})
    chunks = write_isnet_package(tmp_path / "package", network.SerializeToString())
    assert len(chunks) > 2
    result = make("isnet", tmp_path / "package", tmp_path / "isnet.onnx")
    assert result.exit_code == 0, result.output
    assert onnx.load(tmp_path / "isnet.onnx").graph == network.graph
    opened = open_matting_network(tmp_path / "isnet.onnx")
    assert opened is not None
    np.testing.assert_array_equal([opened.mean, opened.scale], [[128] * 3, [256] * 3])


def test_other_and_damaged_packages_are_refused(tmp_path: Path) -> None:
    package, out = tmp_path / "package", tmp_path / "out.onnx"
    chunks = write_isnet_package(package, red_network(8, metadata={}).SerializeToString())
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "selfie_segmentation.tflite").write_bytes(b"another network")
    (tmp_path / "other" / "resources.json").write_text("{}")
    chunks[1].write_bytes(chunks[0].read_bytes())
    for kind, place, sentence in (
        ("selfie", "empty", "holds 0 files selfie_segmentation.tflite, not one; give @mediapipe/selfie_segmentation"),
        ("selfie", "other", "selfie_segmentation.tflite has the SHA-256 "),
        ("selfie", "none", "cannot be read"),
        ("isnet", "empty", "holds 0 files resources.json, not one; give @imgly/background-removal-data 1.4.5"),
        ("isnet", "other", "resources.json lists no /models/medium"),
        ("isnet", "package", f"the chunk {chunks[1].name} is damaged"),
    ):
        result = make(kind, tmp_path / place, out)
        assert result.exit_code == 2, result.output
        assert sentence in result.output
        assert "Traceback" not in result.output
        assert not out.exists()
    chunks[1].unlink()
    assert f"holds 0 files {chunks[1].name}" in make("isnet", package, out).output


def test_the_shipped_network_is_what_the_command_makes() -> None:
    model = onnx.load(shipped_matting_path())
    onnx.checker.check_model(model, full_check=True)
    assert {one.key: one.value for one in model.metadata_props} == SELFIE_INPUT
    # MediaPipe's weights are in FP16, and stay so.
    assert {one.data_type for one in model.graph.initializer if len(one.dims) == 4} == {onnx.TensorProto.FLOAT16}
    count = sum(int(np.prod(one.dims)) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT16)
    assert 2 * count < shipped_matting_path().stat().st_size < 250_000
