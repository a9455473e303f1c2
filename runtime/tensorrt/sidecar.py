"""`Sidecar`: the JSON file beside an engine, parsed once. It says what the engine is, and what it was built from.

Schema version 1:

| key             | meaning                                                                                        |
|-----------------|------------------------------------------------------------------------------------------------|
| `schema`        | `hidenerf-engine`                                                                              |
| `schema_version`| 1                                                                                              |
| `graph`         | name of the graph                                                                              |
| `source`        | `file` and `sha256` of the ONNX graph                                                          |
| `plan`          | `file`, `bytes` and `sha256` of the engine; `plugin_file` if the plugin's library lies beside  |
|                 | it because the engine does not contain it                                                      |
| `backend`, `sm` | `tensorrt` or `tensorrt-rtx`; the SM that the engine was built for                             |
| `generation`    | of the library: `8.6`, `10`, `11` or `rtx` (generations.py); absent in files of before         |
| `versions`      | versions of the library, its ONNX parser and Polygraphy                                        |
| `build`         | the builder's flags; `plugin` with the `sha256` of its library if nodes of the graph are its;  |
|                 | `timing_cache`, name of the file of timings that the build used, beside the set                |
| `inputs`, `outputs` | lists of `name`, `shape`, `dtype`                                                          |
| `precision`     | how many layers, and how many convolutions, compute in each precision; `stray` names FP32      |
|                 | convolutions of a bundle that is not FP32, `lowered` FP32 layers that the engine computes with |
|                 | fewer bits, which only an engine of TensorRT 8.6 can                                           |
| `layers`        | per layer: `name`, `type`, `precision` and the types of its `outputs`, as before the build;    |
|                 | of TensorRT 8.6, those of the engine, as its inspector gives them                              |
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hidenerf.runtime.errors import HideNerfError, shown
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.json_text import GARBLED, parse_json
from hidenerf.runtime.manifest import TensorSpec

SCHEMA = "hidenerf-engine"
SCHEMA_VERSION = 1
PLUGIN_FILE = "libhidenerf_plugin.so"


@dataclass(frozen=True)
class Layer:
    """A layer of a network before the build, or of an engine of TensorRT 8.6.

    precision: of its arithmetic, "INT8" or "FP8" for a product of quantised factors, otherwise the type of its result.
    outputs: the type of each output.
    """

    name: str
    type: str
    precision: str
    outputs: list[str]


@dataclass(frozen=True)
class PrecisionSummary:
    """How many layers, and how many convolutions, compute in each precision.

    stray: names of FP32 convolutions in a graph that is not FP32.
    lowered: names of FP32 layers of a graph that the engine computes with fewer bits.
    """

    layers: dict[str, int]
    convolutions: dict[str, int]
    stray: list[str]
    lowered: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sidecar:
    """One engine. graph_sha256: of the ONNX file it was built from. flags: the builder's.

    generation: name of the library's `Generation`; None in files of before there were any.
    timing_cache: name of the file with the timings it was built with, if any.

    plugin_sha256: of the plugin's library if nodes of the graph are its, otherwise None.
    plugin_beside: whether that library lies beside the engine, and not in it.
    """

    graph: str
    graph_file: str
    graph_sha256: str
    plan_bytes: int
    plan_sha256: str
    backend: str
    sm: int
    versions: dict[str, str]
    flags: dict[str, Any]
    plugin_sha256: str | None
    plugin_beside: bool
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    precision: PrecisionSummary
    layers: list[Layer]
    generation: str | None = None
    timing_cache: str | None = None

    @property
    def plan_file(self) -> str:
        """Name of the engine's file, beside the sidecar."""
        return f"{self.graph}.plan"

    @property
    def version_compatible(self) -> bool:
        """Whether the engine contains TensorRT's lean runtime."""
        return bool(self.flags.get("version_compatible"))

    def to_json(self) -> str:
        """The file's text, with one tensor or layer a line."""
        plugin = {} if self.plugin_sha256 is None else {"plugin": {"sha256": self.plugin_sha256}}
        timings = {} if self.timing_cache is None else {"timing_cache": self.timing_cache}
        plan: dict[str, Any] = {"file": self.plan_file, "bytes": self.plan_bytes, "sha256": self.plan_sha256}
        content = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "graph": self.graph,
            "source": {"file": self.graph_file, "sha256": self.graph_sha256},
            "plan": plan | ({"plugin_file": PLUGIN_FILE} if self.plugin_beside else {}),
            "backend": self.backend,
            "sm": self.sm,
            **({} if self.generation is None else {"generation": self.generation}),
            "versions": self.versions,
            "build": {**self.flags, **plugin, **timings},
            "inputs": [tensor.to_json() for tensor in self.inputs.values()],
            "outputs": [tensor.to_json() for tensor in self.outputs.values()],
            "precision": {key: value for key, value in asdict(self.precision).items() if value or key != "lowered"},
            "layers": [asdict(layer) for layer in self.layers],
        }
        lines = []
        for key, value in content.items():
            items = ",\n".join(f"  {json.dumps(item)}" for item in value) if isinstance(value, list) else ""
            lines.append(f" {json.dumps(key)}: " + (f"[\n{items}\n ]" if items else json.dumps(value)))
        return "{\n" + ",\n".join(lines) + "\n}\n"


