"""`hidenerf-facemodel`: files that can be loaded, errors in one sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hidenerf.commands.facemodel import main
from hidenerf.runtime.face_model import default_face_model_path, load_face_model, save_face_model
from hidenerf.runtime.motion import load_motion
from hidenerf.runtime.sources.source import load_source


def test_bfm_without_a_file(tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    result = CliRunner().invoke(main, ["bfm", str(tmp_path / "absent.mat"), "--output", str(output)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path / 'absent.mat'}: no such file")
    assert not output.exists()


def test_bake_without_the_trackers_model(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    absent, output = tmp_path / "absent.task", tmp_path / "out.npz"
    result = CliRunner().invoke(main, ["bake", "--face-landmarker", str(absent), "--output", str(output)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {absent}: no such file")
    assert not output.exists()


def test_teeth_are_added(tmp_path: Path) -> None:
    bare, output = tmp_path / "bare.npz", tmp_path / "out.npz"
    shipped = load_face_model(default_face_model_path())
    save_face_model(replace(shipped, teeth=None), bare)
    result = CliRunner().invoke(main, ["teeth", str(bare), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "landmarks, with teeth" in result.output
    found = load_face_model(output)
    assert found.teeth is not None
    assert shipped.teeth is not None
    assert found.teeth.mean.tolist() == shipped.teeth.mean.tolist()
    assert found.mean.tolist() == shipped.mean.tolist()


def test_teeth_without_a_file(tmp_path: Path) -> None:
    absent, output = tmp_path / "absent.npz", tmp_path / "out.npz"
    result = CliRunner().invoke(main, ["teeth", str(absent), "--output", str(output)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {absent}: no such file")
    assert not output.exists()


@pytest.mark.slow
def test_demo_assets(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo-assets", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert load_source(tmp_path / "demo_source.npz").picture.shape == (256, 256, 3)
    assert len(load_motion(tmp_path / "demo_motion.npz")) == 125
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    CliRunner().invoke(main, ["demo-assets", "--output", str(tmp_path)])
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sum(map(len, first.values())) < 300_000
    assert np.all([name in first for name in ("demo_source.npz", "demo_motion.npz")])
