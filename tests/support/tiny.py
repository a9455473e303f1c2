"""Configs of the tests' models, and the smallest models that have every part, with batch norms that hide nothing."""

import dataclasses

import torch
from torch import Tensor, nn

from hidenerf.model.config import PRESETS, ModelConfig
from hidenerf.model.growth import grown
from hidenerf.model.hidenerf import HideNerf, random_model
from tests.support.reference import general_camera

TINY = ModelConfig(
    name="tiny",
    image_size=32,
    render_size=16,
    secc_size=32,
    samples_per_ray=6,
    plane_sizes=(8, 16),
    plane_channels=4,
    volume_terms=2,
    volume_depths=(4, 3),
    plane_samples=(3, 5),
    mlp_width=16,
    encoding_octaves=3,
    render_channels=7,
    extractor_channels=(6, 8, 10),
    expression_channels=6,
    position_channels=6,
    lookup_channels=4,
    lookup_stride=3,
    deformation_channels=(8, 10),
    maximum_deformation=0.3,
    identity_channels=(4, 5, 6, 7),
    refiner_channels=(5, 6, 8, 10),
    spade_width=6,
)

# The finest of its four scales has constants in the place of maps.
TINY_ALIGNED = dataclasses.replace(TINY, alignment="maps and picture", aligned_scales=3)

# The same with frames of twice the side.
TINY_ENLARGED = dataclasses.replace(TINY_ALIGNED, name="tiny enlarged", image_size=64, enlarger_width=6)

# For tests that look at a drawn face, which cannot be made out in the 32 pixels of `TINY`.
SMALL_DEMO = dataclasses.replace(
    PRESETS["demo"],
    name="small",
    image_size=64,
    render_size=16,
    secc_size=32,
    plane_sizes=(8, 16, 32),
    extractor_channels=PRESETS["demo"].extractor_channels[:4],
)


def randomise_norms(module: nn.Module, seed: int) -> None:
    """Give every batch norm running statistics and affine weights as training could leave them."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            count = norm.num_features
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(torch.randn(count, generator=generator) * 0.4)
            norm.running_var.copy_(torch.rand(count, generator=generator) * 2.0 + 0.2)
            if norm.affine:
                with torch.no_grad():
                    norm.weight.copy_(torch.randn(count, generator=generator) + 0.5)
                    norm.bias.copy_(torch.randn(count, generator=generator) * 0.3)


def tiny_model(seed: int = 3) -> HideNerf:
    """Untrained weights, randomised batch norms, a head of medium opacity, and outputs that are not near zero."""
    model = random_model(TINY, seed)
    randomise_norms(model, seed)
    with torch.no_grad():
        model.renderer.second.bias[3] = -1.0
        # Initialisation makes these two small so that training starts gently; tests should see what they do.
        model.deformation.head.weight.mul_(10.0)
        model.refiner.head.weight.mul_(10.0)
    return model.eval()


def aligned_config(alignment: str, scales: int) -> ModelConfig:
    """`TINY` with an aligned identity path."""
    return dataclasses.replace(TINY, alignment=alignment, aligned_scales=scales)


def aligned_model(alignment: str, scales: int) -> HideNerf:
    """`tiny_model` with an aligned identity path whose every part shows in the frame."""
    model, _ = grown(tiny_model(), aligned_config(alignment, scales))
    randomise_norms(model, 3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "absent" in name or "detail" in name or "stem.0" in name:
                parameter.normal_(0, 0.3, generator=generator)
    return model.eval()


def enlarged_model() -> HideNerf:
    """`aligned_model` with an enlarger whose every part shows in the frame."""
    model, _ = grown(aligned_model("maps and picture", 3), TINY_ENLARGED)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.refiner.named_parameters():
            if name.startswith("enlarger"):
                parameter.normal_(0, 0.3, generator=generator)
    return model.eval()


def tiny_inputs(batch: int = 1, seed: int = 5, image_size: int = TINY.image_size) -> dict[str, Tensor]:
    """Random pictures, SECCs and face sights, and two general cameras, as `HideNerf.forward` takes them."""
    generator = torch.Generator().manual_seed(seed)

    def noise(size: int) -> Tensor:
        return torch.rand(batch, 3, size, size, generator=generator)

    source_camera = torch.from_numpy(general_camera()).float().expand(batch, -1).clone()
    camera = source_camera.clone()
    camera[:, 3] += 0.2
    camera[:, 16] *= 1.2
    inputs = {
        "source_image": noise(image_size),
        "source_camera": source_camera,
        "secc_canonical": noise(TINY.secc_size),
        "secc_driving": noise(TINY.secc_size),
        "camera": camera,
    }
    weight, right, down, seen = torch.rand(4, batch, 1, image_size, image_size, generator=generator)
    # A quarter of the pixels has no weight, and a quarter all of it.
    weight = (2.0 * weight - 0.5).clamp(0.0, 1.0)
    return inputs | {"face_sight": torch.cat([right * weight, down * weight, weight, (1.5 * seen - 0.5) * weight], 1)}
