"""The builder and the plugin: which graphs have nodes of ours, what the engine follows from, and the real registry.

TensorRT-RTX loads our library into its registry as TensorRT does, and its parser takes the plugin for our nodes; then
it ends the process. So what is tested here with the real library ends where the plugin would enter the network.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from hidenerf.export.engines import process, writer
from hidenerf.export.engines.network import network_from_onnx
from hidenerf.export.engines.onnx_file import has_plugin_nodes, without_functions
from hidenerf.export.engines.process import build_engine
from hidenerf.export.engines.staleness import stale_reason
from hidenerf.export.engines.targets import Targets
from hidenerf.export.engines.worker import BuildResult, Job
from hidenerf.export.engines.writer import ingredients_of, plugin_of, write_engines
from hidenerf.model.config import PRESETS
from hidenerf.runtime.bundle import Bundle, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.kernels.sizes import RendererSizes
from hidenerf.runtime.tensorrt.engine_set import find_engines
from hidenerf.runtime.tensorrt.library import Library
from hidenerf.runtime.tensorrt.messages import plugin_refusal
from hidenerf.runtime.tensorrt.sidecar import PrecisionSummary
from tests.support.engine_builds import job
from tests.support.engine_sets import sidecar as sidecar_of
from tests.support.engine_sets import write_set
from tests.support.networks import convolution, rtx

DEMO = RendererSizes.of_model(PRESETS["demo"].to_dict())
OURS = ("source_encoder", "led", "renderer_refiner")


def test_the_graphs_with_nodes_of_ours(bundle_fp16: Path) -> None:
    for name, graph in open_bundle(bundle_fp16).graphs.items():
        model = onnx.load(graph.path)
        assert has_plugin_nodes(graph.path.read_bytes()) == any(n.domain == "hidenerf" for n in model.graph.node)
        assert has_plugin_nodes(graph.path.read_bytes()) == (name in OURS)


def test_function_bodies_are_left_out_and_nothing_else(bundle_fp16: Path) -> None:
    for name, graph in open_bundle(bundle_fp16).graphs.items():
        model = onnx.load(graph.path)
        assert bool(model.functions) == (name in OURS)
        del model.functions[:]
        assert onnx.load_model_from_string(without_functions(graph.path.read_bytes())) == model


def tensorrt() -> Library:
    """As far as it is looked at before a build."""
    module = type("tensorrt", (), {"get_nv_onnx_parser_version": staticmethod(lambda: 101200)})
    return Library("tensorrt", "10.12.0.36", module, None)


def library_file(path: Path, **changes: Any) -> Path:
    """What describe_plugin reads of a library for the preset demo; no code."""
    sizes = ",".join(str(value) for value in dataclasses.astuple(DEMO))
    said = {"tensorrt": "10.12.0", "cuda": "13.0", "architectures": "86", "renderers": sizes}
    said |= {"ops": "TriplaneRender GridSample3d AlignSource RaySamples"} | changes
    path.write_bytes(b"\x7fELF hidenerf-plugin " + json.dumps(said).encode() + b"\0")
    return path


@pytest.fixture
def bundle(bundle_fp16: Path, tmp_path: Path) -> Bundle:
    """With the sizes of the preset demo in its manifest."""
    folder = Path(shutil.copytree(bundle_fp16, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"] = PRESETS["demo"].to_dict()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_bundle(folder)


def test_the_plugin_is_of_the_bundle_s_model_and_this_tensorrt(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = library_file(tmp_path / "plugin.so")
    monkeypatch.setenv("HIDENERF_PLUGIN", str(path))
    assert plugin_of(bundle, tensorrt()) == path
    library_file(path, tensorrt="11.1.0")
    with pytest.raises(HideNerfError, match=r"built for TensorRT 11\.1\.0, and this is 10\.12\.0\.36; build it again"):
        plugin_of(bundle, tensorrt())
    library_file(path, renderers="128,48,31,3,32,256,64,6")
    with pytest.raises(HideNerfError, match=r"not built for this model; .* -DHIDENERF_RENDERERS=64,32,"):
        plugin_of(bundle, tensorrt())


def test_there_is_no_plugin_for_tensorrt_rtx_and_for_graphs_without_nodes_of_ours(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIDENERF_PLUGIN", "/nowhere.so")
    assert plugin_of(bundle, dataclasses.replace(tensorrt(), backend="tensorrt-rtx")) is None
    assert bundle.kernel_parts is not None
    refiner = bundle.kernel_parts.refiner
    plain = dataclasses.replace(bundle, graphs=dict.fromkeys(bundle.graphs, refiner))
    assert plugin_of(plain, tensorrt()) is None


def test_an_engine_follows_from_the_plugin_where_nodes_are_its(bundle: Bundle, tmp_path: Path) -> None:
    """And is built again when the plugin changes, comes or goes."""
    path = library_file(tmp_path / "plugin.so")
    flags = {"strongly_typed": True, "tf32": False, "profiling_verbosity": "DETAILED", "version_compatible": False}
    now = {name: ingredients_of(bundle, tensorrt(), graph, path) for name, graph in bundle.graphs.items()}
    for name, ingredients in now.items():
        assert ingredients.flags == flags
        assert ingredients.plugin_sha256 == (sha256_of(path) if name in OURS else None)
    library_file(path, cuda="13.1")
    changed = {name: ingredients_of(bundle, tensorrt(), graph, path) for name, graph in bundle.graphs.items()}
    none = {name: ingredients_of(bundle, tensorrt(), graph, None) for name, graph in bundle.graphs.items()}
    folder = write_set(tmp_path / "set")
    for name, ingredients in now.items():
        plugin = {"plugin": {"sha256": ingredients.plugin_sha256}} if ingredients.plugin_sha256 else {}
        written = sidecar_of(name) | {
            "source": {"file": f"{name}.onnx", "sha256": ingredients.graph_sha256},
            "build": flags | plugin,
            "versions": ingredients.versions,
        }
        (folder / f"{name}.json").write_text(json.dumps(written))
        assert stale_reason(folder, name, ingredients) is None
        for other in (changed[name], none[name]):
            assert (stale_reason(folder, name, other) is not None) == (name in OURS)


@pytest.mark.parametrize("outside", [False, True])
def test_a_library_that_the_plan_does_not_carry_lies_beside_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    """With an emulated build: no TensorRT is known to leave it out."""
    plugin = library_file(tmp_path / "plugin.so")
    monkeypatch.setenv("HIDENERF_PLUGIN", str(plugin))
    jobs: dict[str, Job] = {}

    def build(task: Job) -> BuildResult:
        jobs[task.graph.name] = task
        task.plan.write_bytes(b"a plan")
        return BuildResult(PrecisionSummary({}, {}, []), [], plugin_outside=outside and task.plugin is not None)

    monkeypatch.setattr(writer, "build_engine", build)
    target = Targets(tensorrt(), (86,), lenient=False)
    write_engines(bundle.folder, target)
    assert {name for name, task in jobs.items() if task.plugin == plugin} == set(OURS)
    for name, engine in find_engines(bundle, "tensorrt", "10.12.0.36", 86).items():
        assert engine.carries_code == (name in OURS and not outside)
        assert (engine.plugin is not None) == (name in OURS and outside)
        if engine.plugin is not None:
            assert engine.plugin.read_bytes() == plugin.read_bytes()
    jobs.clear()
    write_engines(bundle.folder, target)
    assert not jobs
    library_file(plugin, cuda="13.1")
    write_engines(bundle.folder, target)
    assert jobs.keys() == set(OURS)


def test_a_node_without_body_and_plugin_is_named_by_the_real_parser(bundle_fp16: Path) -> None:
    graph = open_bundle(bundle_fp16).graphs["source_encoder"]
    assert network_from_onnx(rtx(), graph, graph.path.read_bytes())
    with pytest.raises(HideNerfError, match=r"^source_encoder: .* node \S+ \(GridSample3d\): "):
        network_from_onnx(rtx(), graph, without_functions(graph.path.read_bytes()))


def test_a_plugin_that_the_real_registry_does_not_load_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "plugin.so").write_bytes(b"for another processor")
    (tmp_path / "graph").mkdir()
    graph = convolution(tmp_path / "graph")
    with pytest.raises(HideNerfError) as caught:
        network_from_onnx(rtx(), graph, graph.path.read_bytes(), tmp_path / "plugin.so")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path}/plugin.so: TensorRT-RTX {rtx().version} does not load this plugin (")
    assert message.endswith("or set HIDENERF_PLUGIN=none to build the engines without it.")


def test_the_real_registry_takes_our_library_once_and_its_creators_answer(
    library: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trt, logger = rtx().trt, rtx().logger
    first, second = (trt.Runtime(logger).get_plugin_registry() for _ in range(2))
    for registry in (first, second):
        assert registry.load_library(str(library)) is not None
        found = {(c.name, c.plugin_version, c.plugin_namespace): c for c in registry.all_creators}
        ours = "TriplaneRender", "GridSample3d", "AlignSource", "RaySamples"
        assert {(name, "1", "hidenerf") for name in ours} <= found.keys()
    logger.errors.clear()
    assert first.load_library(str(library)) is None
    assert "creator of TriplaneRender exists already" in rtx().reason()
    creator = found["TriplaneRender", "1", "hidenerf"]
    assert [field.name for field in creator.field_names] == ["octaves", "place"]
    align = found["AlignSource", "1", "hidenerf"]
    assert [field.name for field in align.field_names] == ["maps", "picture", "enlarged"]
    rays = found["RaySamples", "1", "hidenerf"]
    assert [field.name for field in rays.field_names] == ["samples", "stride"]
    assert creator.create_plugin("node", trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD) is None
    said = capfd.readouterr().err.splitlines() + logger.errors
    assert plugin_refusal("led", said) == (
        "led: the TensorRT plugin refuses a node, TriplaneRender: the field octaves is missing; "
        "set HIDENERF_PLUGIN=none to build the engines without it."
    )


def test_a_line_of_the_plugin_s_is_told_from_tensorrt_s() -> None:
    ours = "GridSample3d: input 1 is FP16; coordinates are FP32, and all other inputs FP32 or all FP16"
    assert ours in str(plugin_refusal("led", ["API Usage Error (no shapes)", ours]))
    assert plugin_refusal("led", ["API Usage Error (GridSample3d: no shapes)"]) is None


def test_what_the_plugin_says_on_stderr_is_the_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"error": "net: cannot read the graph", "of_target": false}'
    script = f"import sys; print('GridSample3d: no grid', file=sys.stderr); print('{answer}')"
    monkeypatch.setattr(process, "WORKER", [sys.executable, "-c", script])
    with pytest.raises(HideNerfError, match=r"^net: the TensorRT plugin refuses a node, GridSample3d: no grid; set "):
        build_engine(job(convolution(tmp_path), tmp_path))


def test_a_graph_without_nodes_of_ours_builds_with_the_library_registered(
    library: Path,
    tmp_path: Path,
) -> None:
    """With the real builder, which puts the whole library into the plan, though it is not version-compatible."""
    task = dataclasses.replace(job(convolution(tmp_path), tmp_path), plugin=library)
    assert rtx()
    answer = build_engine(task)
    assert answer.plugin_outside is False
    assert library.read_bytes() in task.plan.read_bytes()
    plain = build_engine(dataclasses.replace(task, plugin=None))
    assert b"hidenerf-plugin" not in task.plan.read_bytes()
    assert plain.layers == answer.layers
