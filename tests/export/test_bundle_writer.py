"""Bundles appear whole or not at all, replace only bundles, and leave nothing beside them."""

import contextlib
import errno
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from hidenerf.export import bundle_writer
from hidenerf.export.bundle_writer import check_replaceable, describe_checkpoint, export_graph, write_bundle
from hidenerf.export.graph_modules import GraphModule
from hidenerf.export.lowering.onnx_view import LoweringError
from hidenerf.export.precision import FloatPrecision
from hidenerf.runtime.bundle import GRAPH_NAMES, ParityState, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.face_model import FaceModel, default_face_model_path, load_face_model
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.manifest import MANIFEST_NAME, Manifest, Weights
from tests.support.bundles import graphs_of, write_untrained
from tests.support.engine_sets import write_set
from tests.support.exported import island_counts, tiny_graphs, whole
from tests.support.full_disk import run_on_small_disk
from tests.support.log_lines import log_lines
from tests.support.tiny import TINY, TINY_ALIGNED, tiny_model

ALL_GRAPHS = (*GRAPH_NAMES, "refiner")
# In the order in which they are written.
FILES = ("source_encoder", "led", "led_encoder", "led_decoder", "renderer_refiner", "refiner")


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return load_face_model(default_face_model_path())


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, face_model: FaceModel) -> Callable[..., None]:
    """`write_bundle` for the tiny model; its graphs are exported once for all tests, since an export takes seconds."""

    def exported(graph: GraphModule, precision: FloatPrecision) -> tuple[onnx.ModelProto, dict[str, int]]:
        return whole(graph.name, precision.value), island_counts(graph.name)

    monkeypatch.setattr(bundle_writer, "graph_modules", lambda _: list(tiny_graphs().values()))
    monkeypatch.setattr(bundle_writer, "export_graph", exported)

    def run(folder: Path, fp16: bool = False, **change: Any) -> None:
        arguments: dict[str, Any] = {
            "checkpoint": Weights(seed=3),
            "face_model": face_model,
        }
        precision = FloatPrecision.FP16 if fp16 else FloatPrecision.FP32
        write_bundle(tiny_model(), folder, precision=precision, **(arguments | change))

    return run


def snapshot(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_of(p) if p.is_file() else "folder" for p in folder.rglob("*")}


@pytest.mark.parametrize("fp16", [False, True])
def test_a_bundle_opens_and_says_what_it_is(
    write: Callable[..., None], tmp_path: Path, fp16: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, bundle_writer.logger.name):
        write(tmp_path / "bundle", fp16=fp16)
    bundle = open_bundle(tmp_path / "bundle")
    manifest = bundle.manifest
    plans = [f"{name}_plan.{kind}" for name in ("refiner", "led") for kind in ("json", "npz")] if fp16 else []
    assert sorted(p.name for p in bundle.folder.iterdir()) == sorted(
        ["manifest.json", "face_model.npz", "kernel_weights.npz", *plans, *(f"{name}.onnx" for name in FILES)]
    )
    content = json.loads((bundle.folder / MANIFEST_NAME).read_text())
    assert json.loads(json.dumps(Manifest.from_json(content).to_json())) == content
    assert [line.split()[0] for line in caplog.messages] == [f"{name}.onnx" for name in FILES]
    assert manifest.files.keys() == {p.name for p in bundle.folder.iterdir()} - {"manifest.json"}
    assert manifest.model.config == json.loads(json.dumps(TINY.to_dict()))
    assert manifest.checkpoint == Weights(seed=3)
    assert manifest.generator.keys() == {"hidenerf", "torch", "onnx"}
    assert bundle.parity is ParityState.NEVER_COMPARED
    assert bundle.precision == ("fp16" if fp16 else "fp32")
    assert manifest.precision.fp32_islands.keys() == (set(ALL_GRAPHS) if fp16 else set())
    assert manifest.face_model.name == "anny"
    assert load_face_model(bundle.face_model_path).expression_names
    for name, graph in tiny_graphs().items():
        spec = bundle.graphs[name]
        assert list(spec.inputs) == list(graph.inputs)
        assert list(spec.outputs) == list(graph.outputs)
        for tensor, example in graph.inputs.items():
            assert spec.inputs[tensor].shape == tuple(example.shape)
    feature = np.dtype(np.float16 if fp16 else np.float32)
    renderer = bundle.graphs["renderer_refiner"]
    assert renderer.inputs["planes_0"].dtype == feature
    assert renderer.inputs["camera"].dtype == np.float32
    assert renderer.outputs["frame"].dtype == np.uint8


