"""Staleness of engines: whether an engine was built from what a build would use now, and if not, what changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.sidecar import read_sidecar, verify_plan

MISSING = "there was none"


@dataclass(frozen=True)
class Ingredients:
    """All that determines an engine, except the library's version and the SM, which its folder names.

    graph_sha256: of the ONNX file.
    flags: the builder's.
    plugin_sha256: of the plugin's library if nodes of the graph are its, otherwise None.
    versions: of the library, its ONNX parser and Polygraphy.
    """

    graph_sha256: str
    flags: dict[str, Any]
    plugin_sha256: str | None
    versions: dict[str, str]


def stale_reason(folder: Path, graph: str, now: Ingredients) -> str | None:
    """Why an engine has to be built, as the end of a sentence; None if it can stay.

    folder: the set of engines.
    graph: name of the engine's graph.
    now: what a build would use.
    """
    if not (folder / f"{graph}.json").exists() and not (folder / f"{graph}.plan").exists():
        return MISSING
    try:
        sidecar = read_sidecar(folder, graph)
        verify_plan(folder, sidecar)
    except HideNerfError:
        return "its files are damaged"
    if sidecar.graph_sha256 != now.graph_sha256:
        return "the graph changed"
    if sidecar.plugin_sha256 != now.plugin_sha256:
        return "the plugin changed"
    if sidecar.flags != now.flags:
        return "the build flags changed"
    if sidecar.versions != now.versions:
        return "the library, its parser or Polygraphy changed"
    return None
