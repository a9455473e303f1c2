"""`RECIPES`: the builder's flags for each generation. They drive the build and are written into the sidecar."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from hidenerf.runtime.tensorrt.library import Library


@dataclass(frozen=True)
class Recipe:
    """The builder's flags for one generation, by the lower-case names of TensorRT's enumerations.

    network: flags of `NetworkDefinitionCreationFlag` that are set.
    builder: flags of `BuilderFlag`, and whether each is set or cleared.
    by_precision: flags of `BuilderFlag` that are set for a network with this precision in it.
    no_tactic_sources: whether kernels are TensorRT's own alone, and not those of cuBLAS and cuDNN.
    profiling_verbosity: name in `ProfilingVerbosity`.
    """

    network: tuple[str, ...] = ("strongly_typed",)
    builder: dict[str, bool] = field(default_factory=dict)
    # Detailed engines name their layers to trtexec.
    profiling_verbosity: str = "DETAILED"
    by_precision: dict[str, str] = field(default_factory=dict)
    no_tactic_sources: bool = False

    def flags(self) -> dict[str, Any]:
        """All flags, for the sidecar."""
        network = dict.fromkeys(self.network, True)
        precisions = dict.fromkeys(self.by_precision.values(), "as the graph")
        sources = {"tactic_sources": 0} if self.no_tactic_sources else {}
        return {**network, **self.builder, **precisions, **sources, "profiling_verbosity": self.profiling_verbosity}

    def network_bits(self, trt: Any) -> int:
        """The argument of `IBuilder.create_network`. trt: the library's module."""
        flags = trt.NetworkDefinitionCreationFlag
        return sum(1 << int(getattr(flags, name.upper())) for name in self.network)

    def apply_to(self, config: Any, trt: Any, precisions: Container[str]) -> None:
        """Set and clear the flags of an `IBuilderConfig`.

        trt: the library's module. precisions: those of the network, such as "FP16".
        """
        config.profiling_verbosity = getattr(trt.ProfilingVerbosity, self.profiling_verbosity)
        for name, value in self.builder.items():
            flag = getattr(trt.BuilderFlag, name.upper())
            if value:
                config.set_flag(flag)
            else:
                config.clear_flag(flag)
        for precision, name in self.by_precision.items():
            if precision in precisions:
                config.set_flag(getattr(trt.BuilderFlag, name.upper()))
        if self.no_tactic_sources:
            config.set_tactic_sources(0)


# TF32 would round FP32 islands, coordinates above all, to ten bits.
# Version-compatible engines would gain nothing, because a set of engines is for one version.
# With `require_user_allocation` engines allocate nothing while they run. Capturing a stream requires that.
# TensorRT 8.6 has no strongly typed networks: precision_limits.py. Without kernels of cuBLAS and cuDNN its engines need
# neither library; they were measured so.
_TYPED = Recipe(builder={"tf32": False, "version_compatible": False})
RECIPES = {
    "8.6": Recipe(
        network=("explicit_batch",),
        builder={"tf32": False, "version_compatible": False, "obey_precision_constraints": True},
        by_precision={"FP16": "fp16", "INT8": "int8"},
        no_tactic_sources=True,
    ),
    "10": _TYPED,
    "11": _TYPED,
    "rtx": Recipe(builder={"tf32": False, "require_user_allocation": True}),
}


def recipe_of(library: Library) -> Recipe:
    """The recipe of a library's generation."""
    return RECIPES[library.generation.name]
