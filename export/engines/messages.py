"""TensorRT's error messages as one sentence: the node's name, what is wrong with it, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EXPORT_AGAIN = "export the bundle again with this hidenerf, or use another version of the library"


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

# Without a driver every error that TensorRT-RTX reports while parsing is followed by one that says so.
_NO_DRIVER = "cudaError 35"


def refusal(message: str) -> Refusal:
    """What one of the library's messages says, and its fix."""
    reason = plain(message)
    for known in _KNOWN:
        if re.search(known.pattern, message):
            return Refusal(reason, known.fix, known.of_target)
    return Refusal(reason, EXPORT_AGAIN, of_target=False)


def build_refusal(errors: Sequence[str]) -> Refusal:
    """The same for what the logger kept during a build that gave nothing: its first error is the cause."""
    causes = [error for error in errors if _NO_DRIVER not in error] or list(errors)
    return refusal(causes[0] if causes else "it gave no engine and no reason")


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


def plain(message: str) -> str:
    """The message without source lines, error codes and consequences of a missing driver.

    >>> plain("IBuilder::build: Error Code 4: API Usage Error (no outputs. In validate at /_src/network.cpp:3810)")
    'no outputs'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip() and _NO_DRIVER not in line]
    lines = [line for line in lines if not line.startswith("Invalid Node - ")] or lines
    text = lines[0] if lines else message.strip()
    # "…: Error Code 1: Myelin ([pass.cpp:337: check] … In compileGraph at /_src/…)"
    if found := re.search(r"Error Code \d+: [\w ]+ \((.*)\)$", text):
        text = found[1]
    text = re.sub(r" In \w+ at \S+$", "", text)
    text = re.sub(r"^\[[\w./]+:\d+: \w+\] ", "", text)
    text = re.sub(r"^Assertion failed: .*?: ", "", text)
    if found := re.fullmatch(r'.* && "(.*)"', text):
        text = found[1]
    return text.rstrip(".?! ")
