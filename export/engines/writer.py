"""Engines of a bundle, built where they are missing or stale, and written whole with their sidecars."""

import contextlib
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hidenerf.export.engines.build import RECIPES, TargetError
from hidenerf.export.engines.onnx_file import has_plugin_nodes
from hidenerf.export.engines.plugin import find_plugin
from hidenerf.export.engines.process import build_engine
from hidenerf.export.engines.staleness import MISSING, Origin, stale_reason
from hidenerf.export.engines.targets import Targets
from hidenerf.export.engines.worker import Job
from hidenerf.runtime.bundle import Bundle, GraphSpec, open_bundle
from hidenerf.runtime.files import atomic_folder, sha256_of
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.tensorrt.engine_set import (
    ENGINES_FOLDER,
    PLUGIN_FILE,
    SIDECAR_SCHEMA,
    SIDECAR_VERSION,
    set_folder,
)
from hidenerf.runtime.tensorrt.library import Library


def write_engines(folder: Path, targets: Targets, report: Callable[[str], None]) -> None:
    """Build the engines of the bundle `folder` for each of the targets' architectures.

    A set, the graphs' engines for one architecture, appears whole or not at all; engines that still fit are kept.
    report is called with a line for each engine, and for each architecture that is left out. Errors: a broken bundle,
    a folder that cannot be written, a plugin of the user's that does not fit, what the library refuses.
    """
    bundle = open_bundle(folder)
    plugin = plugin_of(bundle, targets.library, report)
    refused: TargetError | None = None
    built = False
    for sm in targets.sms:
        try:
            _write_set(bundle, targets.library, sm, plugin, report)
            built = True
        except TargetError as error:
            if not targets.lenient:
                raise
            refused = error
            report(f"SM {sm}: left out. {error}")
        finally:
            with contextlib.suppress(OSError):
                (folder / ENGINES_FOLDER).rmdir()  # goes only if it is empty
    if refused is not None and not built:
        raise refused


def plugin_of(bundle: Bundle, library: Library, report: Callable[[str], None]) -> Path | None:
    """The plugin's library for a bundle's nodes; None for TensorRT-RTX, or after reporting why it cannot be built.

    TensorRT-RTX ends the process when a graph takes a plugin.
    """
    if library.backend != "tensorrt" or not any(map(_has_plugin_nodes, bundle.graphs.values())):
        return None
    return find_plugin([RendererSizes.of_model(bundle.manifest.model.config)], library.version, report)


def _has_plugin_nodes(graph: GraphSpec) -> bool:
    return has_plugin_nodes(graph.path.read_bytes())


def _write_set(bundle: Bundle, library: Library, sm: int, plugin: Path | None, report: Callable[[str], None]) -> None:
    folder = set_folder(bundle.folder, library.backend, library.version, sm)
    origins = {name: origin_of(bundle, library, graph, plugin) for name, graph in bundle.graphs.items()}
    reasons = {name: stale_reason(folder, name, origin) for name, origin in origins.items()}
    lines = [f"SM {sm} {name}: kept" for name, reason in reasons.items() if reason is None]
    stale = [graph for graph in bundle.graphs.values() if reasons[graph.name] is not None]
    if stale:
        with atomic_folder(folder) as partial:
            if folder.is_dir():
                shutil.copytree(folder, partial, dirs_exist_ok=True)
            # Smallest first: a GPU architecture that cannot run the graphs is then found out soonest.
            for graph in sorted(stale, key=lambda graph: graph.path.stat().st_size):
                start = time.perf_counter()
                sidecar = _build(bundle, library, graph, sm, origins[graph.name], plugin, partial)
                reason = reasons[graph.name]
                done = "built" if reason == MISSING else f"rebuilt, {reason}"
                lines.append(f"SM {sm} {graph.name}: {done}  {_spelt(sidecar)}  {time.perf_counter() - start:.1f} s")
                if stray := sidecar["precision"]["stray"]:
                    precision = bundle.precision.upper()
                    lines.append(f"SM {sm} {graph.name}: in FP32 though the bundle is {precision}: {', '.join(stray)}")
    for line in lines:
        report(line)


def origin_of(bundle: Bundle, library: Library, graph: GraphSpec, plugin: Path | None) -> Origin:
    """What the engine of a graph follows from; the plugin only where nodes of the graph are its."""
    build = dict(RECIPES[library.backend])
    if plugin is not None and _has_plugin_nodes(graph):
        build["plugin"] = {"sha256": sha256_of(plugin)}
    versions = {
        library.backend: library.version,
        "onnx_parser": str(library.trt.get_nv_onnx_parser_version()),
        "polygraphy": importlib.metadata.version("polygraphy"),
    }
    return Origin(bundle.manifest.files[graph.path.name], build, versions)


def _build(
    bundle: Bundle,
    library: Library,
    graph: GraphSpec,
    sm: int,
    origin: Origin,
    plugin: Path | None,
    folder: Path,
) -> dict[str, Any]:
    """Write plan and sidecar of one graph into `folder`; returns the sidecar (`runtime/tensorrt/engine_set.py`)."""
    plan = folder / f"{graph.name}.plan"
    job = Job(
        backend=library.backend,
        sm=sm,
        graph=graph.name,
        source=str(graph.path.absolute()),
        inputs=[tensor.to_json() for tensor in graph.inputs.values()],
        outputs=[tensor.to_json() for tensor in graph.outputs.values()],
        reduced=bundle.precision != "fp32",
        plan=str(plan.absolute()),
        plugin=str(plugin.absolute()) if plugin is not None and "plugin" in origin.build else None,
    )
    network = build_engine(job)
    beside = {}
    if network.pop("plugin_outside") and plugin is not None:
        shutil.copyfile(plugin, folder / PLUGIN_FILE)
        beside = {"plugin_file": PLUGIN_FILE}
    sidecar = {
        "schema": SIDECAR_SCHEMA,
        "schema_version": SIDECAR_VERSION,
        "graph": graph.name,
        "source": {"file": graph.path.name, "sha256": origin.source_sha256},
        "plan": {"file": plan.name, "bytes": plan.stat().st_size, "sha256": sha256_of(plan), **beside},
        "backend": library.backend,
        "sm": sm,
        "versions": origin.versions,
        "build": origin.build,
        **network,
    }
    (folder / f"{graph.name}.json").write_text(_as_json(sidecar), encoding="utf-8")
    return sidecar


def _spelt(sidecar: dict[str, Any]) -> str:
    convolutions = sidecar["precision"]["convolutions"]
    counts = ", ".join(f"{count} in {precision}" for precision, count in convolutions.items()) or "none"
    return f"{sidecar['plan']['bytes'] / 1e6:.1f} MB  convolutions: {counts}"


def _as_json(sidecar: dict[str, Any]) -> str:
    """JSON with a tensor and a layer a line: hundreds of layers are to be read."""
    entries = []
    for key, value in sidecar.items():
        items = ",\n".join(f"  {json.dumps(item)}" for item in value) if isinstance(value, list) else ""
        entries.append(f" {json.dumps(key)}: " + (f"[\n{items}\n ]" if items else json.dumps(value)))
    return "{\n" + ",\n".join(entries) + "\n}\n"
