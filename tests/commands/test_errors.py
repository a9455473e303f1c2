"""Errors and exit codes of all commands."""

import errno
import importlib
import importlib.machinery
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from hidenerf.commands.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, user_errors
from hidenerf.runtime.errors import HideNerfError


def exit_of(error: BaseException, extra: str | None = None) -> int | str | None:
    with pytest.raises(SystemExit) as caught, user_errors(extra):
        raise error
    return caught.value.code


def test_what_a_user_can_mend_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(HideNerfError("x.png: no such file; check the path.")) == EXIT_USER_ERROR
    assert capsys.readouterr() == ("", "Error: x.png: no such file; check the path.\n")
    assert exit_of(OSError(errno.ENOSPC, "No space left on device", "out.mp4")) == EXIT_USER_ERROR
    assert capsys.readouterr().err == "Error: The disk is full (out.mp4); free some space and run again.\n"
    assert exit_of(KeyboardInterrupt()) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "Interrupted.\n"


def test_an_error_of_opencv_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, user_errors():
        cv2.resize(np.zeros((0, 0, 3), np.uint8), (4, 4))
    assert caught.value.code == EXIT_USER_ERROR
    written = capsys.readouterr().err
    assert re.fullmatch(
        r"Error: OpenCV cannot process this input \(.+\); try a smaller picture or another file\.\n", written
    )


def test_a_missing_package_is_named_with_the_extra_that_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(ModuleNotFoundError("No module named 'torch'", name="torch"), "export") == EXIT_USER_ERROR
    assert capsys.readouterr().err == (
        "Error: This command needs the package torch, which is not installed; install it with: "
        "pip install 'hidenerf[export]'\n"
    )


@pytest.mark.parametrize(
    ("error", "extra"),
    [
        (OSError(errno.EIO, "Input/output error"), "export"),
        (ImportError("cannot import name 'x' from 'hidenerf.y'", name="hidenerf.y", path="y.py"), "export"),
        (OSError("a bug"), "export"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), None),
        (ModuleNotFoundError("No module named 'hidenerf.x'", name="hidenerf.x"), "export"),
        (ValueError("a bug"), "export"),
    ],
)
def test_bugs_keep_their_traceback(error: Exception, extra: str | None) -> None:
    with pytest.raises(type(error)), user_errors(extra):
        raise error


@pytest.mark.parametrize(
    "body",
    [
        'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")',
        'import importlib\nimportlib.import_module("broken_library.binding")',
        'import ctypes\nctypes.CDLL("libGL.so.1.does.not.exist")',
    ],
)
def test_a_package_that_does_not_load_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: str
) -> None:
    package = tmp_path / "broken_library"
    package.mkdir()
    (package / "__init__.py").write_text(body)
    (package / "binding.py").write_text('raise ImportError("libGL.so.1: no such file.\\nDid you …?")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as caught, user_errors():
        importlib.import_module("broken_library")
    assert caught.value.code == EXIT_USER_ERROR
    said = capsys.readouterr().err
    assert said.startswith("Error: The package broken_library is installed but does not load (libGL.so.1")
    assert said.endswith("; install what it lacks, or the package anew: pip install --force-reinstall broken_library\n")
    assert said.count("\n") == 1


def test_an_extension_module_that_does_not_load_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"broken_extension{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit), user_errors():
        importlib.import_module("broken_extension")
    assert "The package broken_extension is installed but does not load (" in capsys.readouterr().err


BLOCKED = """
import sys
sys.modules[sys.argv.pop(1)] = None
from hidenerf.commands.{command} import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "package", "arguments", "extra"),
    [
        ("train", "torch", ["-o", "out"], "export"),
        ("train", "safetensors", ["-o", "out"], "export"),
        ("evaluate", "torch", ["x.safetensors", "-o", "out"], "export,cpu,track"),
        ("evaluate", "safetensors", ["x.safetensors", "-o", "out"], "export,cpu,track"),
        ("tune_refiner", "torch", ["x.safetensors", "-o", "new.safetensors"], "export"),
        ("sample_sheet", "torch", ["-o", "x.png"], "export"),
        ("export", "torch", ["-o", "bundle"], "export"),
        ("export", "onnx", ["-o", "bundle"], "export"),
        ("export", "onnxscript", ["-o", "bundle"], "export"),
        ("calibrate", "torch", ["-o", "x.json"], "export,cpu"),
        ("parity", "torch", ["bundle"], "export,cpu"),
        ("clips", "mediapipe", ["clips", "-o", "out", "--face-landmarker", "x.task"], "track"),
        ("facemodel", "mediapipe", ["bake", "--face-landmarker", "x.task"], "facemodel"),
        ("facemodel", "scipy", ["bfm", "x.mat"], "track"),
    ],
)
def test_commands_without_a_package_of_an_extra(
    tmp_path: Path, command: str, package: str, arguments: list[str], extra: str
) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "clip.mp4").write_bytes(b"not a film")
    (tmp_path / "x.task").write_bytes(b"not a model")
    script = BLOCKED.format(command=command)
    result = subprocess.run(
        [sys.executable, "-c", script, package, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    (sentence,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert package.lower() in sentence.lower()
    assert "pip install " in sentence
    assert f"'hidenerf[{extra}]'" in sentence
    assert [path.name for path in tmp_path.iterdir() if path.name != "x.task"] == ["clips"]
