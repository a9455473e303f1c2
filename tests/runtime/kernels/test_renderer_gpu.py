"""TriplaneRender on a GPU against PyTorch in FP64."""

import pytest
import torch

from tests.support.kernels.scenes import BASE, DEMO, ODD, Scene, head_scene, random_scene, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

# FP16 planes, weights and hidden values, and light cut at 0.1 %.
LARGEST, RMS = 6e-3, 4e-4


def check(scene: Scene, octaves: int, rendered: torch.Tensor, alpha: torch.Tensor) -> None:
    wanted, wanted_alpha = reference(scene, octaves)
    for found, right in ((rendered, wanted), (alpha, wanted_alpha)):
        error = found.double() - right.to(found.device)
        assert torch.isfinite(found).all()
        assert error.abs().max() < LARGEST
        assert error.square().mean().sqrt() < RMS


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


def test_fp16_planes_and_fp16_output() -> None:
    from tests.support.kernels.on_gpu import SceneRenderer

    ready = SceneRenderer(DEMO, random_scene(DEMO, 7))
    full, alpha = ready.render()
    ready.merge(half=True)
    half, half_alpha = ready.render(half=True)
    assert half.dtype == torch.float16
    assert (half.float() - full).abs().max() < LARGEST
    assert (half_alpha - alpha).abs().max() < LARGEST


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
