"""The plugin library against the real headers of TensorRT 8.6, 10 and 11: compiled, driven through its life, compared.

What calls it is our harness, not TensorRT. Without a GPU the kernels run emulated on the host.
"""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hidenerf.model.alignment import SourceView
from hidenerf.model.deformation import ray_samples
from hidenerf.model.refinement import align_source
from tests.support.kernels.align_scenes import scene
from tests.support.kernels.ray_scenes import ODD as ODD_RAYS
from tests.support.kernels.ray_scenes import ray_scene
from tests.support.kernels.scenes import ODD, placed_reference, random_scene
from tests.support.plugin.library import PluginBuild, build_plugin, sms

pytestmark = pytest.mark.slow

# FP16 planes, weights and hidden values, and light cut at 0.1 %.
LARGEST = 6e-3
# Canonical points of these scenes: |p + Δ| stays below this, so errors of weights count as much more in `place`.
FARTHEST = 2.0


@pytest.fixture(scope="module", params=["installed", "8.6.1", "10.12.0", "11.1.0"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PluginBuild:
    return build_plugin(request.param, tmp_path_factory.mktemp("plugin"))


def code_inside(content: bytes) -> set[tuple[str, int]]:
    """("cubin" or "ptx", compute capability) of every entry of the CUDA fat binaries in a file."""
    found = set()
    at = content.find(b"\x50\xed\x55\xba")
    while at >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", content, at)
        if (version, header) == (1, 16):
            entry, end = at + header, at + header + size
            while entry < end:
                kind, _, entry_header, payload = struct.unpack_from("<HHIQ", content, entry)
                (capability,) = struct.unpack_from("<I", content, entry + 28)
                found.add(({1: "ptx", 2: "cubin"}[kind], capability))
                entry += entry_header + payload
        at = content.find(b"\x50\xed\x55\xba", at + 4)
    return found


def test_compiles_without_a_warning(built: PluginBuild) -> None:
    assert "warning" not in built.log


def test_exports_the_two_entry_points_alone(built: PluginBuild) -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    command = ["nm", "-D", "--defined-only", str(built.library)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    # Of TensorRT 8.6, and of 10 and newer.
    creators = "getPluginCreators" if b'"tensorrt": "8.' in built.library.read_bytes() else "getCreators"
    assert sorted(line.split()[1:] for line in lines) == [["T", creators], ["T", "setLoggerFinder"]]


def test_needs_no_library_of_cuda(built: PluginBuild) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    command = ["readelf", "--dynamic", str(built.library)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    needed = [line for line in lines if "(NEEDED)" in line]
    assert needed
    assert not [line for line in needed if "cuda" in line or "nv" in line]


def test_holds_machine_code_of_every_sm_and_ptx_of_the_newest(built: PluginBuild) -> None:
    expected = {("cubin", sm) for sm in sms()} | {("ptx", sms()[-1])}
    assert code_inside(built.library.read_bytes()) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is what happens without a GPU")
def test_life_without_a_gpu_leaks_nothing_and_ends_in_an_error_code(built: PluginBuild) -> None:
    done = built.run_harness("life", str(built.library), "no-gpu")
    assert done.returncode == 0, done.stderr


def test_life_with_emulated_kernels_leaks_nothing(built: PluginBuild) -> None:
    done = built.run_harness("life", str(built.emulated), "gpu")
    assert done.returncode == 0, done.stderr
    # Where TensorRT gives no logger, the harness makes two mistakes.
    assert done.stderr.count("TriplaneRender: the field octaves is missing\n") == 2


def test_the_harness_fails_where_a_library_does_not_do_as_said(built: PluginBuild) -> None:
    assert built.run_harness("life", str(built.emulated), "no-gpu").returncode == 1


def render_inputs(kind: torch.dtype) -> tuple[list[Tensor], list[tuple[Tensor, Tensor, Tensor]]]:
    """A batch of two pictures with one MLP, and what PyTorch in FP64 makes of them."""
    scenes = [random_scene(ODD, 4), random_scene(ODD, 9)]
    scenes = [s._replace(planes=[p.to(kind).float() for p in s.planes]) for s in scenes]
    mlp = [t.to(kind) for t in scenes[0].mlp]
    shared = [s._replace(**dict(zip(s._fields[3:], [t.float() for t in mlp], strict=True))) for s in scenes]
    inputs = [torch.cat([s.deformation for s in shared]), torch.cat([s.camera for s in shared])]
    inputs += [torch.cat(levels).to(kind) for levels in zip(*[s.planes for s in shared], strict=True)]
    return [*inputs, *mlp], [placed_reference(s, ODD.octaves) for s in shared]


def check_render(built: PluginBuild, kind: torch.dtype, folder: Path, device: bool, place: int = 0) -> None:
    inputs, expected = render_inputs(kind)
    fields = {"octaves": ODD.octaves} | ({"place": 1} if place else {})
    written = built.enqueue("TriplaneRender", inputs, folder, device, **fields)
    found = {name: values.view(np.float32) for name, values in written.items()}
    size = ODD.render_size
    for name in ["output", "replayed"] if device else ["output"]:
        rendered = found[f"{name}_0"].reshape(2, ODD.rendered, size, size)
        alpha = found[f"{name}_1"].reshape(2, size, size)
        assert (f"{name}_2" in found) == bool(place)
        for item, (right, right_alpha, right_place) in enumerate(expected):
            assert np.abs(rendered[item] - right.numpy()).max() < LARGEST
            assert np.abs(alpha[item] - right_alpha.numpy()).max() < LARGEST
            if place:
                points = found[f"{name}_2"].reshape(2, 3, size, size)
                assert np.abs(points[item] - right_place.numpy()).max() < FARTHEST * LARGEST


def check_sample(built: PluginBuild, kind: torch.dtype, folder: Path, device: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    volume = torch.randn(2, 4, 5, 6, 7, generator=generator).to(kind)
    grid = torch.rand(2, 2, 3, 4, 3, generator=generator) * 2.6 - 1.3
    right = torch.nn.functional.grid_sample(volume.double(), grid.double(), align_corners=False).flatten().numpy()
    found = built.enqueue("GridSample3d", [volume, grid], folder, device)
    for name in ["output_0", "replayed_0"] if device else ["output_0"]:
        tolerance = 2e-6 if kind == torch.float32 else 2e-3
        values = found[name].view(np.float32 if kind == torch.float32 else np.float16)
        np.testing.assert_allclose(values.astype(np.float64), right, rtol=tolerance, atol=tolerance)


def check_rays(built: PluginBuild, kind: torch.dtype, folder: Path, device: bool) -> None:
    """A batch of two cameras against `deformation.ray_samples` in FP64."""
    scenes = [ray_scene(ODD_RAYS, seed, fp16=kind == torch.float16) for seed in (1, 2)]
    camera, features = (torch.cat(pair) for pair in zip(*scenes, strict=True))
    fields = {"samples": ODD_RAYS.samples, "stride": ODD_RAYS.stride}
    found = built.enqueue("RaySamples", [camera, features], folder, device, **fields)
    expected = ray_samples(camera.double(), features.double(), **fields)
    number = np.float32 if kind == torch.float32 else np.float16
    tolerance = 1e-4 if kind == torch.float32 else 2e-3
    for name in ["output", "replayed"] if device else ["output"]:
        for index, right in enumerate(expected):
            values = found[f"{name}_{index}"].view(number).reshape(right.shape).astype(np.float64)
            np.testing.assert_allclose(values, right, rtol=tolerance, atol=tolerance)


# Channels and side of AlignSource's maps: below, at and above the rendered picture's size, the last in parts of two and
# one channels.
MAPS = ((3, 4), (5, 8), (4, 16), (3, 64))


# Whether the model has the source picture, and an enlarger: fields of AlignSource.
PICTURES: tuple[dict[str, int], ...] = ({}, {"picture": 1}, {"picture": 1, "enlarged": 1})
aligned = pytest.mark.parametrize("pictured", PICTURES, ids=["no picture", "picture", "enlarger"])


def check_align(built: PluginBuild, kind: torch.dtype, folder: Path, device: bool, pictured: dict[str, int]) -> None:
    """A batch of two frames against `refinement.align_source` in FP64."""
    generator = torch.Generator().manual_seed(3)
    shown = [scene(16, 64, seed) for seed in (1, 2)]
    tensors = [(one.place, one.alpha, *one.source, one.face_sight) for one in shown]
    place, alpha, *known = (torch.cat(pair) for pair in zip(*tensors, strict=True))
    rendered = torch.rand(2, 5, 16, 16, generator=generator)
    own = torch.rand(2, 3, 64, 64, generator=generator)
    pictures = [own, torch.nn.functional.avg_pool2d(own, 4)] if pictured else []
    absent = torch.randn(sum(channels for channels, _ in MAPS), generator=generator)
    maps = [torch.randn(2, channels, side, side, generator=generator).to(kind) for channels, side in MAPS]
    inputs = [place, alpha, rendered, *known, *pictures, absent, *maps]
    found = built.enqueue("AlignSource", inputs, folder, device, maps=len(maps), **pictured)
    projection, surface, face_sight = (one.double() for one in known)
    read, in_frame = align_source(
        place.double(),
        alpha.double(),
        rendered.double(),
        SourceView(projection, surface),
        face_sight,
        [one.double() for one in pictures],
        absent.double(),
        [one.double() for one in maps],
        "enlarged" in pictured,
    )
    expected = {name: one for name, one in read._asdict().items() if one is not None}
    expected |= {f"map {index}": one for index, one in enumerate(in_frame)}
    for name in ["output", "replayed"] if device else ["output"]:
        assert sum(key.startswith(name) for key in found) == len(expected)
        for index, (what, right) in enumerate(expected.items()):
            half = what not in ("own", "shown") and kind == torch.float16
            values = found[f"{name}_{index}"].view(np.float16 if half else np.float32).reshape(right.shape)
            np.testing.assert_allclose(values.astype(np.float64), right, atol=4e-3 if half else 2e-3, err_msg=what)


@aligned
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_what_is_aligned_with_emulated_kernels_is_pytorchs(
    built: PluginBuild, kind: torch.dtype, pictured: dict[str, int], tmp_path: Path
) -> None:
    check_align(built, kind, tmp_path, device=False, pictured=pictured)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_render_with_emulated_kernels_is_pytorchs(
    built: PluginBuild, kind: torch.dtype, place: int, tmp_path: Path
) -> None:
    check_render(built, kind, tmp_path, device=False, place=place)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_samples_with_emulated_kernels_are_pytorchs(built: PluginBuild, kind: torch.dtype, tmp_path: Path) -> None:
    check_sample(built, kind, tmp_path, device=False)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_rays_with_emulated_kernels_are_pytorchs(built: PluginBuild, kind: torch.dtype, tmp_path: Path) -> None:
    check_rays(built, kind, tmp_path, device=False)


on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", [pytest.param(k, marks=on_gpu) for k in (torch.float32, torch.float16)])
def test_render_on_a_gpu_is_pytorchs(built: PluginBuild, kind: torch.dtype, place: int, tmp_path: Path) -> None:
    """Enqueued as it is, and captured in a CUDA graph before anything else ran."""
    check_render(built, kind, tmp_path, device=True, place=place)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=on_gpu) for k in (torch.float32, torch.float16)])
def test_samples_on_a_gpu_are_pytorchs(built: PluginBuild, kind: torch.dtype, tmp_path: Path) -> None:
    check_sample(built, kind, tmp_path, device=True)


@aligned
@pytest.mark.parametrize("kind", [pytest.param(k, marks=on_gpu) for k in (torch.float32, torch.float16)])
def test_what_is_aligned_on_a_gpu_is_pytorchs(
    built: PluginBuild, kind: torch.dtype, pictured: dict[str, int], tmp_path: Path
) -> None:
    check_align(built, kind, tmp_path, device=True, pictured=pictured)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=on_gpu) for k in (torch.float32, torch.float16)])
def test_rays_on_a_gpu_are_pytorchs(built: PluginBuild, kind: torch.dtype, tmp_path: Path) -> None:
    check_rays(built, kind, tmp_path, device=True)
