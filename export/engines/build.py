"""TensorRT network → plan, through Polygraphy's loaders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hidenerf.export.engines.network import ParsedNetwork
from hidenerf.export.engines.progress import progress_monitor
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.messages import build_refusal, plugin_refusal

# TF32 would round FP32 islands, coordinates above all, to ten bits. Detailed plans name their layers to trtexec.
_BOTH: dict[str, Any] = {"strongly_typed": True, "tf32": False, "profiling_verbosity": "DETAILED"}
# The build's flags by backend, for the sidecar. Version-compatible plans would gain nothing, as a set of engines is for
# one version. With `require_user_allocation` engines allocate nothing while they run, as capturing a stream demands.
RECIPES: dict[str, dict[str, Any]] = {
    "tensorrt": {**_BOTH, "version_compatible": False},
    "tensorrt-rtx": {**_BOTH, "require_user_allocation": True},
}


class TargetError(HideNerfError):
    """A graph cannot be built for one GPU architecture, but perhaps for another."""


def plan_from_network(
    library: Library,
    graph: str,
    parsed: ParsedNetwork,
    sm: int,
    *,
    plugin: Path | None = None,
    cancelled: Callable[[], bool],
    moved: Callable[[float], None],
) -> bytes:
    """Build one graph for one GPU architecture.

    plugin: the library that the network's plugins are of; the plan is to carry it. moved is called with the part done;
    the build ends at the step where `cancelled` is true. Errors: what the library refuses, with the node's name;
    `TargetError` where that is the architecture's fault.
    """
    from polygraphy.backend.trt import EngineBytesFromNetwork
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    library.logger.errors.clear()
    # Polygraphy would print what the sentence below says.
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL + 1):
        config = _config_loader(library, sm, plugin, progress_monitor(library.trt, cancelled, moved))
        try:
            return bytes(EngineBytesFromNetwork((parsed.builder, parsed.network), config=config)())
        except PolygraphyException:
            if said := plugin_refusal(graph, library.logger.errors):
                raise HideNerfError(said) from None
            refused = build_refusal(library.logger.errors)
    kind = TargetError if refused.of_target else HideNerfError
    raise kind(f"{graph}: {library.title} cannot build it for SM {sm}: {refused}") from None


def _config_loader(library: Library, sm: int, plugin: Path | None, monitor: Any) -> Callable[[Any, Any], Any]:
    """Polygraphy's loader of an `IBuilderConfig`: `RECIPES`, and for TensorRT-RTX the architecture to build for."""
    from polygraphy.backend.trt import CreateConfig, PostprocessConfig

    trt = library.trt
    options = {"progress_monitor": monitor, "profiling_verbosity": trt.ProfilingVerbosity.DETAILED}
    if library.backend == "tensorrt-rtx":
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        create = CreateConfigRTX(compute_capabilities=[divmod(sm, 10)], **options)
    else:
        create = CreateConfig(**options)

    def finish(_builder: Any, _network: Any, config: Any) -> None:
        config.clear_flag(trt.BuilderFlag.TF32)
        if library.backend == "tensorrt-rtx":
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        if plugin is not None:
            config.plugins_to_serialize = [str(plugin)]

    return PostprocessConfig(create, finish)
