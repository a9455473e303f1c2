"""`RECIPES`: the builder's flags for each backend. They drive the build and are written into the sidecar."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """The builder's flags for one backend, by the lower-case names of TensorRT's enumerations.

    network: flags of `NetworkDefinitionCreationFlag` that are set.
    builder: flags of `BuilderFlag`, and whether each is set or cleared.
    profiling_verbosity: name in `ProfilingVerbosity`.
    """

    network: tuple[str, ...] = ("strongly_typed",)
    builder: dict[str, bool] = field(default_factory=dict)
    # Detailed engines name their layers to trtexec.
    profiling_verbosity: str = "DETAILED"

    def flags(self) -> dict[str, Any]:
        """All flags, for the sidecar."""
        network = dict.fromkeys(self.network, True)
        return {**network, **self.builder, "profiling_verbosity": self.profiling_verbosity}

    def network_bits(self, trt: Any) -> int:
        """The argument of `IBuilder.create_network`. trt: the library's module."""
        flags = trt.NetworkDefinitionCreationFlag
        return sum(1 << int(getattr(flags, name.upper())) for name in self.network)

    def apply_to(self, config: Any, trt: Any) -> None:
        """Set and clear the flags of an `IBuilderConfig`. trt: the library's module."""
        config.profiling_verbosity = getattr(trt.ProfilingVerbosity, self.profiling_verbosity)
        for name, value in self.builder.items():
            flag = getattr(trt.BuilderFlag, name.upper())
            if value:
                config.set_flag(flag)
            else:
                config.clear_flag(flag)


# TF32 would round FP32 islands, coordinates above all, to ten bits.
# Version-compatible engines would gain nothing, because a set of engines is for one version.
# With `require_user_allocation` engines allocate nothing while they run. Capturing a stream requires that.
RECIPES = {
    "tensorrt": Recipe(builder={"tf32": False, "version_compatible": False}),
    "tensorrt-rtx": Recipe(builder={"tf32": False, "require_user_allocation": True}),
}
