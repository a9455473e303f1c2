"""`write_engines`: builds a bundle's engines where they are missing or stale, and writes them with their sidecars."""

import contextlib
import importlib.metadata
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path

from hidenerf.export.engines.build import TargetError
from hidenerf.export.engines.onnx_file import has_plugin_nodes
from hidenerf.export.engines.plugin import find_plugin
from hidenerf.export.engines.process import build_engine
from hidenerf.export.engines.recipe import recipe_of
from hidenerf.export.engines.staleness import MISSING, Ingredients, stale_reason
from hidenerf.export.engines.targets import Targets
from hidenerf.export.engines.timing_cache import timing_cache_file
from hidenerf.export.engines.worker import Job
from hidenerf.runtime.bundle import Bundle, GraphSpec, open_bundle
from hidenerf.runtime.files import atomic_folder, sha256_of
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.tensorrt.engine_set import ENGINES_FOLDER, set_folder
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.sidecar import PLUGIN_FILE, Sidecar

logger = logging.getLogger(__name__)


def write_engines(folder: Path, targets: Targets) -> None:
    """Build the engines of a bundle for every SM of the targets.

    A set, the engines of all graphs for one SM, appears whole or not at all. Engines that still fit are kept. One log
    record says so for each engine, and for each SM that is left out.

    folder: the bundle.
    targets: the library and the SMs.
    Errors: a broken bundle, a folder that cannot be written, a plugin of the user's that does not fit, what the library
    refuses.
    """
    bundle = open_bundle(folder)
    plugin = plugin_of(bundle, targets.library)
    refused: TargetError | None = None
    built = False
    for sm in targets.sms:
        try:
            _write_set(bundle, targets.library, sm, plugin)
            built = True
        except TargetError as error:
            if not targets.lenient:
                raise
            refused = error
            logger.info("SM %d: left out. %s", sm, error)
        finally:
            with contextlib.suppress(OSError):
                (folder / ENGINES_FOLDER).rmdir()  # goes only if it is empty
    if refused is not None and not built:
        raise refused


def plugin_of(bundle: Bundle, library: Library) -> Path | None:
    """The plugin's library for the nodes of a bundle, built if need be.

    None for TensorRT-RTX, which ends the process when a graph takes a plugin, for a bundle without nodes of ours, and
    where the plugin cannot be built; then a log record says why.
    """
    if library.backend != "tensorrt" or not any(map(_has_plugin_nodes, bundle.graphs.values())):
        return None
    return find_plugin([RendererSizes.of_model(bundle.manifest.model.config)], library.version)


def _has_plugin_nodes(graph: GraphSpec) -> bool:
    return has_plugin_nodes(graph.path.read_bytes())


def _write_set(bundle: Bundle, library: Library, sm: int, plugin: Path | None) -> None:
    folder = set_folder(bundle.folder, library.backend, library.version, sm)
    ingredients = {name: ingredients_of(bundle, library, graph, plugin) for name, graph in bundle.graphs.items()}
    reasons = {name: stale_reason(folder, name, now) for name, now in ingredients.items()}
    lines = [f"SM {sm} {name}: kept" for name, reason in reasons.items() if reason is None]
    stale = [graph for graph in bundle.graphs.values() if reasons[graph.name] is not None]
    if stale:
        with atomic_folder(folder) as partial:
            if folder.is_dir():
                shutil.copytree(folder, partial, dirs_exist_ok=True)
            # Smallest first: that shows soonest whether the SM can run the graphs.
            for graph in sorted(stale, key=lambda graph: graph.path.stat().st_size):
                start = time.perf_counter()
                sidecar = _build(bundle, library, graph, sm, ingredients[graph.name], plugin, partial)
                reason = reasons[graph.name]
                done = "built" if reason == MISSING else f"rebuilt, {reason}"
                lines.append(
                    f"SM {sm} {graph.name}: {done}  {_described(sidecar)}  {time.perf_counter() - start:.1f} s"
                )
                if stray := sidecar.precision.stray:
                    precision = bundle.precision.upper()
                    lines.append(f"SM {sm} {graph.name}: in FP32 though the bundle is {precision}: {', '.join(stray)}")
                if lowered := sidecar.precision.lowered:
                    lines.append(f"SM {sm} {graph.name}: FP32 in the graph but not in the engine: {', '.join(lowered)}")
    for line in lines:
        logger.info(line)


def ingredients_of(bundle: Bundle, library: Library, graph: GraphSpec, plugin: Path | None) -> Ingredients:
    """What a build of a graph's engine would use now; the plugin only if nodes of the graph are its."""
    uses_plugin = plugin is not None and _has_plugin_nodes(graph)
    return Ingredients(
        graph_sha256=bundle.manifest.files[graph.path.name],
        flags=recipe_of(library).flags(),
        plugin_sha256=sha256_of(plugin) if uses_plugin and plugin is not None else None,
        versions={
            library.backend: library.version,
            "onnx_parser": str(library.trt.get_nv_onnx_parser_version()),
            "polygraphy": importlib.metadata.version("polygraphy"),
        },
    )


def _build(
    bundle: Bundle,
    library: Library,
    graph: GraphSpec,
    sm: int,
    ingredients: Ingredients,
    plugin: Path | None,
    folder: Path,
) -> Sidecar:
    """Write the engine and the sidecar of one graph into `folder`; returns the sidecar."""
    plan = folder / f"{graph.name}.plan"
    timing_cache = None
    if library.generation.times_kernels:
        timing_cache = timing_cache_file(bundle.folder / ENGINES_FOLDER, library.backend, library.version, sm)
    own_plugin = plugin if ingredients.plugin_sha256 is not None else None
    result = build_engine(
        Job(
            backend=library.backend,
            sm=sm,
            graph=replace(graph, path=graph.path.absolute()),
            reduced=bundle.precision != "fp32",
            plan=plan.absolute(),
            plugin=None if own_plugin is None else own_plugin.absolute(),
            timing_cache=None if timing_cache is None else timing_cache.absolute(),
        )
    )
    if result.plugin_outside and own_plugin is not None:
        shutil.copyfile(own_plugin, folder / PLUGIN_FILE)
    sidecar = Sidecar(
        graph=graph.name,
        graph_file=graph.path.name,
        graph_sha256=ingredients.graph_sha256,
        plan_bytes=plan.stat().st_size,
        plan_sha256=sha256_of(plan),
        backend=library.backend,
        sm=sm,
        versions=ingredients.versions,
        flags=ingredients.flags,
        plugin_sha256=ingredients.plugin_sha256,
        plugin_beside=result.plugin_outside,
        # Parsing has verified that the network's tensors are these.
        inputs=graph.inputs,
        outputs=graph.outputs,
        precision=result.precision,
        layers=result.layers,
        generation=library.generation.name,
        timing_cache=None if timing_cache is None else timing_cache.name,
    )
    (folder / f"{graph.name}.json").write_text(sidecar.to_json(), encoding="utf-8")
    return sidecar


def _described(sidecar: Sidecar) -> str:
    convolutions = sidecar.precision.convolutions
    counts = ", ".join(f"{count} in {precision}" for precision, count in convolutions.items()) or "none"
    return f"{sidecar.plan_bytes / 1e6:.1f} MB  convolutions: {counts}"
