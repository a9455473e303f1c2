import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hidenerf.calibration.frames import Pose
from hidenerf.calibration.parity.measurement import (
    HOISTING,
    WHOLE_FRAME,
    Parity,
    collect_poses,
    measure_parity,
)
from hidenerf.calibration.parity.reference import model_of
from hidenerf.calibration.parity.sides import BundleSide, TorchSide
from hidenerf.calibration.parity.thresholds import thresholds_for
from hidenerf.export.graph_modules import source_tensors
from hidenerf.export.precision import FloatPrecision
from hidenerf.model.hidenerf import HideNerf, random_model
from hidenerf.runtime.animator import Animator
from hidenerf.runtime.defaults import demo_motion_path, demo_source_path
from hidenerf.runtime.resting_face import with_rest_of
from hidenerf.runtime.sources.source import Source
from tests.support.bundles import graphs_of, write_untrained
from tests.support.tiny import TINY_ALIGNED


@pytest.fixture(scope="module")
def parity(model: HideNerf, animator: Animator, source: Source, poses: list[Pose]) -> Parity:
    return measure_parity(TorchSide(model), BundleSide(animator), animator, source, poses, lambda: None)


@pytest.mark.slow
def test_poses_are_spread_over_the_whole_motion(animator: Animator, source: Source) -> None:
    seen = 0

    def advance() -> None:
        nonlocal seen
        seen += 1

    poses, length = collect_poses(animator.open_driver(demo_motion_path()), source, 5, advance)
    assert seen == length
    assert [pose.index for pose in poses] == [0, 1, length - 2, length - 1]
    driver = animator.open_driver(demo_motion_path())
    motion = list(driver)
    for pose in poses:
        expected = with_rest_of(source.expression, motion[pose.index].expression, driver.expression_names)
        np.testing.assert_array_equal(pose.expression, expected)
        np.testing.assert_array_equal(pose.camera, motion[pose.index].camera)


def test_a_short_motion_is_taken_whole_and_once(animator: Animator, source: Source) -> None:
    poses, length = collect_poses(animator.open_driver(demo_motion_path()), source, 10_000, lambda: None)
    assert [pose.index for pose in poses] == list(range(length))


def test_a_fresh_bundle_passes(parity: Parity, model: HideNerf, poses: list[Pose]) -> None:
    assert parity.passed
    assert parity.thresholds == thresholds_for("fp32")
    layers = 2 * len(model.config.refiner_channels)
    encoder = {f"planes_{level}" for level in range(len(model.config.plane_sizes))} | {"led_canonical"}
    encoder |= {f"{kind}_{layer}" for layer in range(layers) for kind in ("gamma", "beta")}
    expected = {("source_encoder", name) for name in encoder} | {("led", "deformation")}
    expected |= {("renderer_refiner", name) for name in ("frame", "alpha")}
    expected |= {(WHOLE_FRAME, "alpha")}
    expected |= {(HOISTING, name) for name in ("deformation", "alpha", "frame")}
    assert {(row.graph, row.tensor) for row in parity.tensors} == expected
    assert len(parity.tensors) == len(expected)
    assert [frame.index for frame in parity.frames] == [pose.index for pose in poses]
    for frame in parity.frames:
        assert frame.psnr >= 60.0
        assert frame.ssim == pytest.approx(1.0, abs=1e-3)
        assert 0.0 <= frame.flip < 1e-3
        assert frame.max_abs <= 1


def test_the_references_are_the_unhoisted_models_frames(
    parity: Parity, model: HideNerf, animator: Animator, source: Source, poses: list[Pose]
) -> None:
    (pose,) = (pose for pose in poses if pose.index == parity.worst_frames[0].row.index)
    shape = animator.face_model.vertices(source.identity, source.expression)
    from hidenerf.runtime.secc import secc

    canonical = secc(shape, animator.face_model, animator.bundle.secc_size)
    with torch.inference_mode():
        frame = model(
            torch.from_numpy(source.picture.astype(np.float32) / 255.0).permute(2, 0, 1)[None],
            torch.from_numpy(source.camera)[None],
            torch.from_numpy(canonical)[None],
            torch.from_numpy(animator.draw_secc(pose.expression))[None],
            torch.from_numpy(pose.camera)[None],
        ).frame[0]
    expected = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(parity.worst_frames[0].reference, expected)
    np.testing.assert_array_equal(parity.worst_frames[0].result, animator.render(pose.expression, pose.camera)[0])


