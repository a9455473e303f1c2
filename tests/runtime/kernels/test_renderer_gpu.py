"""TriplaneRender on a GPU against PyTorch in FP64."""

import dataclasses

import pytest
import torch

from tests.support.kernels.scenes import (
    BASE,
    DEMO,
    ODD,
    Scene,
    head_scene,
    placed_reference,
    random_scene,
    reference,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

# FP16 planes, weights and hidden values, and light cut at 0.1 %.
LARGEST, RMS = 6e-3, 4e-4
# Canonical points of these scenes: |p + Δ| stays below this, so errors of weights count as much more in `place`.
FARTHEST = 2.0


def check(scene: Scene, octaves: int, rendered: torch.Tensor, alpha: torch.Tensor) -> None:
    expected, expected_alpha = reference(scene, octaves)
    for found, right in ((rendered, expected), (alpha, expected_alpha)):
        error = found.double() - right.to(found.device)
        assert torch.isfinite(found).all()
        assert error.abs().max() < LARGEST
        assert error.square().mean().sqrt() < RMS


def check_place(scene: Scene, octaves: int, place: torch.Tensor) -> None:
    error = place.double() - placed_reference(scene, octaves)[2].to(place.device)
    assert torch.isfinite(place).all()
    assert error.abs().max() < FARTHEST * LARGEST
    assert error.square().mean().sqrt() < FARTHEST * RMS


@pytest.mark.parametrize("make", [random_scene, head_scene])
@pytest.mark.parametrize("sizes", [ODD, DEMO, BASE], ids=["odd", "demo", "base"])
def test_matches_pytorch_in_fp64(sizes, make) -> None:  # type: ignore[no-untyped-def]
    from tests.support.kernels.on_gpu import SceneRenderer

    scene = make(sizes, torch.seed() % 10_000)
    ready = SceneRenderer(sizes, scene)
    check(ready.scene, sizes.octaves, *ready.render())
    assert int(ready.flags) == 0


@pytest.mark.parametrize("sizes", [ODD, DEMO], ids=["odd", "demo"])
def test_the_first_version_agrees(sizes) -> None:  # type: ignore[no-untyped-def]
    from tests.support.kernels.on_gpu import DirectRenderer

    ready = DirectRenderer(sizes, random_scene(sizes, 5))
    check(ready.scene, sizes.octaves, *ready.render())


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("make", [random_scene, head_scene])
@pytest.mark.parametrize("sizes", [ODD, DEMO, BASE], ids=["odd", "demo", "base"])
def test_place_is_pytorchs_in_fp64(sizes, make, fp16: bool) -> None:  # type: ignore[no-untyped-def]
    """And the other two outputs are those of the kernel without it."""
    from tests.support.kernels.on_gpu import SceneRenderer

    scene = make(sizes, 21)
    plain, ready = SceneRenderer(sizes, scene), SceneRenderer(dataclasses.replace(sizes, place=1), scene)
    for found, same in zip(ready.render(fp16), plain.render(fp16), strict=True):
        assert (found.float() - same.float()).abs().max() < 1e-3
    check_place(ready.scene, sizes.octaves, ready.place)


@pytest.mark.parametrize("sizes", [ODD, DEMO], ids=["odd", "demo"])
def test_the_first_version_s_place_agrees(sizes) -> None:  # type: ignore[no-untyped-def]
    from tests.support.kernels.on_gpu import DirectRenderer

    ready = DirectRenderer(dataclasses.replace(sizes, place=1), random_scene(sizes, 5))
    check(ready.scene, sizes.octaves, *ready.render())
    check_place(ready.scene, sizes.octaves, ready.place)


def test_place_is_finite_where_the_deformation_is_not() -> None:
    from tests.support.kernels.on_gpu import SceneRenderer

    scene = random_scene(ODD, 3)
    bad = scene.deformation.clone()
    bad[0, 0, 2, 2], bad[0, 4, 3, 5], bad[0, 2, 4, 4] = float("nan"), float("inf"), float("-inf")
    ready = SceneRenderer(dataclasses.replace(ODD, place=1), scene._replace(deformation=bad))
    ready.render()
    assert int(ready.flags) == 1
    # What is not finite counts as not moved: the mean of far outside on either side.
    expected = torch.zeros_like(ready.place).double()
    for side in (50.0, -50.0):
        moved = torch.where(torch.isfinite(bad), bad, torch.full_like(bad, side)).cuda()
        expected += placed_reference(ready.scene._replace(deformation=moved), ODD.octaves)[2] / 2
    assert (ready.place - expected).abs().max() < FARTHEST * LARGEST


def test_fp16_planes_and_fp16_output() -> None:
    from tests.support.kernels.on_gpu import SceneRenderer

    ready = SceneRenderer(DEMO, random_scene(DEMO, 7))
    full, alpha = ready.render()
    ready.merge(fp16=True)
    fp16, fp16_alpha = ready.render(fp16=True)
    assert fp16.dtype == torch.float16
    assert (fp16.float() - full).abs().max() < LARGEST
    assert (fp16_alpha - alpha).abs().max() < LARGEST


def test_deformations_that_leave_the_box_and_that_are_not_finite() -> None:
    from tests.support.kernels.on_gpu import SceneRenderer

    scene = random_scene(ODD, 3)
    far = scene._replace(deformation=scene.deformation * 20)
    ready = SceneRenderer(ODD, far)
    check(ready.scene, ODD.octaves, *ready.render())
    assert int(ready.flags) == 0

    bad = scene.deformation.clone()
    bad[0, 0, 2, 2], bad[0, 4, 3, 5], bad[0, 2, 4, 4] = float("nan"), float("inf"), float("-inf")
    ready = SceneRenderer(ODD, scene._replace(deformation=bad))
    rendered, alpha = ready.render()
    assert int(ready.flags) == 1
    # Not finite is outside: the same as far outside.
    outside = torch.where(torch.isfinite(bad), bad, torch.full_like(bad, -50.0))
    check(ready.scene._replace(deformation=outside.cuda()), ODD.octaves, rendered, alpha)


def test_a_camera_that_is_not_finite_sees_nothing() -> None:
    from tests.support.kernels.on_gpu import SceneRenderer

    scene = random_scene(ODD, 3)
    camera = scene.camera.clone()
    camera[0, 3] = float("nan")
    rendered, alpha = SceneRenderer(ODD, scene._replace(camera=camera)).render()
    assert (rendered == 0).all()
    assert (alpha == 0).all()


def test_the_same_inputs_give_the_same_bits() -> None:
    from tests.support.kernels.on_gpu import SceneRenderer

    ready = SceneRenderer(BASE, random_scene(BASE, 1))
    rendered, alpha = ready.render()
    for _ in range(20):
        again, alpha_again = ready.render()
        assert torch.equal(rendered, again)
        assert torch.equal(alpha, alpha_again)
