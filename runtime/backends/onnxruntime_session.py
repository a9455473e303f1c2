"""ONNX Runtime sessions: how every backend opens the session of one graph."""

from collections.abc import Mapping
from typing import Any

from hidenerf.runtime.bundle import GraphSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import EXPORT_AGAIN

ERRORS_ONLY = 3


def open_session(
    onnxruntime: Any, graph: GraphSpec, provider: str, options: Mapping[str, str] | None = None, threads: int = 0
) -> Any:
    """Open the `InferenceSession` of one graph.

    onnxruntime: the package.
    graph: whose file to load.
    provider: name of the execution provider.
    options: the provider's options.
    threads: how many threads compute one operator; 0 lets ONNX Runtime choose.
    Errors: ONNX Runtime does not load the file.
    """
    try:
        return new_session(onnxruntime, str(graph.path), provider, options, threads)
    except Exception as error:  # ONNX Runtime raises its own types, one for each status code
        raise HideNerfError(
            f"{graph.path}: ONNX Runtime does not load it with {provider} ({error}); {EXPORT_AGAIN}."
        ) from None


def new_session(
    onnxruntime: Any, model: str | bytes, provider: str, options: Mapping[str, str] | None = None, threads: int = 0
) -> Any:
    """The `InferenceSession` of a model, which logs nothing but errors.

    onnxruntime: the package.
    model: path of the file, or its content.
    provider, options, threads: see `open_session`.
    Errors: ONNX Runtime's own.
    """
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = ERRORS_ONLY
    session_options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, session_options, providers=[(provider, dict(options or {}))])