@pytest.mark.parametrize(("graph", "called"), [("refiner", "The refiner"), ("led", "LED")])
def test_a_graph_that_cannot_be_planned_is_said_and_the_bundle_has_no_plan_of_it(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: str, called: str
) -> None:
    def refuse(_: onnx.ModelProto) -> None:
        raise LoweringError("Relu relu is taken by no rule")

    monkeypatch.setitem(bundle_writer.PLANS, graph, (called, refuse))
    with log_lines() as lines:
        write(tmp_path / "bundle", fp16=True)
    assert [line for line in lines if "plan" in line] == [
        f"{called} has no launch plan, so the CUDA backend runs it with ONNX Runtime: Relu relu is taken by no rule."
    ]
    parts = open_bundle(tmp_path / "bundle").kernel_parts
    assert parts is not None
    assert (parts.refiner_plan is None, parts.led_plan is None) == (graph == "refiner", graph == "led")


def test_a_plan_whose_file_was_changed_is_refused(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "bundle", fp16=True)
    for name in ("refiner_plan.json", "led_plan.npz"):
        path = tmp_path / "bundle" / name
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(HideNerfError, match=f"{name} was changed after the export"):
            open_bundle(tmp_path / "bundle")
        path.write_bytes(content)


@pytest.mark.parametrize("fp16", [False, True])
def test_what_a_rendering_kernel_needs_is_described_and_is_the_models(
    write: Callable[..., None], tmp_path: Path, fp16: bool
) -> None:
    write(tmp_path / "bundle", fp16=fp16)
    bundle = open_bundle(tmp_path / "bundle")
    whole_graph, parts = bundle.graphs["renderer_refiner"], bundle.kernel_parts
    assert parts is not None
    size = TINY.render_size
    rendered = {"rendered": (1, TINY.render_channels, size, size), "rendered_alpha": (1, 1, size, size)}
    assert {name: parts.refiner.inputs[name].shape for name in rendered} == rendered
    # TriplaneRender's outputs are FP32 in every bundle.
    assert all(parts.refiner.inputs[name].dtype == np.float32 for name in rendered)
    maps = [name for name in whole_graph.inputs if name.startswith(("gamma_", "beta_"))]
    assert list(parts.refiner.inputs) == [*rendered, *maps]
    assert all(parts.refiner.inputs[name] == whole_graph.inputs[name] for name in maps)
    assert parts.refiner.outputs == whole_graph.outputs
    led, encoder, decoder = bundle.graphs["led"], parts.led_encoder, parts.led_decoder
    assert encoder is not None
    assert decoder is not None
    assert encoder.inputs == {name: spec for name, spec in led.inputs.items() if name != "camera"}
    assert list(encoder.outputs) == ["embedding", "lookup_features"]
    assert list(decoder.inputs) == ["embedding", "points", "looked_up"]
    assert decoder.inputs["embedding"] == encoder.outputs["embedding"]
    assert decoder.outputs == led.outputs
    halves = [*encoder.outputs.values(), *decoder.inputs.values()]
    assert {spec.dtype for spec in halves} == {np.dtype(np.float16 if fp16 else np.float32)}
    assert decoder.inputs["points"].shape == (1, 3 * TINY.samples_per_ray, size, size)
    renderer = tiny_model().renderer
    with np.load(parts.weights_path, allow_pickle=False) as weights:
        assert set(weights) == {"weight_1", "bias_1", "weight_2", "bias_2"}
        np.testing.assert_array_equal(weights["weight_1"], renderer.first.weight.detach())
        np.testing.assert_array_equal(weights["bias_2"], renderer.second.bias.detach())


