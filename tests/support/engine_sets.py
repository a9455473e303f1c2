"""A set of engines as files: what the finder reads of one, made of a few bytes each. No library is needed."""

import hashlib
import json
from pathlib import Path
from typing import Any

GRAPHS = ("source_encoder", "led", "renderer_refiner")
VERSION = "1.7.1"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def graph_bytes(name: str) -> bytes:
    """What stands for the content of a graph's file."""
    return f"the graph {name}".encode()


def sidecar(name: str) -> dict[str, Any]:
    """The sidecar of one graph's engine for SM 86."""
    plan = name.encode() * 7
    return {
        "schema": "hidenerf-engine",
        "schema_version": 1,
        "graph": name,
        "source": {"file": f"{name}.onnx", "sha256": sha256(graph_bytes(name))},
        "backend": "tensorrt-rtx",
        "sm": 86,
        "versions": {"tensorrt-rtx": VERSION},
        "build": {},
        "inputs": [{"name": "camera", "shape": [1, 25], "dtype": "float32"}],
        "outputs": [{"name": "frame", "shape": [8, 8, 3], "dtype": "uint8"}],
        "precision": {"layers": {}, "convolutions": {}, "stray": []},
        "plan": {"file": f"{name}.plan", "bytes": len(plan), "sha256": sha256(plan)},
        "layers": [],
    }


def write_set(folder: Path) -> Path:
    """Write a plan and a sidecar for each graph into a new folder."""
    folder.mkdir(parents=True)
    for name in GRAPHS:
        (folder / f"{name}.plan").write_bytes(name.encode() * 7)
        (folder / f"{name}.json").write_text(json.dumps(sidecar(name)))
    return folder
