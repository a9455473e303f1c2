"""Bundles that several tests read, made once, and the graphs of one bundle used for another of the same model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from hidenerf.export import bundle_writer
from hidenerf.export.precision import FloatPrecision
from hidenerf.model.config import ModelConfig
from hidenerf.model.hidenerf import random_model
from hidenerf.runtime.bundle import open_bundle
from hidenerf.runtime.face_model import default_face_model_path, load_face_model
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import MANIFEST_NAME, ParityVerdict, Weights


def verdict_in(bundle: Path) -> ParityVerdict:
    """What parity stored in a bundle."""
    verdict = open_bundle(bundle).manifest.parity
    assert verdict is not None
    return verdict


def write_untrained(config: ModelConfig, folder: Path, **how: Any) -> Path:
    """A bundle of untrained weights from seed 0 with the shipped face model, its parity waived.

    how: `precision` and `parity_waived` of `write_bundle`.
    """
    bundle_writer.write_bundle(
        random_model(config, 0),
        folder,
        checkpoint=Weights(seed=0),
        face_model=load_face_model(default_face_model_path()),
        **({"precision": FloatPrecision.FP32, "parity_waived": True} | how),
    )
    return folder


def damage(bundle: Path, graph: str) -> None:
    """Scale the weights of the graph's last convolution by 1.05, and make the hashes fit again."""
    path = bundle / f"{graph}.onnx"
    model = ir.load(path)
    weights = [node.inputs[1] for node in model.graph if node.op_type == "Conv"]
    last = [value for value in weights if value is not None and value.const_value is not None][-1]
    assert last.const_value is not None
    values = last.const_value.numpy()
    last.const_value = ir.tensor((values * 1.05).astype(values.dtype), name=last.name)
    ir.save(model, path)
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    manifest["files"][path.name] = sha256_of(path)
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))


def set_parity(bundle: Path, entry: dict[str, Any] | None) -> None:
    """Make this the manifest's entry on parity; None is that of a bundle that was never compared."""
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest | {"parity": entry}))


@contextmanager
def graphs_of(bundle: Path) -> Iterator[None]:
    """Meanwhile `write_bundle` takes the graphs of this FP32 bundle of the same model: exporting them takes seconds."""
    models = [ir.load(path) for path in sorted(bundle.glob("*.onnx"))]

    def exported_before(_module: Any, inputs: Mapping[str, Any], outputs: Sequence[str], _: Any) -> ir.Model:
        names = list(inputs), list(outputs)
        graphs = [(m, [v.name for v in m.graph.inputs], [v.name for v in m.graph.outputs]) for m in models]
        (found,) = [model for model, *own in graphs if tuple(own) == names]
        copy = found.clone()
        # As the exporter gives it: bodies of the custom ops are attached later.
        copy.functions.clear()
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_writer, "export_module", exported_before)
        yield
