"""TensorRT's error messages as one sentence: the node's name, what is wrong with it, and what to do."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hidenerf.runtime.tensorrt.library import first_cause, plain

EXPORT_AGAIN = "export the bundle again with this hidenerf, or use another version of the library"

WITHOUT_PLUGIN = "set HIDENERF_PLUGIN=none to build the engines without it"


@dataclass(frozen=True)
class Refusal:
    """reason: TensorRT's own words. of_target: whether another GPU architecture might do."""

    reason: str
    fix: str
    of_target: bool

    def __str__(self) -> str:
        return f"{self.reason}; {self.fix}."


@dataclass(frozen=True)
class _Known:
    pattern: str
    fix: str
    of_target: bool = False


_KNOWN = (
    _Known("FP32 GEMM is not supported", "export with --fp16, or leave 75 out of --sm", of_target=True),
    _Known("HW-specific datatypes", "leave that SM out of --sm, or export without those types", of_target=True),
    _Known("UINT8 types for intermediate", "let a Cast to uint8 be the graph's last node"),
    _Known("Failed to parse the ONNX model", "the file is damaged; export the bundle again"),
    _Known("[Oo]ut ?[Oo]f ?[Mm]emory", "free memory and run again"),
)


def refusal(message: str) -> Refusal:
    """What one of the library's messages says, and its fix."""
    reason = plain(message)
    for known in _KNOWN:
        if re.search(known.pattern, message):
            return Refusal(reason, known.fix, known.of_target)
    return Refusal(reason, EXPORT_AGAIN, of_target=False)


def build_refusal(errors: Sequence[str]) -> Refusal:
    """The same for what the logger kept during a build that gave nothing: its first error is the cause."""
    return refusal(first_cause(errors) or "it gave no engine and no reason")


def parser_refusal(errors: Sequence[Any]) -> Refusal:
    """The same for the ONNX parser's errors (`IParserError`), with the node's name and operator."""
    if not errors:
        return refusal("the parser failed and gave no reason")
    error = errors[0]
    found = refusal(error.desc())
    if not error.node_operator():
        return found
    node = f"node {error.node_name()} ({error.node_operator()})"
    return Refusal(f"{node}: {found.reason}", found.fix, found.of_target)


def plugin_refusal(graph: str, lines: Iterable[str]) -> str | None:
    """The sentence for a line of our plugins', which begins with the node's operator, if there is one.

    They write it into TensorRT's log, or to stderr where TensorRT gives them no logger, as while it parses.
    """
    for line in lines:
        if line.startswith(("TriplaneRender: ", "GridSample3d: ")):
            return f"{graph}: the TensorRT plugin refuses a node, {line.strip()}; {WITHOUT_PLUGIN}."
    return None
