"""Engines in a bundle: `engines/<backend>-<version>-sm<SM>/<graph>.plan`, a sidecar `<graph>.json` beside each plan.

A set of engines serves one library version and one GPU architecture. It is whole in itself: its sidecars hold the
hashes of the plans and of the graphs they were built from, so a set can be deleted, or copied from the machine that
built it, without touching the manifest. The plans are as the library wrote them, so that `trtexec --loadEngine` takes
them.

Sidecar, schema version 1:

| key             | meaning                                                                                        |
|-----------------|------------------------------------------------------------------------------------------------|
| `schema`        | `hidenerf-engine`                                                                              |
| `schema_version`| 1                                                                                              |
| `graph`         | name of the graph                                                                              |
| `source`        | `file` and `sha256` of the ONNX graph                                                          |
| `plan`          | `file`, `bytes` and `sha256`; `plugin_file`, where it needs the plugin's library beside it     |
| `backend`, `sm` | `tensorrt` or `tensorrt-rtx`; the GPU architecture, 86 for compute capability 8.6              |
| `versions`      | of the library, its ONNX parser and Polygraphy                                                 |
| `build`         | the build's flags; `plugin` with the `sha256` of its library, where nodes of the graph are its.|
|                 | The plan carries that library unless `plan` names it                                           |
| `inputs`, `outputs` | lists of `name`, `shape`, `dtype`, read from the network                                   |
| `precision`     | how many layers, and how many convolutions, compute in each precision; `stray` names FP32      |
|                 | convolutions of a bundle that is not FP32                                                      |
| `layers`        | per layer: `name`, `type`, `precision` and the types of its `outputs`, as before the build     |
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hidenerf.runtime.bundle import Bundle, TensorSpec
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of

ENGINES_FOLDER = "engines"
SIDECAR_SCHEMA = "hidenerf-engine"
SIDECAR_VERSION = 1
PLUGIN_FILE = "libhidenerf_plugin.so"
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_SET_NAME = re.compile(r"(tensorrt-rtx|tensorrt)-(\d[\w.+]*)-sm(\d+)")


@dataclass(frozen=True)
class Engine:
    """A verified plan, with its SHA-256 and its tensors by name.

    version_compatible: it carries TensorRT's own runtime. carries_code: that, or the plugin's library. plugin: that
    library where it lies beside the plan.
    """

    graph: str
    path: Path
    sha256: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    version_compatible: bool
    carries_code: bool
    plugin: Path | None


def set_folder(bundle: Path, backend: str, version: str, sm: int) -> Path:
    """Where the engines for one library version and one GPU architecture lie."""
    return bundle / ENGINES_FOLDER / f"{backend}-{version}-sm{sm}"


def build_command(bundle: Path, backend: str, sm: int) -> str:
    """What to run to build the engines of a bundle; TensorRT takes no architecture, it builds for the GPU it is on."""
    command = f"hidenerf-export {bundle} --backend {backend}"
    return command if backend == "tensorrt" else f"{command} --sm {sm}"


def find_engines(bundle: Bundle, backend: str, version: str, sm: int) -> dict[str, Engine]:
    """The engine of each graph for a library version and a GPU architecture, every file verified.

    Errors: no engines of this backend, only ones for another version or architecture, a missing or damaged file, an
    engine of another graph; each says what to run.
    """
    folder = set_folder(bundle.folder, backend, version, sm)
    again = f"build them with: {build_command(bundle.folder, backend, sm)}"
    if not folder.is_dir():
        raise HideNerfError(f"{bundle.folder}: {_what_there_is(bundle.folder, backend, version, sm)}; {again}")
    engines = {}
    for name, graph in bundle.graphs.items():
        try:
            sidecar = read_sidecar(folder, name)
            verify_plan(folder, sidecar)
        except HideNerfError as error:
            raise HideNerfError(f"{error}; {again}") from None
        if sidecar["source"]["sha256"] != bundle.manifest.files[graph.path.name]:
            raise HideNerfError(
                f"{folder / sidecar['plan']['file']}: built from another {graph.path.name} than the bundle's; {again}"
            )
        engines[name] = _engine(folder, sidecar)
    return engines


def _engine(folder: Path, sidecar: dict[str, Any]) -> Engine:
    plan, build = sidecar["plan"], sidecar["build"]
    compatible = bool(build.get("version_compatible"))
    return Engine(
        sidecar["graph"],
        folder / plan["file"],
        plan["sha256"],
        tensor_specs(sidecar["inputs"]),
        tensor_specs(sidecar["outputs"]),
        version_compatible=compatible,
        carries_code=compatible or ("plugin" in build and "plugin_file" not in plan),
        plugin=folder / plan["plugin_file"] if "plugin_file" in plan else None,
    )


def read_sidecar(folder: Path, graph: str) -> dict[str, Any]:
    """The sidecar of a graph's engine, with the keys of this module's table; a `HideNerfError` if it is not that."""
    path = folder / f"{graph}.json"
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        if sidecar["schema"] != SIDECAR_SCHEMA or sidecar["schema_version"] != SIDECAR_VERSION:
            raise HideNerfError(f"{path}: not a sidecar of this hidenerf's schema version {SIDECAR_VERSION}")
        _ = (sidecar["build"], sidecar["versions"], sidecar["source"]["sha256"], sidecar["plan"]["sha256"])
        _ = (int(sidecar["plan"]["bytes"]), sidecar["precision"], tensor_specs(sidecar["inputs"]))
        if sidecar["plan"]["file"] != f"{graph}.plan":
            raise ValueError(f"the plan {sidecar['plan']['file']!r}")
        if sidecar["plan"].get("plugin_file", PLUGIN_FILE) != PLUGIN_FILE:
            raise ValueError(f"the plugin {sidecar['plan']['plugin_file']!r}")
        if sidecar["build"].get("plugin") is not None or "plugin_file" in sidecar["plan"]:
            _ = sidecar["build"]["plugin"]["sha256"]
        tensor_specs(sidecar["outputs"])
    except FileNotFoundError:
        raise HideNerfError(f"{folder}: it lacks {path.name}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HideNerfError(f"{path}: damaged ({error})") from None
    return dict(sidecar)


def verify_plan(folder: Path, sidecar: dict[str, Any]) -> None:
    """A `HideNerfError` unless the plan, and a plugin beside it, is byte for byte what the sidecar describes."""
    described = sidecar["plan"]
    path = folder / described["file"]
    if not path.is_file():
        raise HideNerfError(f"{folder}: it lacks {path.name}")
    size = path.stat().st_size
    if size != described["bytes"]:
        raise HideNerfError(f"{path}: damaged, it has {size} bytes instead of {described['bytes']}")
    if sha256_of(path) != described["sha256"]:
        raise HideNerfError(f"{path}: damaged, it was changed after the build")
    if "plugin_file" in described:
        plugin = folder / described["plugin_file"]
        if not plugin.is_file() or sha256_of(plugin) != sidecar["build"]["plugin"]["sha256"]:
            raise HideNerfError(f"{plugin}: this plugin, which {path.name} needs, is missing or was changed")


def _what_there_is(bundle: Path, backend: str, version: str, sm: int) -> str:
    folders = (bundle / ENGINES_FOLDER).iterdir() if (bundle / ENGINES_FOLDER).is_dir() else ()
    matches = [found for folder in folders if folder.is_dir() and (found := _SET_NAME.fullmatch(folder.name))]
    sets = [(found[2], int(found[3])) for found in matches if found[1] == backend]
    title = TITLES[backend]
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


def tensor_specs(entries: list[dict[str, Any]]) -> dict[str, TensorSpec]:
    """Tensors by name from a list of `name`, `shape`, `dtype`."""
    return {t["name"]: TensorSpec(t["name"], tuple(t["shape"]), np.dtype(t["dtype"])) for t in entries}
