"""Sets of engines, built by TensorRT-RTX ahead of time; no GPU is needed. Skipped where it is not installed."""

import os
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from hidenerf.export.engines import process, writer
from hidenerf.export.engines.build import TargetError
from hidenerf.export.engines.targets import choose_targets
from hidenerf.export.engines.writer import write_engines
from hidenerf.runtime.bundle import GRAPH_NAMES, open_bundle
from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.files import sha256_of
from hidenerf.runtime.tensorrt.engine_set import find_engines
from hidenerf.runtime.tensorrt.sidecar import read_sidecar
from tests.support.engine_builds import interrupting_bar, set_of
from tests.support.files import contents
from tests.support.log_lines import log_lines
from tests.support.networks import bundle_of, convolution, quantised_convolution, replace_graph, rtx, targets


@pytest.fixture
def own_fp16(bundle_fp16: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_fp16, tmp_path / "bundle"))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A bundle of three small graphs."""
    return bundle_of(convolution(tmp_path), tmp_path / "bundle")


def built(folder: Path, *sms: int) -> list[str]:
    with log_lines() as lines:
        write_engines(folder, targets(*sms))
    return lines


@pytest.mark.slow
def test_a_set_is_found_with_the_tensors_of_the_manifest_and_the_audit(own_fp16: Path) -> None:
    lines = built(own_fp16, 86)
    assert sorted(line.split(":")[0] for line in lines) == sorted(f"SM 86 {name}" for name in GRAPH_NAMES)
    assert all(": built " in line for line in lines)
    bundle = open_bundle(own_fp16)
    for name, engine in find_engines(bundle, "tensorrt-rtx", rtx().version, 86).items():
        assert engine.inputs == bundle.graphs[name].inputs
        assert engine.outputs == bundle.graphs[name].outputs
    sidecar = read_sidecar(set_of(own_fp16, 86), "led")
    assert (sidecar.graph_file, sidecar.graph_sha256) == ("led.onnx", sha256_of(own_fp16 / "led.onnx"))
    assert sidecar.plan_sha256 == sha256_of(set_of(own_fp16, 86) / "led.plan")
    assert (sidecar.backend, sidecar.sm) == ("tensorrt-rtx", 86)
    assert sidecar.versions["tensorrt-rtx"] == rtx().version
    flags = {"strongly_typed": True, "tf32": False, "profiling_verbosity": "DETAILED", "require_user_allocation": True}
    assert sidecar.flags == flags
    convolutions = sum(n.op_type in ("Conv", "ConvTranspose") for n in onnx.load(own_fp16 / "led.onnx").graph.node)
    assert sidecar.precision.convolutions == {"FP16": convolutions}
    assert sidecar.precision.stray == []
    assert len(sidecar.layers) == sum(sidecar.precision.layers.values())
    assert sum(layer.type == "CONVOLUTION" for layer in sidecar.layers) == convolutions


@pytest.mark.slow
def test_plans_are_as_the_library_wrote_them(quick: Path) -> None:
    """Byte for byte what the library's own API gives, so that `trtexec --loadEngine` takes them."""
    built(quick, 86)
    trt = rtx().trt
    builder = trt.Builder(rtx().logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, rtx().logger)
    assert parser.parse_from_file(str(quick / "led.onnx"))
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.add_optimization_profile(builder.create_optimization_profile())
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    expected = bytes(builder.build_serialized_network(network, config))
    assert (set_of(quick, 86) / "led.plan").read_bytes() == expected


@pytest.mark.slow
def test_what_fits_is_kept_and_nothing_is_written(quick: Path) -> None:
    built(quick, 86)
    times = {path: path.stat().st_mtime_ns for path in quick.rglob("*")}
    assert built(quick, 86) == [f"SM 86 {name}: kept" for name in GRAPH_NAMES]
    assert {path: path.stat().st_mtime_ns for path in quick.rglob("*")} == times


