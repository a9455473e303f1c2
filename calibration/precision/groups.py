"""Layer groups: convolutions of a graph that are measured together, named by the module that holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

from hidenerf.export.convolutions import Convolution

MAX_GROUPS = 10


@dataclass(frozen=True)
class LayerGroup:
    """Layers of `graph` under one module path, `module`, which is empty for the whole graph."""

    graph: str
    module: str
    layers: tuple[Convolution, ...]

    @property
    def name(self) -> str:
        """Graph and module, as reports show it."""
        return f"{self.graph}/{self.module}"

    @property
    def flops(self) -> int:
        """FLOPs of all layers."""
        return sum(layer.flops for layer in self.layers)


def layer_groups(graph: str, layers: Sequence[Convolution]) -> list[LayerGroup]:
    """At most `MAX_GROUPS` groups in the layers' order; the one of most FLOPs is split by its modules while that fits.

    graph: its name. layers: its convolutions that can be INT8.
    """
    groups = [LayerGroup(graph, "", tuple(layers))] if layers else []
    while True:
        for group in sorted(groups, key=lambda g: (-g.flops, g.module)):
            parts = _split(group)
            if 1 < len(parts) <= MAX_GROUPS - len(groups) + 1:
                position = groups.index(group)
                groups[position : position + 1] = parts
                break
        else:
            return groups


def _split(group: LayerGroup) -> list[LayerGroup]:
    """By the first component of the module path in which its layers differ."""
    paths = [layer.layer.split(".") for layer in group.layers]
    depth = 0
    while all(len(path) > depth for path in paths) and len({tuple(path[: depth + 1]) for path in paths}) == 1:
        depth += 1
    parts: dict[str, list[Convolution]] = {}
    for layer, path in zip(group.layers, paths, strict=True):
        parts.setdefault(".".join(path[: depth + 1]), []).append(layer)
    return [LayerGroup(group.graph, module, tuple(members)) for module, members in parts.items()]