@pytest.mark.parametrize("fp16", [False, True])
def test_an_aligned_models_refiner_takes_the_source_as_it_lies_in_the_frame(
    bundle_aligned: Path, tmp_path: Path, fp16: bool
) -> None:
    """The source's pixels for the frame, and what the source encoder says of its own view, are FP32 in every bundle."""
    precision = FloatPrecision.FP16 if fp16 else FloatPrecision.FP32
    with graphs_of(bundle_aligned):
        bundle = open_bundle(write_untrained(TINY_ALIGNED, tmp_path / "bundle", precision=precision))
    assert bundle.kernel_parts is not None
    refiner, encoder = bundle.kernel_parts.refiner, bundle.graphs["source_encoder"]
    size, whole_size = TINY_ALIGNED.render_size, TINY_ALIGNED.image_size
    in_frame = {
        "stem_input": ((1, 16, size, size), np.float16 if fp16 else np.float32),
        "detail_input": ((1, 4, whole_size, whole_size), np.float16 if fp16 else np.float32),
        "own": ((1, 3, whole_size, whole_size), np.float32),
        "shown": ((1, 1, whole_size, whole_size), np.float32),
    }
    assert {name: (refiner.inputs[name].shape, refiner.inputs[name].dtype) for name in in_frame} == in_frame
    with np.load(bundle.kernel_parts.weights_path, allow_pickle=False) as weights:
        channels = [spec.shape[1] for name, spec in encoder.outputs.items() if name.startswith(("gamma_", "beta_"))]
        assert (weights["absent"].shape, weights["absent"].dtype) == ((sum(channels),), np.float32)
    known = {
        "source_projection": (1, 3, 4),
        "source_surface": (1, 4, size, size),
        "source_pixels": (1, 3, whole_size, whole_size),
        "source_pixels_small": (1, 3, size, size),
    }
    read = bundle.graphs["renderer_refiner"].inputs
    assert {name: read[name].shape for name in known} == known
    assert all(read[name].dtype == np.float32 for name in known)
    assert all(encoder.outputs[name] == read[name] for name in known)
    maps = [name for name in read if name.startswith(("gamma_", "beta_"))]
    assert len(maps) == 4 * TINY_ALIGNED.aligned_scales
    assert all(encoder.outputs[name] == read[name] for name in maps)
    same = {name: (read[name].shape, read[name].dtype) for name in maps}
    assert {
        name: (refiner.inputs[f"in_frame_{name}"].shape, refiner.inputs[f"in_frame_{name}"].dtype) for name in maps
    } == same
    assert list(refiner.inputs) == ["rendered", "rendered_alpha", *in_frame, *(f"in_frame_{name}" for name in maps)]


