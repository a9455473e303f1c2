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
    constraints: by whether a network has INT8 layers, the flag of `BuilderFlag` that makes the builder keep to the
        limits of layers; empty where there are no limits.
    no_tactic_sources: whether kernels are TensorRT's own alone, and not those of cuBLAS and cuDNN.
    levels: builder optimisation level by graph, where it is not the library's default.
    profiling_verbosity: name in `ProfilingVerbosity`.
    """

    network: tuple[str, ...] = ("strongly_typed",)
    builder: dict[str, bool] = field(default_factory=dict)
    # Detailed engines name their layers to trtexec.
    profiling_verbosity: str = "DETAILED"
    by_precision: dict[str, str] = field(default_factory=dict)
    constraints: dict[bool, str] = field(default_factory=dict)
    no_tactic_sources: bool = False
    levels: dict[str, int] = field(default_factory=dict)

    def flags(self) -> dict[str, Any]:
        """All flags, for the sidecar."""
        network = dict.fromkeys(self.network, True)
        precisions = dict.fromkeys(self.by_precision.values(), "as the graph")
        constraints = {name: "with INT8" if int8 else "without INT8" for int8, name in self.constraints.items()}
        sources = {"tactic_sources": 0} if self.no_tactic_sources else {}
        levels = {"builder_optimization_level": self.levels} if self.levels else {}
        rest = {"profiling_verbosity": self.profiling_verbosity}
        return {**network, **self.builder, **precisions, **constraints, **sources, **levels, **rest}

    def network_bits(self, trt: Any) -> int:
        """The argument of `IBuilder.create_network`. trt: the library's module."""
        flags = trt.NetworkDefinitionCreationFlag
        return sum(1 << int(getattr(flags, name.upper())) for name in self.network)

    def builder_flags(self, precisions: Container[str]) -> dict[str, bool]:
        """Flags of `BuilderFlag` for a network with these precisions in it, and whether each is set or cleared."""
        set_by_precision = [name for precision, name in self.by_precision.items() if precision in precisions]
        constraint = [self.constraints["INT8" in precisions]] if self.constraints else []
        return self.builder | dict.fromkeys([*constraint, *set_by_precision], True)

    def apply_to(self, config: Any, trt: Any, graph: str, precisions: Container[str]) -> None:
        """Set and clear the flags of an `IBuilderConfig`.

        trt: the library's module. graph: the graph's name. precisions: those of the network, such as "FP16".
        """
        config.profiling_verbosity = getattr(trt.ProfilingVerbosity, self.profiling_verbosity)
        for name, value in self.builder_flags(precisions).items():
            flag = getattr(trt.BuilderFlag, name.upper())
            if value:
                config.set_flag(flag)
            else:
                config.clear_flag(flag)
        if self.no_tactic_sources:
            config.set_tactic_sources(0)
        if graph in self.levels:
            config.builder_optimization_level = self.levels[graph]


# TF32 would round FP32 islands, coordinates above all, to ten bits.
# Version-compatible engines would gain nothing, because a set of engines is for one version.
# With `require_user_allocation` engines allocate nothing while they run. Capturing a stream requires that.
# TensorRT 8.6 has no strongly typed networks: precision_limits.py. Without kernels of cuBLAS and cuDNN its engines need
# neither library; they were measured so. If it must obey, it finds no format for some convolutions of INT8 graphs. The
# source encoder runs once a source; at the default level, 3, its kernels took more than four minutes to choose.
_TYPED = Recipe(builder={"tf32": False, "version_compatible": False})
RECIPES = {
    "8.6": Recipe(
        network=("explicit_batch",),
        builder={"tf32": False, "version_compatible": False},
        by_precision={"FP16": "fp16", "INT8": "int8"},
        constraints={False: "obey_precision_constraints", True: "prefer_precision_constraints"},
        no_tactic_sources=True,
        levels={"source_encoder": 1},
    ),
    "10": _TYPED,
    "11": _TYPED,
    "rtx": Recipe(builder={"tf32": False, "require_user_allocation": True}),
}


def recipe_of(library: Library) -> Recipe:
    """The recipe of a library's generation."""
    return RECIPES[library.generation.name]