@pytest.mark.slow
def test_only_what_changed_is_built_again_and_the_reason_is_said(quick: Path, tmp_path: Path) -> None:
    built(quick, 86)
    folder = set_of(quick, 86)
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    replace_graph(quick, "led", quantised_convolution(tmp_path, TensorProto.INT8).path)
    lines = built(quick, 86)
    assert any(line.startswith("SM 86 led: rebuilt, the graph changed  ") for line in lines)
    assert "SM 86 source_encoder: kept" in lines
    assert "SM 86 renderer_refiner: kept" in lines
    after = contents(folder)
    assert {name for name in after if after[name] != before[name]} == {"led.plan", "led.json"}
    assert after["notes.txt"] == b"mine"


@pytest.mark.slow
def test_quantised_graphs_build_and_the_audit_shows_them(quick: Path, tmp_path: Path) -> None:
    replace_graph(quick, "led", quantised_convolution(tmp_path, TensorProto.INT8).path)
    lines = built(quick, 75, 89)
    for sm in (75, 89):
        precision = read_sidecar(set_of(quick, sm), "led").precision
        assert precision.convolutions == {"FP32": 1, "INT8": 1}
        assert precision.stray == ["plain"]
        assert f"SM {sm} led: in FP32 though the bundle is FP16: plain" in lines


@pytest.mark.slow
def test_fp8_is_refused_where_there_is_none_and_left_out_under_all(quick: Path, tmp_path: Path) -> None:
    replace_graph(quick, "led", quantised_convolution(tmp_path, TensorProto.FLOAT8E4M3FN).path)
    with pytest.raises(TargetError, match="led: it computes in FP8, which SM 86 lacks; leave 86 out of --sm"):
        built(quick, 86)
    assert not (quick / "engines").exists()
    with pytest.raises(TargetError, match="SM 80"):
        write_engines(quick, targets(75, 80, lenient=True))
    with log_lines() as lines:
        write_engines(quick, choose_targets(rtx(), None))
    assert [line.split(":")[0] for line in lines if "left out" in line] == ["SM 75", "SM 80", "SM 86"]
    assert sorted(path.name.rpartition("-sm")[2] for path in (quick / "engines").iterdir()) == ["120", "121", "89"]


@pytest.mark.slow
def test_an_fp32_matrix_product_is_refused_on_turing(bundle_fp32: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle_fp32, tmp_path / "bundle"))
    with pytest.raises(TargetError, match=r"^renderer_refiner: .*'TriplaneRender_\d+_MatMul'.*export with --fp16"):
        built(folder, 75)
    assert not (folder / "engines").exists()


@pytest.mark.slow
@pytest.mark.parametrize("existing", [False, True])
def test_ctrl_c_leaves_what_was_there(quick: Path, monkeypatch: pytest.MonkeyPatch, existing: bool) -> None:
    if existing:
        built(quick, 86)
        (set_of(quick, 86) / "led.plan").write_bytes(b"damaged")
    before = contents(quick)
    rtx()
    monkeypatch.setattr(process, "build_bar", interrupting_bar)
    with pytest.raises(KeyboardInterrupt):
        built(quick, 86)
    assert contents(quick) == before
    assert (quick / "engines").exists() == existing


def test_a_failure_between_graphs_leaves_no_half_set(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = writer.build_engine, []

    def second_fails(job: object) -> object:
        calls.append(job)
        if len(calls) == 2:
            raise HideNerfError("no more")
        return original(job)

    monkeypatch.setattr(writer, "build_engine", second_fails)
    with pytest.raises(HideNerfError, match="no more"):
        built(quick, 86)
    assert not (quick / "engines").exists()


def test_a_place_that_cannot_be_written_is_refused_before_any_build(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx()
    (quick / "engines").write_text("a file where the folder should be")
    monkeypatch.setattr(writer, "build_engine", lambda _: pytest.fail("built"))
    with pytest.raises(HideNerfError, match=r"engines: cannot make this folder"):
        built(quick, 86)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_bundle_is_one_sentence(quick: Path) -> None:
    quick.chmod(0o555)
    try:
        with pytest.raises(HideNerfError, match="cannot make this folder"):
            built(quick, 86)
    finally:
        quick.chmod(0o755)


def test_a_broken_bundle_is_refused(quick: Path) -> None:
    (quick / "led.onnx").write_bytes(b"changed")
    with pytest.raises(HideNerfError, match=r"led\.onnx was changed"):
        built(quick, 86)
