"""Tests mirror the product: `a/b.py` is tested by `tests/a/test_b.py`, and no test imports another test."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
PRODUCT = ("assets", "calibration", "commands", "export", "model", "runtime", "training")
# Kernels run emulated on the host and on a GPU, in files of their own.
VARIANTS = ("", "_emulated", "_gpu")

# Modules without a test of their own, and the test that runs them. A module is here if it only connects others, so that
# a test of it alone would replace all that it does, or if it is one half of what another module does.
TESTED_BY = {
    "assets/network_file.py": "assets/test_matting_network.py",
    "calibration/parity/comparison.py": "commands/test_parity.py",
    "calibration/parity/gate.py": "commands/test_export_gate.py",
    "calibration/parity/runners.py": "calibration/parity/test_tensors.py",
    "calibration/parity/sides.py": "calibration/parity/test_measurement.py",
    "calibration/precision/calibrate.py": "commands/test_calibrate.py",
    "calibration/precision/plan.py": "commands/test_calibrate.py",
    "export/engines/build.py": "export/engines/test_process.py",
    "export/engines/builder_library.py": "export/engines/test_targets.py",
    "export/engines/recipe.py": "export/engines/test_writer.py",
    "export/engines/worker.py": "export/engines/test_process.py",
    "export/lowering/chain.py": "export/lowering/test_lower.py",
    "export/lowering/deformation_tail.py": "export/lowering/test_lower.py",
    "export/lowering/frame_tail.py": "export/lowering/test_lower.py",
    "export/lowering/layers.py": "export/lowering/test_lower.py",
    "export/lowering/onnx_view.py": "export/lowering/test_lower.py",
    "export/lowering/rules.py": "export/lowering/test_lower.py",
    "export/passes/function_bodies.py": "export/test_custom_ops.py",
    "export/passes/map_nodes.py": "export/passes/test_fp16.py",
    "runtime/animator.py": "commands/test_run.py",
    "runtime/backends/gpu.py": "runtime/backends/test_backends.py",
    "runtime/backends/onnxruntime_cpu.py": "runtime/backends/test_backends.py",
    "runtime/backends/onnxruntime_session.py": "runtime/backends/test_backends.py",
    "runtime/backends/planned_graphs.py": "runtime/backends/test_onnxruntime_cuda.py",
    "runtime/defaults.py": "commands/test_run.py",
    "runtime/drivers/arkit_rows.py": "runtime/drivers/test_arkit_csv.py",
    "runtime/drivers/base.py": "runtime/drivers/test_open.py",
    "runtime/drivers/csv_table.py": "runtime/drivers/test_arkit_csv.py",
    "runtime/errors.py": "commands/test_run.py",
    "runtime/kernels/launch.py": "runtime/backends/test_onnxruntime_cuda.py",
    "runtime/kernels/secc_drawer.py": "runtime/kernels/test_others_gpu.py",
    "runtime/kernels/sizes.py": "runtime/kernels/test_packing.py",
    "runtime/pipeline.py": "commands/test_run.py",
    "runtime/sources/source.py": "runtime/sources/test_prepare.py",
    "runtime/tensorrt/api.py": "runtime/backends/test_tensorrt.py",
    "runtime/tensorrt/compiled_cache.py": "runtime/backends/test_tensorrt.py",
    "runtime/tensorrt/generations.py": "runtime/tensorrt/test_library.py",
    "runtime/tensorrt/sidecar.py": "runtime/tensorrt/test_engine_set.py",
    "runtime/video/container.py": "runtime/video/test_reader.py",
    "runtime/video/encoder.py": "runtime/video/test_writer.py",
    "runtime/video/sound.py": "runtime/video/test_writer.py",
    "training/data/clips/folder.py": "commands/test_clips.py",
    "training/data/surface_points.py": "training/data/synthetic/test_geometry.py",
    "training/data/synthetic/occlusion.py": "training/data/synthetic/test_painting.py",
    "training/data/synthetic/photo_settings.py": "training/data/synthetic/test_photography.py",
    "training/data/synthetic/portrait_reading.py": "training/data/synthetic/test_portraits.py",
    "training/evaluation/columns.py": "training/evaluation/test_tables.py",
    "training/evaluation/run.py": "commands/test_evaluate.py",
    "training/kernels/field_kernels.py": "training/kernels/test_field.py",
    "training/kernels/norm_kernels.py": "training/kernels/test_norm.py",
    "training/kernels/sampling_kernels.py": "training/kernels/test_sampling.py",
    "training/kernels/volume_kernels.py": "training/kernels/test_volume.py",
    "training/loop/metrics_log.py": "training/loop/test_session.py",
    "training/loop/run.py": "training/loop/test_session.py",
    "training/loop/samples.py": "training/loop/test_session.py",
}

# Tests of no single module, and what they test.
WITHOUT_A_MODULE = {
    "benchmarks/test_gpu_session.py": "what benchmarks/gpu_session.sh packs",
    "benchmarks/test_tensorrt_session.py": "what benchmarks/tensorrt_session.sh packs and runs",
    "commands/test_export_engines.py": "`hidenerf-export --backend`",
    "commands/test_export_gate.py": "the parity gate of `hidenerf-export`",
    "examples/cpp/test_formats.py": "what the sample in C++ reads and writes",
    "examples/cpp/test_prepare_inputs.py": "the script that writes the sample's inputs",
    "examples/cpp/test_sample.py": "the sample in C++",
    "examples/cpp/test_sample_gpu.py": "the same on a GPU",
    "examples/test_examples.py": "the scripts of examples/",
    "export/engines/test_api.py": "the names that the builder takes from TensorRT's Python module",
    "export/engines/test_plugin_nodes.py": "the builder and the plugin together",
    "export/engines/test_presets.py": "engines of the presets",
    "export/engines/test_tensorrt_8_6.py": "what TensorRT 8.6 has of the names, and its plugin registry",
    "runtime/backends/test_backends.py": "every backend on the same bundles",
    "runtime/drivers/test_motion_file_bytes.py": "damaged takes and motion files",
    "runtime/video/test_damaged_clips.py": "clips that end early",
    "runtime/test_odd_files.py": "damaged and odd files of bundles, engines and sources",
    "runtime/kernels/plugin/test_pack_mlp.py": "a kernel in CUDA",
    "runtime/kernels/plugin/test_plugin.py": "the TensorRT plugin, in C++",
    "runtime/kernels/test_convolution_emulated.py": "the convolution, a kernel in CUDA",
    "runtime/kernels/test_others_emulated.py": "kernels in CUDA that are small",
    "runtime/kernels/test_others_gpu.py": "the same on a GPU",
    "test_documents.py": "README and docs/",
    "test_layers.py": "imports between the layers",
    "test_layout.py": "this",
    "test_wheel.py": "the wheel",
}


def modules() -> list[str]:
    paths = [path for part in PRODUCT for path in (CHECKOUT / part).rglob("*.py") if path.name != "__init__.py"]
    return sorted(path.relative_to(CHECKOUT).as_posix() for path in paths)


def files_of_tests() -> list[str]:
    return sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def own_tests(module: str) -> list[str]:
    path = Path(module)
    return [(path.parent / f"test_{path.stem}{variant}.py").as_posix() for variant in VARIANTS]


def test_every_module_has_a_test_of_its_name() -> None:
    there = set(files_of_tests())
    untested = [module for module in modules() if not there.intersection(own_tests(module)) and module not in TESTED_BY]
    assert untested == [], "write tests/…/test_<name>.py, or name the test that runs the module in TESTED_BY"


def test_every_test_has_a_module_of_its_name() -> None:
    there = [path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "benchmarks").glob("*.py")]
    named = {name for module in [*modules(), *there] for name in own_tests(module)}
    strangers = [name for name in files_of_tests() if name not in named and name not in WITHOUT_A_MODULE]
    assert strangers == [], "name the test after a module, or say in WITHOUT_A_MODULE what it tests"


def test_the_lists_of_exceptions_hold_nothing_else() -> None:
    there = set(files_of_tests())
    assert {name for name in TESTED_BY.values() if name not in there} == set()
    assert {name for name in TESTED_BY if name not in modules() or there.intersection(own_tests(name))} == set()
    assert {name for name in WITHOUT_A_MODULE if name not in there} == set()


@pytest.mark.parametrize("name", sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py")))
def test_no_test_imports_another(name: str) -> None:
    tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    last = [module.split(".")[-1] for module in imported if module.split(".")[0] == "tests"]
    assert [part for part in last if part == "conftest" or part.startswith("test_")] == []
