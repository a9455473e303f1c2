"""TensorRT's error messages, made into one sentence: the node's name, what is wrong with it, and what to do."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

EXPORT_AGAIN = "export the bundle again with this hidenerf, or use another version of the library"

WITHOUT_PLUGIN = "set HIDENERF_PLUGIN=none to build the engines without it"

# Operators of our nodes that our plugin library takes.
OUR_OPS = ("TriplaneRender", "GridSample3d", "AlignSource", "RaySamples")

# On a machine without a GPU driver TensorRT-RTX reports this after every other error.
_NO_DRIVER = "cudaError 35"


@dataclass(frozen=True)
class Refusal:
    """Why TensorRT builds no engine.

    reason: TensorRT's own words.
    fix: what the user can do.
    of_target: whether the graph might be built for another SM.
    """

    reason: str
    fix: str
    of_target: bool

    def __str__(self) -> str:
        """Reason and fix as one sentence."""
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


def first_cause(errors: Sequence[str]) -> str | None:
    """The first error, which causes the others; None if there is none."""
    return next((error for error in errors if _NO_DRIVER not in error), errors[0] if errors else None)


def plain(message: str) -> str:
    """Strip source lines, error codes and the consequences of a missing GPU driver from one of TensorRT's messages.

    >>> plain("IBuilder::build: Error Code 4: API Usage Error (no outputs. In validate at /_src/network.cpp:3810)")
    'no outputs'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    lines = [line for line in lines if _NO_DRIVER not in line] or lines
    lines = [line for line in lines if not line.startswith("Invalid Node - ")] or lines
    text = lines[0] if lines else ""
    # "…: Error Code 1: Myelin ([pass.cpp:337: check] … In compileGraph at /_src/…)"
    if found := re.search(r"Error Code \d+: [\w ]+ \((.*)\)$", text):
        text = found[1]
    # CUDA's own message follows the place in the sources.
    text = re.sub(r"\s*\bIn \w+ at \S+", "", text).strip()
    if found := re.fullmatch(r"\(cudaError \d+: (.*)\)", text):
        text = found[1]
    text = re.sub(r"^\[[\w./]+:\d+: \w+\] ", "", text)
    text = re.sub(r"^Assertion failed: .*?: ", "", text)
    if found := re.fullmatch(r'.* && "(.*)"', text):
        text = found[1]
    return text.rstrip(".;?! ")


def refusal(message: str) -> Refusal:
    """The refusal behind one of TensorRT's messages."""
    reason = plain(message)
    for known in _KNOWN:
        if re.search(known.pattern, message):
            return Refusal(reason, known.fix, known.of_target)
    return Refusal(reason, EXPORT_AGAIN, of_target=False)


def build_refusal(errors: Sequence[str]) -> Refusal:
    """The refusal behind a failed build. errors: what the logger kept; the first is the cause."""
    return refusal(first_cause(errors) or "it gave no engine and no reason")


def parser_refusal(errors: Sequence[Any], failing_node: Callable[[Any], tuple[str, str]]) -> Refusal:
    """The refusal behind the ONNX parser's errors (`IParserError`), with the node's name and operator.

    failing_node: from an error to the two (`Generation.failing_node`).
    """
    if not errors:
        return refusal("the parser failed and gave no reason")
    error = errors[0]
    found = refusal(error.desc())
    name, operator = failing_node(error)
    if not operator:
        return found
    node = f"node {name} ({operator})"
    return Refusal(f"{node}: {found.reason}", found.fix, found.of_target)


def plugin_refusal(graph: str, lines: Iterable[str]) -> str | None:
    """Why our plugin refuses a node of a graph, as one sentence; None if none of the lines says so.

    graph: the graph's name.
    lines: TensorRT's log, or stderr. A plugin's own line begins with the node's operator. The plugin writes it to
        stderr where TensorRT gives it no logger, as during parsing.
    """
    for line in lines:
        if line.startswith(tuple(f"{op}: " for op in OUR_OPS)):
            return f"{graph}: the TensorRT plugin refuses a node, {line.strip()}; {WITHOUT_PLUGIN}."
    return None
