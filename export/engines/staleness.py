"""Which engines of a set are still good, and if not, why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.engine_set import read_sidecar, verify_plan

MISSING = "there was none"


@dataclass(frozen=True)
class Origin:
    """All that an engine follows from, but for the library and the architecture, which its folder names."""

    source_sha256: str
    build: dict[str, Any]
    versions: dict[str, str]


def stale_reason(folder: Path, graph: str, origin: Origin) -> str | None:
    """Why the engine of `graph` in the set `folder` has to be built, or None if it can stay."""
    if not (folder / f"{graph}.json").exists() and not (folder / f"{graph}.plan").exists():
        return MISSING
    try:
        sidecar = read_sidecar(folder, graph)
        verify_plan(folder, sidecar)
    except HideNerfError:
        return "its files are damaged"
    if sidecar["source"]["sha256"] != origin.source_sha256:
        return "the graph changed"
    if sidecar["build"].get("plugin") != origin.build.get("plugin"):
        return "the plugin changed"
    if sidecar["build"] != origin.build:
        return "the build flags changed"
    if sidecar["versions"] != origin.versions:
        return "the library, its parser or Polygraphy changed"
    return None
