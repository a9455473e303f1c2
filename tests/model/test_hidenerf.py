"""The whole network: shapes, determinism, and that every parameter learns."""

import pytest
import torch

from hidenerf.model.config import PRESETS
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8, random_model
from tests.support.tiny import TINY, tiny_inputs, tiny_model


def test_outputs_of_a_batch() -> None:
    with torch.no_grad():
        output = tiny_model()(**tiny_inputs(batch=2))
    assert output.frame.shape == (2, 3, 32, 32)
    assert output.alpha.shape == (2, 1, 32, 32)
    assert output.rendered.shape == (2, 7, 16, 16)
    assert output.rendered_alpha.shape == (2, 1, 16, 16)
    assert output.deformation.shape == (2, 18, 16, 16)
    assert all(torch.isfinite(part).all() for part in output)
    assert 0.0 <= output.rendered.min() <= output.rendered.max() <= 1.0
    assert output.rendered_alpha.min() >= 0.0
    assert output.rendered_alpha.max() <= 1.0 + 1e-5


def test_members_of_a_batch_do_not_mix() -> None:
    model, inputs = tiny_model(), tiny_inputs(batch=2)
    with torch.no_grad():
        together = model(**inputs)
        for index in range(2):
            alone = model(**{name: value[index : index + 1] for name, value in inputs.items()})
            torch.testing.assert_close(together.frame[index : index + 1], alone.frame, atol=1e-4, rtol=1e-4)


def test_every_parameter_gets_a_gradient_in_training_mode() -> None:
    model = tiny_model().train()
    output = model(**tiny_inputs(batch=2))
    weights = torch.randn(output.frame.shape, generator=torch.Generator().manual_seed(0))
    loss = (output.frame * weights).sum() + output.rendered.square().sum() + output.deformation.square().mean()
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert [name for name, p in model.named_parameters() if not torch.isfinite(p.grad).all()] == []
    # A bias before a batch norm in training mode does nothing; a kernel of zeros would be a disconnected part.
    idle = [name for name, p in model.named_parameters() if p.dim() > 1 and not p.grad.abs().max() > 0]  # type: ignore[union-attr]
    assert idle == []


def test_the_refined_frame_alone_trains_every_part() -> None:
    """The deformation is reached only through the bilinear samples of the planes, and they through the renderer."""
    model = tiny_model().train()
    output = model(**tiny_inputs(batch=2))
    (output.frame * torch.randn(output.frame.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name in ("appearance.extractor.stem.0.weight", "deformation.head.weight", "renderer.first.weight"):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().max() > 0


def test_random_models_of_one_seed_are_equal_and_of_two_are_not() -> None:
    one, same, other = (random_model(TINY, seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert not torch.equal(one["renderer.first.weight"], other["renderer.first.weight"])


def test_random_model_does_not_depend_on_nor_touch_the_global_random_state() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    model = random_model(TINY, 7)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    again = random_model(TINY, 7)
    assert torch.equal(model.renderer.first.weight, again.renderer.first.weight)
    assert not model.training


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_fits_together(name: str) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        model = HideNerf(config).eval()
        secc = torch.empty(1, 3, config.secc_size, config.secc_size)
        image = torch.empty(1, 3, config.image_size, config.image_size)
        face_sight = torch.empty(1, 4, config.image_size, config.image_size)
        output = model(image, torch.empty(1, 25), secc, secc, torch.empty(1, 25), face_sight)
    assert output.frame.shape == (1, 3, config.image_size, config.image_size)
    assert output.deformation.shape == (1, 3 * config.samples_per_ray, config.render_size, config.render_size)


def test_preset_base_has_the_sizes_of_the_design() -> None:
    base = PRESETS["base"]
    assert (base.image_size, base.render_size, base.samples_per_ray, base.secc_size) == (512, 128, 48, 256)
    assert (base.plane_sizes, base.plane_channels) == ((64, 128, 256), 32)
    assert (base.mlp_width, base.encoding_octaves) == (64, 6)


def test_frames_are_clamped_and_rounded_to_bytes() -> None:
    frame = torch.zeros(1, 3, 2, 2)
    frame[0, 0] = torch.tensor([[-3.0, 0.0], [1.0, 7.0]])
    frame[0, 1] = torch.tensor([[100.4, 100.6], [254.4, 254.6]]) / 255
    picture = frame_to_uint8(frame)
    assert picture.dtype == torch.uint8
    assert picture.shape == (2, 2, 3)
    assert picture[..., 0].tolist() == [[0, 0], [255, 255]]
    assert picture[..., 1].tolist() == [[100, 101], [254, 255]]
