"""RaySamples on a GPU against hidenerf.model.deformation in FP64."""

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("preset", ["odd", "demo", "base"])
def test_matches_pytorch_in_fp64(preset: str, fp16: bool) -> None:
    from hidenerf.runtime.kernels.ray_sampler import RaySampler
    from tests.support.kernels.on_gpu import current_stream
    from tests.support.kernels.ray_scenes import BASE, DEMO, ODD, expected_samples, ray_scene

    sizes = {"odd": ODD, "demo": DEMO, "base": BASE}[preset]
    kind = torch.float16 if fp16 else torch.float32
    shapes = [(rows, sizes.render_size, sizes.render_size) for rows in sizes.rows]
    sampler = RaySampler(sizes)
    for seed in range(3):
        camera, features = (tensor.cuda() for tensor in ray_scene(sizes, seed, fp16=fp16))
        found = [torch.full(shape, float("nan"), dtype=kind, device="cuda") for shape in shapes]
        given, results = (camera.data_ptr(), features.data_ptr()), (found[0].data_ptr(), found[1].data_ptr())
        sampler.sample(*given, *results, fp16, current_stream())
        torch.cuda.synchronize()
        points, looked_up = (one.cpu().numpy() for one in expected_samples(camera.cpu(), features.cpu(), sizes))
        # As tests/runtime/kernels/test_ray_sampler.py has them.
        errors = 2e-5 * (1 + points**2), np.array(1e-5 * sizes.render_size)
        for values, right, error in zip(found, (points, looked_up), errors, strict=True):
            rounding = 0.5 * np.spacing(np.abs(right).astype(np.float16)).astype(np.float64) if fp16 else 0.0
            assert (np.abs(values.double().cpu().numpy() - right) <= error + rounding).all()