@pytest.mark.slow
def test_writing_again_gives_the_same_bytes(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    one, two = snapshot(tmp_path / "one"), snapshot(tmp_path / "two")
    assert {name: one[name] for name in one if name.endswith((".onnx", "_mlp.npz"))} == {
        name: two[name] for name in two if name.endswith((".onnx", "_mlp.npz"))
    }
    assert one.keys() == two.keys()


def test_a_new_bundle_replaces_an_older_one_whole(write: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write(folder)
    write(folder, fp16=True)
    assert open_bundle(folder).precision == "fp16"
    assert list(tmp_path.iterdir()) == [folder]


def test_engines_go_over_into_the_new_bundle(write: Callable[..., None], tmp_path: Path) -> None:
    """Those of changed graphs too, so that the next build can say that the graph changed; and what lies beside them."""
    folder = tmp_path / "bundle"
    write(folder)
    write_set(folder / "engines" / "a set")
    (folder / "engines" / "notes.txt").write_text("mine")
    write_set(tmp_path / "other disk")
    (folder / "engines" / "a linked set").symlink_to(tmp_path / "other disk")
    before = {path: path.read_bytes() for path in (folder / "engines").rglob("*") if path.is_file()}
    assert len(before) > 2
    write(folder, fp16=True)
    assert open_bundle(folder).precision == "fp16"
    assert {path: path.read_bytes() for path in (folder / "engines").rglob("*") if path.is_file()} == before
    assert (folder / "engines" / "a linked set").readlink() == tmp_path / "other disk"
    assert sorted(tmp_path.iterdir()) == [folder, tmp_path / "other disk"]


def test_a_file_named_like_the_folder_of_engines_is_the_users(write: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write(folder)
    (folder / "engines").write_text("mine")
    with pytest.raises(HideNerfError, match="engines: this file is not part of the bundle"):
        write(folder)
    assert (folder / "engines").read_text() == "mine"


def test_engines_in_a_folder_that_is_no_bundle_are_refused_and_untouched(
    write: Callable[..., None], tmp_path: Path
) -> None:
    write_set(tmp_path / "mine" / "engines" / "a set")
    before = snapshot(tmp_path)
    with pytest.raises(HideNerfError, match="not a bundle"):
        write(tmp_path / "mine")
    assert snapshot(tmp_path) == before


def test_an_empty_folder_gives_way(write: Callable[..., None], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write(folder)
    assert open_bundle(folder).precision == "fp32"
    assert list(tmp_path.iterdir()) == [folder]


def test_parents_are_made(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "bundle")
    assert open_bundle(tmp_path / "a" / "b" / "bundle").image_size == TINY.image_size


def test_others_may_read_a_bundle(write: Callable[..., None], tmp_path: Path) -> None:
    """It is made in a temporary folder, which only its owner may enter."""
    write(tmp_path / "bundle")
    assert (tmp_path / "bundle").stat().st_mode & 0o755 == 0o755


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": "years of work"},
        {"manifest.json": '{"name": "a browser extension", "manifest_version": 3}', "popup.html": "<p>"},
        {"manifest.json": "not json", "precious": "x"},
    ],
    ids=["no manifest", "another program's manifest", "unreadable manifest"],
)
def test_a_folder_of_something_else_is_refused_and_untouched(
    write: Callable[..., None], tmp_path: Path, files: dict[str, str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(HideNerfError) as caught:
        write(folder)
    assert str(folder) in str(caught.value)
    assert {p.name: p.read_text() for p in folder.iterdir()} == files
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_of_the_user_inside_an_older_bundle_is_not_deleted(write: Callable[..., None], tmp_path: Path) -> None:
    """Such as the checkpoint that the bundle was exported from, or a video."""
    folder = tmp_path / "bundle"
    write(folder)
    (folder / "model.safetensors").write_text("weeks of training")
    with contextlib.suppress(HideNerfError):
        write(folder, fp16=True)
    assert (folder / "model.safetensors").read_text() == "weeks of training"


def test_a_file_is_refused(write: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.write_text("mine")
    with pytest.raises(HideNerfError, match="is a file"):
        write(path)
    assert path.read_text() == "mine"
    with pytest.raises(HideNerfError, match="is a file"):
        check_replaceable(path)


def test_below_a_file_nothing_can_be_made(write: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HideNerfError):
        write(tmp_path / "file" / "bundle")


def test_the_working_folder_can_be_the_bundle_or_is_refused(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    try:
        write(Path())
    except HideNerfError:
        assert list(tmp_path.rglob("*")) == [folder]
    else:
        assert open_bundle(folder).precision == "fp32"
        assert list(tmp_path.iterdir()) == [folder]


def count_saved(monkeypatch: pytest.MonkeyPatch, after: Callable[[int], None] = lambda _: None) -> list[Path]:
    """Files of graphs that are written from now on. after: is called with their number after each."""
    saved: list[Path] = []
    save = onnx.save

    def save_and_count(model: onnx.ModelProto, path: Path) -> None:
        save(model, path)
        saved.append(path)
        after(len(saved))

    monkeypatch.setattr(bundle_writer.onnx, "save", save_and_count)
    return saved


def test_a_failure_at_the_end_leaves_nothing(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All graphs are written when a face model that cannot be saved turns up."""
    saved = count_saved(monkeypatch)
    with pytest.raises(TypeError):
        write(tmp_path / "bundle", face_model=SimpleNamespace(name="no face model"))
    assert len(saved) == len(FILES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("failure", "after"), [(KeyboardInterrupt, 1), (KeyboardInterrupt, 4), (RuntimeError, 2)])
def test_an_interruption_leaves_the_older_bundle_as_it_was(
    write: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[BaseException],
    after: int,
) -> None:
    folder = tmp_path / "bundle"
    write(folder)
    write_set(folder / "engines" / "a set")
    before = snapshot(folder)

    def interrupt(saved: int) -> None:
        if saved == after:
            raise failure

    count_saved(monkeypatch, interrupt)
    with pytest.raises(failure):
        write(folder, fp16=True)
    assert list(tmp_path.iterdir()) == [folder]
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space left on device"), HideNerfError)],
)
def test_engines_that_cannot_go_over_stay_where_they_are(
    write: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    raised: type[BaseException],
) -> None:
    folder = tmp_path / "bundle"
    write(folder)
    write_set(folder / "engines" / "a set")
    before = snapshot(folder)
    copied: list[Path] = []

    def fail_at_the_second(path: Path, target: Path) -> None:
        copied.append(path)
        if len(copied) == 2:
            raise failure
        target.write_bytes(path.read_bytes())

    monkeypatch.setattr(bundle_writer.shutil, "copy2", fail_at_the_second)
    with pytest.raises(raised):
        write(folder, fp16=True)
    assert list(tmp_path.iterdir()) == [folder]
    assert snapshot(folder) == before


ON_A_FULL_DISK = """
import sys
from pathlib import Path
import onnx
from hidenerf.export import bundle_writer
from hidenerf.commands import export as cli
folder, graphs = Path(sys.argv[1]), Path(sys.argv[2])
bundle_writer.export_graph = lambda graph, precision: (onnx.load(graphs / f"{graph.name}.onnx"), {})
try:
    cli.main(["-o", str(folder / "bundle")])
finally:
    print("left:", [path.name for path in folder.iterdir()])
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    graphs, disk = tmp_path / "graphs", tmp_path / "disk"
    graphs.mkdir()
    disk.mkdir()
    for name in ALL_GRAPHS:
        onnx.save(whole(name, "fp32"), graphs / f"{name}.onnx")
    assert sum(path.stat().st_size for path in graphs.iterdir()) > 64 << 10
    result = run_on_small_disk(disk, 64, [sys.executable, "-c", ON_A_FULL_DISK, str(disk), str(graphs)])
    assert result.returncode == 2, result.stderr
    assert "left: []" in result.stdout
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "disk is full" in errors[0]


def test_the_manifest_of_a_checkpoint_has_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "demo.safetensors"
    path.write_bytes(b"weights")
    expected = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert describe_checkpoint(path, None) == Weights(expected, "demo.safetensors")
    assert describe_checkpoint(None, 4) == Weights(seed=4)


@pytest.mark.slow
def test_an_exported_graph_was_checked_and_is_what_the_bundle_holds() -> None:
    graph = tiny_graphs()["led"]
    model, islands = export_graph(graph, FloatPrecision.FP16)
    assert model.SerializeToString() == whole("led", "fp16").SerializeToString()
    assert islands == island_counts("led")