def read_sidecar(folder: Path, graph: str) -> Sidecar:
    """Read the sidecar of a graph's engine.

    folder: the set of engines.
    graph: name of the graph.
    Errors: there is no sidecar, it is damaged, or it has another schema version. The sentence has no end: the caller
    adds what to do.
    """
    path = folder / f"{graph}.json"
    try:
        content = parse_json(path.read_bytes())
        if content["schema"] != SCHEMA or content["schema_version"] != SCHEMA_VERSION:
            raise HideNerfError(f"{path}: not a sidecar of this hidenerf's schema version {SCHEMA_VERSION}")
        return _parse(content, graph)
    except FileNotFoundError:
        raise HideNerfError(f"{folder}: it lacks {path.name}") from None
    except (OSError, *GARBLED) as error:
        raise HideNerfError(f"{path}: damaged ({shown(error)})") from None


def _parse(content: dict[str, Any], graph: str) -> Sidecar:
    plan, build = content["plan"], {**content["build"]}
    if plan["file"] != f"{graph}.plan":
        raise ValueError(f"the plan {plan['file']!r}")
    if plan.get("plugin_file", PLUGIN_FILE) != PLUGIN_FILE:
        raise ValueError(f"the plugin {plan['plugin_file']!r}")
    if "plugin_file" in plan and "plugin" not in build:
        raise ValueError("a plugin's file without its hash")
    plugin, timing_cache = build.pop("plugin", None), build.pop("timing_cache", None)
    return Sidecar(
        graph=graph,
        graph_file=content["source"]["file"],
        graph_sha256=content["source"]["sha256"],
        plan_bytes=int(plan["bytes"]),
        plan_sha256=plan["sha256"],
        backend=content["backend"],
        sm=int(content["sm"]),
        versions=dict(content["versions"]),
        flags=build,
        plugin_sha256=None if plugin is None else plugin["sha256"],
        plugin_beside="plugin_file" in plan,
        inputs=tensor_specs(content["inputs"]),
        outputs=tensor_specs(content["outputs"]),
        precision=PrecisionSummary(**content["precision"]),
        layers=[Layer(**layer) for layer in content["layers"]],
        generation=content.get("generation"),
        timing_cache=timing_cache,
    )


def verify_plan(folder: Path, sidecar: Sidecar) -> None:
    """A `HideNerfError` unless the engine, and a plugin beside it, is byte for byte what the sidecar describes.

    folder: the set of engines. The sentence has no end: the caller adds what to do.
    """
    path = folder / sidecar.plan_file
    if not path.is_file():
        raise HideNerfError(f"{folder}: it lacks {path.name}")
    size = path.stat().st_size
    if size != sidecar.plan_bytes:
        raise HideNerfError(f"{path}: damaged, it has {size} bytes instead of {sidecar.plan_bytes}")
    if sha256_of(path) != sidecar.plan_sha256:
        raise HideNerfError(f"{path}: damaged, it was changed after the build")
    if sidecar.plugin_beside:
        plugin = folder / PLUGIN_FILE
        if not plugin.is_file() or sha256_of(plugin) != sidecar.plugin_sha256:
            raise HideNerfError(f"{plugin}: this plugin, which {path.name} needs, is missing or was changed")


def tensor_specs(entries: list[dict[str, Any]]) -> dict[str, TensorSpec]:
    """Tensors by name, from their JSON entries."""
    return {tensor.name: tensor for tensor in map(TensorSpec.from_json, entries)}
