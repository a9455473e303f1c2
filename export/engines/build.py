"""`build_plan`: from a TensorRT network to an engine, through Polygraphy's loaders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hidenerf.export.engines.network import ParsedNetwork
from hidenerf.export.engines.progress import progress_monitor
from hidenerf.export.engines.recipe import RECIPES
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
    plugin: Path | None = None,
    cancelled: Callable[[], bool],
    advance: Callable[[float], None],
) -> bytes:
    """Build the engine of one graph for one SM, and serialise it.

    library: builds it.
    graph: the graph's name, for errors.
    parsed: the graph's network.
    sm: SM to build for.
    plugin: the library of the network's plugins, for the engine to contain.
    cancelled: once it returns True, the build ends at its next step.
    advance: is called with the part done, from 0 to 1.
    Errors: what the library refuses, with the node's name; `TargetError` where another SM might do.
    """
    from polygraphy.backend.trt import EngineBytesFromNetwork
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    library.logger.errors.clear()
    # Polygraphy would print what the sentence below says.
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL + 1):
        config = _config_loader(library, sm, plugin, progress_monitor(library.trt, cancelled, advance))
        try:
            return bytes(EngineBytesFromNetwork((parsed.builder, parsed.network), config=config)())
        except PolygraphyException:
            if message := plugin_refusal(graph, library.logger.errors):
                raise HideNerfError(message) from None
            refused = build_refusal(library.logger.errors)
    kind = TargetError if refused.of_target else HideNerfError
    raise kind(f"{graph}: {library.title} cannot build it for SM {sm}: {refused}") from None


def _config_loader(library: Library, sm: int, plugin: Path | None, monitor: Any) -> Callable[[Any, Any], Any]:
    """Polygraphy's loader of an `IBuilderConfig`: the recipe, and for TensorRT-RTX the SM to build for."""
    from polygraphy.backend.trt import CreateConfig, PostprocessConfig

    if library.backend == "tensorrt-rtx":
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        create = CreateConfigRTX(compute_capabilities=[divmod(sm, 10)], progress_monitor=monitor)
    else:
        create = CreateConfig(progress_monitor=monitor)

    def finish(_builder: Any, _network: Any, config: Any) -> None:
        RECIPES[library.backend].apply_to(config, library.trt)
        if plugin is not None:
            config.plugins_to_serialize = [str(plugin)]

    return PostprocessConfig(create, finish)