def test_the_worst_frame_is_the_one_of_lowest_psnr(parity: Parity) -> None:
    lowest = min(parity.frames, key=lambda frame: frame.psnr)
    assert parity.worst_frames[0].row.index == lowest.index
    difference = np.abs(parity.worst_frames[0].reference.astype(int) - parity.worst_frames[0].result.astype(int))
    assert difference.max() == lowest.max_abs
    if lowest.max_abs:
        assert lowest.psnr == pytest.approx(10 * math.log10(255**2 / np.square(difference).mean()))


def test_another_model_is_told_from_the_bundles(
    model: HideNerf, animator: Animator, source: Source, poses: list[Pose]
) -> None:
    other = measure_parity(
        TorchSide(random_model(model.config, 1)), BundleSide(animator), animator, source, poses[:1], lambda: None
    )
    failed = {row.graph for row in other.tensors if not row.passed}
    assert failed >= {"source_encoder", "led", "renderer_refiner"}
    assert HOISTING not in failed
    assert not other.frames[0].passed
    assert not other.passed


@pytest.mark.slow
def test_half_precision_passes_at_its_own_thresholds(bundle_fp16: Path, model: HideNerf, poses: list[Pose]) -> None:
    with Animator(bundle_fp16) as animator:
        source = animator.set_source(demo_source_path())
        fp16 = measure_parity(TorchSide(model), BundleSide(animator), animator, source, poses, lambda: None)
    assert fp16.passed
    assert fp16.thresholds == thresholds_for("fp16")
    by_name = {(row.graph, row.tensor): row.difference for row in fp16.tensors}
    # FP16 rounds by 2⁻¹², so what were this good would not be FP16.
    assert by_name["source_encoder", "planes_1"].relative > 1e-5
    assert by_name[HOISTING, "deformation"].relative < 1e-5


def test_flicker_is_measured_where_frames_follow_one_another(parity: Parity, poses: list[Pose]) -> None:
    first, second, third, fourth = (pose.index for pose in poses)
    assert (second, fourth) == (first + 1, third + 1)
    assert [row.index for row in parity.flicker] == [first, third]
    assert parity.worst_flicker is not None
    assert parity.worst_flicker.row == min(parity.flicker, key=lambda row: row.psnr)
    assert all(row.motion > 0.0 for row in parity.flicker)


@pytest.mark.slow
def test_a_bundle_against_itself_differs_in_nothing(
    bundle_fp32: Path, bundle_fp16: Path, animator: Animator, source: Source, poses: list[Pose]
) -> None:
    with Animator(bundle_fp32) as other, Animator(bundle_fp16) as fp16:
        other.set_source(source)
        fp16.set_source(source)
        same = measure_parity(BundleSide(other), BundleSide(animator), animator, source, poses, lambda: None)
        rounded = measure_parity(BundleSide(fp16), BundleSide(animator), animator, source, poses, lambda: None)
    assert all(row.difference.max_abs == 0.0 for row in same.tensors)
    for rows in (same.frames, same.flicker):
        assert all(row.max_abs == 0 and row.psnr == math.inf for row in rows)
    assert HOISTING not in {row.graph for row in same.tensors}
    # The least exact side decides, whichever it is.
    assert rounded.thresholds == thresholds_for("fp16")
    assert rounded.passed
    assert any(row.difference.max_abs > 0.0 for row in rounded.tensors)


@pytest.mark.parametrize("precision", list(FloatPrecision))
def test_a_bundle_of_an_aligned_model_passes(
    bundle_aligned: Path, tmp_path: Path, poses: list[Pose], precision: FloatPrecision
) -> None:
    """Its graphs pass on what they know of the source's view; hoisted they are the model with nothing hoisted."""
    with graphs_of(bundle_aligned):
        folder = write_untrained(TINY_ALIGNED, tmp_path / "bundle", precision=precision)
    with Animator(folder, "onnxruntime-cpu") as animator:
        source = animator.set_source(demo_source_path())
        model = model_of(animator.bundle, None)
        found = measure_parity(TorchSide(model), BundleSide(animator), animator, source, poses, lambda: None)
    assert found.passed
    assert found.thresholds == thresholds_for(precision.value)
    rows = {(row.graph, row.tensor): row.difference for row in found.tensors}
    assert rows["source_encoder", "source_pixels"].max_abs == 0.0
    assert {("source_encoder", name) for name in source_tensors(TINY_ALIGNED)} <= rows.keys()
    assert (HOISTING, "frame") in rows
