"""Which engines of a set are still good, and if not, why."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.runtime.bundle import MANIFEST_NAME
from hidenerf.runtime.engines import ENGINES_FOLDER, read_sidecar, verify_plan
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import require_writable_parent

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
    if sidecar["build"] != origin.build:
        return "the build flags changed"
    if sidecar["versions"] != origin.versions:
        return "the library, its parser or Polygraphy changed"
    return None


@contextlib.contextmanager
def engines_aside(bundle: Path) -> Iterator[None]:
    """Keep a bundle's engines while the bundle around them is replaced: they lie beside it meanwhile.

    They come back in any case, those of changed graphs too: the next build then says that the graph changed.
    """
    engines = bundle / ENGINES_FOLDER
    if not engines.is_dir() or not (bundle / MANIFEST_NAME).is_file():
        yield
        return
    require_writable_parent(bundle)
    aside = Path(tempfile.mkdtemp(prefix=f".{bundle.name}.engines.", dir=bundle.absolute().parent))
    try:
        engines.replace(aside / ENGINES_FOLDER)
    except OSError as error:
        aside.rmdir()
        raise HideNerfError(
            f"{engines}: cannot be moved aside ({error.strerror}) while the bundle is written; choose another output."
        ) from None
    try:
        yield
    finally:
        (aside / ENGINES_FOLDER).replace(engines)
        shutil.rmtree(aside)
