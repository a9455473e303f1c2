"""`build_plan`: from a TensorRT network to an engine, through Polygraphy's loaders."""

import contextlib
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from hidenerf.export.engines.network import ParsedNetwork
from hidenerf.export.engines.progress import following_log, progress_monitor
from hidenerf.export.engines.recipe import recipe_of
from hidenerf.export.engines.timing_cache import read_timing_cache, write_timing_cache
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.messages import build_refusal, plugin_refusal


class TargetError(HideNerfError):
    """A graph cannot be built for one SM, but perhaps for another."""


def build_plan(
    library: Library,
    graph: str,
    parsed: ParsedNetwork,
    sm: int,
    *,
    precisions: Container[str] = (),
    plugin: Path | None = None,
    timing_cache: Path | None = None,
    cancelled: Callable[[], bool],
    advance: Callable[[float], None],
) -> bytes:
    """Build the engine of one graph for one SM, and serialise it.

    library: builds it.
    graph: the graph's name, for errors.
    parsed: the graph's network.
    sm: SM to build for.
    precisions: those of the network's layers, such as "FP16".
    plugin: the library of the network's plugins, for the engine to contain.
    timing_cache: what earlier builds timed, which this one adds to; a file that need not exist.
    cancelled: once it returns True, the build ends at its next step.
    advance: is called with the part done, from 0 to 1.
    Errors: what the library refuses, with the node's name; `TargetError` where another SM might do.
    """
    from polygraphy.backend.trt import EngineBytesFromNetwork
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    library.logger.errors.clear()
    trt = library.trt
    followed: Any = contextlib.nullcontext()
    monitor = None
    if library.generation.progress_monitor:
        monitor = progress_monitor(trt, cancelled, advance)
    else:
        followed = following_log(library.logger, parsed.network.num_layers, cancelled, advance)
    used: list[Any] = []

    def finish(_builder: Any, _network: Any, config: Any) -> None:
        recipe_of(library).apply_to(config, trt, graph, precisions)
        if plugin is not None:
            config.plugins_to_serialize = [str(plugin)]
        if timing_cache is not None:
            read_timing_cache(config, timing_cache)
            # 8.6 reports an empty cache as an error of Myelin's, which is the cause of nothing.
            library.logger.errors.clear()
        used.append(config)

    # Polygraphy would print what the sentence below says.
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL + 1), followed:
        config = _config_loader(library, sm, monitor, finish)
        try:
            plan = bytes(EngineBytesFromNetwork((parsed.builder, parsed.network), config=config)())
        except PolygraphyException:
            if message := plugin_refusal(graph, library.logger.errors):
                raise HideNerfError(message) from None
            refused = build_refusal(library.logger.errors)
        else:
            if timing_cache is not None:
                write_timing_cache(used[0], timing_cache)
            return plan
    kind = TargetError if refused.of_target else HideNerfError
    raise kind(f"{graph}: {library.title} cannot build it for SM {sm}: {refused}") from None


def _config_loader(
    library: Library, sm: int, monitor: Any, finish: Callable[[Any, Any, Any], None]
) -> Callable[[Any, Any], Any]:
    """Polygraphy's loader of an `IBuilderConfig`, for TensorRT-RTX with the SM to build for. finish: sets the rest."""
    from polygraphy.backend.trt import CreateConfig, PostprocessConfig

    if library.backend == "tensorrt-rtx":
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        create = CreateConfigRTX(compute_capabilities=[divmod(sm, 10)], progress_monitor=monitor)
    else:
        create = CreateConfig(progress_monitor=monitor)
    return PostprocessConfig(create, finish)
