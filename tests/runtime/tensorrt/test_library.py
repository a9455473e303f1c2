"""Which TensorRT is installed, as builder and backend ask it, and what is left of its messages."""

import sys
from typing import Any

import pytest

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.generations import generation_of
from hidenerf.runtime.tensorrt.library import Library, load_library
from hidenerf.runtime.tensorrt.messages import first_cause, plain

NO_DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime "
    "version))"
)


def fake_module(name: str, version: str) -> Any:
    """As far as it is looked at when it is imported."""
    severity = type("Severity", (), {"ERROR": 1, "INTERNAL_ERROR": 0})
    logger = type("ILogger", (), {"Severity": severity})
    return type(name, (), {"__name__": name, "__version__": version, "ILogger": logger})


def test_builder_and_backend_get_one_library_with_one_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT keeps the first logger that a process gives it."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_module("tensorrt", "11.1.0.106"))
    builder, backend = load_library("tensorrt", builds=True), load_library("tensorrt")
    assert builder == backend
    assert builder.logger is backend.logger
    assert builder.title == "TensorRT 11.1.0.106"
    assert not builder.is_lean


def test_the_lean_runtime_serves_the_backend_and_not_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", fake_module("tensorrt_lean", "11.1.0.106"))
    assert load_library("tensorrt").is_lean
    with pytest.raises(
        HideNerfError, match=r"^--backend tensorrt needs the Python package tensorrt; install it with: "
    ):
        load_library("tensorrt", builds=True)


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("7.1.3", "is too old"),
        ("8.4.1", "is too old"),
        ("8.5.2.2", "is too old"),
        ("9.3.0", "is not supported"),
        ("10.0.1", "is not supported"),
    ],
)
def test_other_generations_are_refused_with_the_jetpack_to_take(
    monkeypatch: pytest.MonkeyPatch, version: str, why: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_module("tensorrt", version))
    with pytest.raises(HideNerfError) as caught:
        load_library("tensorrt", builds=True)
    assert str(caught.value) == (
        f"TensorRT {version} {why}, 8.6 or 10.1 and newer is needed; on a Jetson take JetPack 6.0, which has 8.6, or "
        "6.1 and newer with 10.3, elsewhere install it with: pip install 'hidenerf[tensorrt]'"
    )


@pytest.mark.parametrize(
    ("version", "generation"),
    [("8.6.0", "8.6"), ("8.6.2.3", "8.6"), ("10.1.0", "10"), ("10.12.0.36", "10"), ("11.4.0.106", "11")],
)
def test_a_version_has_its_generation(monkeypatch: pytest.MonkeyPatch, version: str, generation: str) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_module("tensorrt", version))
    assert load_library("tensorrt", builds=True).generation.name == generation
    assert generation_of("tensorrt-rtx", version).name == "rtx"


def test_the_reason_is_the_first_error_that_is_not_the_missing_driver() -> None:
    module = fake_module("tensorrt", "11.1.0")
    logger = type("Logger", (), {"errors": []})()
    library = Library("tensorrt", "11.1.0", module, logger)
    assert library.reason() == "it gives no reason"
    logger.errors = [NO_DRIVER, "IRuntime::x: Error Code 2: OutOfMemory (no memory)", "and more"]
    assert library.reason() == "no memory"
    assert first_cause([]) is None
    assert first_cause([NO_DRIVER]) == NO_DRIVER


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion plan.header.size == "
            "blobSize failed. In parsePlan at /_src/runtime/dispatch/runtime.cpp:780)",
            "Serialization assertion plan.header.size == blobSize failed",
        ),
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (In ScopedCudaStream at /_src/common/dispatch/"
            "cudaResources.cpp:25 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))",
            "CUDA driver version is insufficient for CUDA runtime version",
        ),
        (NO_DRIVER, "CUDA driver version is insufficient for CUDA runtime version"),
        ("two\nlines.", "two"),
    ],
)
def test_messages_lose_their_codes_and_source_lines(message: str, expected: str) -> None:
    assert plain(message) == expected
