"""Sets of engines in a bundle: `engines/<backend>-<version>-sm<SM>/<graph>.plan`, each with a sidecar `<graph>.json`.

A set serves one library version and one SM. It is self-contained: its sidecars hold the hashes of the engines and of
the graphs they were built from. So a set can be deleted, or copied from the machine that built it, without touching the
manifest. The engines' files are as the library wrote them, so that `trtexec --loadEngine` takes them.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidenerf.runtime.backends.registry import backend_entry
from hidenerf.runtime.bundle import Bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.manifest import TensorSpec
from hidenerf.runtime.tensorrt.generations import generation_of
from hidenerf.runtime.tensorrt.sidecar import PLUGIN_FILE, Sidecar, read_sidecar, verify_plan

ENGINES_FOLDER = "engines"
_SET_NAME = re.compile(r"(?P<backend>[a-z-]+)-(?P<version>\d[\w.+]*)-sm(?P<sm>\d+)")


@dataclass(frozen=True)
class Engine:
    """A verified engine of a bundle.

    graph: name of its graph.
    path, sha256: its file, and that file's hash.
    inputs, outputs: its tensors by name.
    version_compatible: whether it contains TensorRT's lean runtime.
    carries_code: whether it contains host code: the lean runtime, or the plugin's library.
    plugin: the plugin's library, if it lies beside the engine.
    build_command: what builds the set again.
    """

    graph: str
    path: Path
    sha256: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    version_compatible: bool
    carries_code: bool
    plugin: Path | None
    build_command: str


def set_folder(bundle: Path, backend: str, version: str, sm: int) -> Path:
    """The folder of the engines for one backend, library version and SM."""
    return bundle / ENGINES_FOLDER / f"{backend}-{version}-sm{sm}"


def has_engines(bundle: Path, backend: str) -> bool:
    """Whether a bundle folder has engines of a backend, for any version and SM."""
    return any(found == backend for found, _, _ in _sets(bundle))


def build_command(bundle: Path, backend: str, sm: int) -> str:
    """The command that builds the engines of a bundle. TensorRT takes no SM: it builds for the GPU it runs on."""
    command = f"hidenerf-export {bundle} --backend {backend}"
    return command if backend == "tensorrt" else f"{command} --sm {sm}"


def find_engines(bundle: Bundle, backend: str, version: str, sm: int) -> dict[str, Engine]:
    """Find the engine of each graph and verify every file.

    bundle: whose engines.
    backend: "tensorrt" or "tensorrt-rtx".
    version: the installed library's.
    sm: the GPU's SM.
    Errors: no engines of this backend, only ones for another version or SM, a missing or damaged file, an engine of
    another graph or generation; each names the command to run.
    """
    folder = set_folder(bundle.folder, backend, version, sm)
    command = build_command(bundle.folder, backend, sm)
    again = f"build them with: {command}"
    if not folder.is_dir():
        raise HideNerfError(f"{bundle.folder}: {_what_there_is(bundle.folder, backend, version, sm)}; {again}")
    engines = {}
    for name, graph in bundle.graphs.items():
        try:
            sidecar = read_sidecar(folder, name)
            verify_plan(folder, sidecar)
        except HideNerfError as error:
            raise HideNerfError(f"{error}; {again}") from None
        generation = generation_of(backend, version).name
        if sidecar.generation not in (None, generation):
            raise HideNerfError(
                f"{folder / sidecar.plan_file}: built by TensorRT's generation {sidecar.generation}, and this is "
                f"{generation}; {again}"
            )
        if sidecar.graph_sha256 != bundle.manifest.files[graph.path.name]:
            raise HideNerfError(
                f"{folder / sidecar.plan_file}: built from another {graph.path.name} than the bundle's; {again}"
            )
        engines[name] = _engine(folder, sidecar, command)
    return engines


def _engine(folder: Path, sidecar: Sidecar, command: str) -> Engine:
    plugin_inside = sidecar.plugin_sha256 is not None and not sidecar.plugin_beside
    return Engine(
        graph=sidecar.graph,
        path=folder / sidecar.plan_file,
        sha256=sidecar.plan_sha256,
        inputs=sidecar.inputs,
        outputs=sidecar.outputs,
        version_compatible=sidecar.version_compatible,
        carries_code=sidecar.version_compatible or plugin_inside,
        plugin=folder / PLUGIN_FILE if sidecar.plugin_beside else None,
        build_command=command,
    )


def _sets(bundle: Path) -> list[tuple[str, str, int]]:
    """Backend, version and SM of every set in a bundle folder."""
    engines = bundle / ENGINES_FOLDER
    names = sorted(folder.name for folder in engines.iterdir() if folder.is_dir()) if engines.is_dir() else []
    matches = [match for name in names if (match := _SET_NAME.fullmatch(name))]
    return [(match["backend"], match["version"], int(match["sm"])) for match in matches]


def _what_there_is(bundle: Path, backend: str, version: str, sm: int) -> str:
    sets = [(built, of) for found, built, of in _sets(bundle) if found == backend]
    title = backend_entry(backend).title
    if not sets:
        return f"it has no engines for {title}"
    of_version = sorted(other for built, other in sets if built == version)
    if not of_version:
        versions = _listed(sorted({built for built, _ in sets}))
        return f"its {title} engines are for version {versions}, not for {version}"
    return f"its engines for {title} {version} are for SM {_listed(of_version)}, not for this GPU's SM {sm}"


def _listed(items: list[Any]) -> str:
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last
