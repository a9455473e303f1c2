"""Losses in networks' features by hand: networks whose layers hand means on, and files that are refused."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from hidenerf.runtime.errors import HideNerfError
from hidenerf.training.loop.config import TrainingConfig
from hidenerf.training.loop.feature_losses import (
    FACE_SHARE,
    FaceNet,
    IdentityLoss,
    MobileNetLoss,
    load_identity,
    load_perceptual,
)
from hidenerf.training.loop.trainer import PhaseClock, Trainer
from tests.support.mobilenet import mobilenet_tensors
from tests.support.tiny import TINY
from tests.support.tiny_training import CPU, Pairs

# What 0.1 of grey is, normalised as ImageNet's pictures are, in the mean of the channels.
STEP = 0.1 * sum(1 / deviation for deviation in (0.229, 0.224, 0.225)) / 3


def vgg_tensors() -> dict[str, Tensor]:
    """A VGG-16 whose every convolution hands the mean of its inputs on, in torchvision's numbering."""
    layers = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
    layers |= {17: (256, 512), 19: (512, 512), 21: (512, 512)}
    tensors: dict[str, Tensor] = {}
    for at, (inputs, outputs) in layers.items():
        weight = torch.zeros(outputs, inputs, 3, 3)
        weight[:, :, 1, 1] = 1 / inputs
        tensors |= {f"features.{at}.weight": weight, f"features.{at}.bias": torch.ones(outputs)}
    return tensors


def write(tensors: dict[str, Tensor], path: Path) -> Path:
    safetensors.torch.save_file(tensors, path)
    return path


def greys(size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of one grey each, 0.1 apart, and weights of 1."""
    return torch.full((1, 3, size, size), 0.6), torch.full((1, 3, size, size), 0.5), torch.ones(1, 1, size, size)


def test_vgg_loss_by_hand(tmp_path: Path) -> None:
    """Each stage carries the normalised grey's difference on; biases keep it above 0."""
    vgg = load_perceptual(write(vgg_tensors(), tmp_path / "vgg.safetensors"))
    picture, truth, weight = greys()
    # Zero padding lowers the outermost ring of no picture: weights stand in the middle of each kernel only.
    assert vgg(picture, truth, weight).item() == pytest.approx(STEP, rel=1e-4)
    assert vgg(truth, truth, weight).item() == 0


def test_mobilenet_loss_by_hand(tmp_path: Path) -> None:
    """Blocks that add their input double the difference; there are 0, 1, 2 and 5 in the four stages."""
    network = load_perceptual(write(mobilenet_tensors(), tmp_path / "mobilenet.safetensors"))
    picture, truth, weight = greys()
    expected = 0.01 / 2 * STEP * (1 + 2 + 2 * 4 + 2 * 4 * 32) / 4
    assert network(picture, truth, weight).item() == pytest.approx(expected, rel=1e-3)
    assert network(picture, truth, 3 * weight).item() == pytest.approx(3 * expected, rel=1e-3)
    assert network(truth, truth, weight).item() == 0


def test_mobilenets_stages_end_at_the_strides_2_4_8_and_16() -> None:
    network = MobileNetLoss(mobilenet_tensors())
    sizes = [tuple(features.shape[1:]) for features in network._features(torch.rand(1, 3, 48, 32))]
    assert sizes == [(16, 24, 16), (24, 12, 8), (32, 6, 4), (96, 3, 2)]
    assert network(*greys(33)).item() > 0  # sides that no stride divides


@pytest.mark.parametrize("tensors", [vgg_tensors, mobilenet_tensors])
def test_an_error_counts_by_the_weight_of_where_it_is(tensors: Callable[[], dict[str, Tensor]], tmp_path: Path) -> None:
    network = load_perceptual(write(tensors(), tmp_path / "network.safetensors"))
    picture, truth, weight = greys()
    picture[..., 16:] = truth[..., 16:]
    weight[..., :16] = 2.0
    left = network(picture, truth, weight).item()
    weight[..., 16:] = 0.0
    assert network(picture, truth, weight).item() == pytest.approx(left)
    weight[...] = 1.0
    assert network(picture, truth, weight).item() == pytest.approx(left / 2)


def test_gradients_reach_the_image_and_no_weight(tmp_path: Path) -> None:
    network = load_perceptual(write(mobilenet_tensors(), tmp_path / "mobilenet.safetensors"))
    picture, truth, weight = greys()
    network(picture.requires_grad_(), truth, weight).backward()
    assert picture.grad is not None
    assert picture.grad.sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_files_that_are_no_perceptual_network_are_refused(tmp_path: Path) -> None:
    for tensors, missing in ((vgg_tensors(), "features.14.bias"), (mobilenet_tensors(), "features.9.conv.1.1.bias")):
        del tensors[missing]
        with pytest.raises(HideNerfError, match=rf"{missing} is missing or misshapen\); give torchvision's\."):
            load_perceptual(write(tensors, tmp_path / "less.safetensors"))
        tensors[missing] = torch.zeros(1)
        with pytest.raises(HideNerfError, match=f"less.safetensors: not a .*{missing} is missing or misshapen"):
            load_perceptual(write(tensors, tmp_path / "less.safetensors"))
    with pytest.raises(HideNerfError, match="neither a VGG-16 nor a MobileNetV2"):
        load_perceptual(write({"other": torch.zeros(1)}, tmp_path / "other.safetensors"))
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    for load in (load_perceptual, load_identity):
        with pytest.raises(HideNerfError, match="cannot read the network"):
            load(tmp_path / "no.safetensors")


def two_colours() -> IdentityLoss:
    """Two numbers embed a face: its blue above the mean in hundredths, and its red."""
    network = FaceNet(2, ())
    weight = torch.zeros(2, 3, 3, 3)
    weight[0, 0, 1, 1] = weight[1, 2, 1, 1] = 0.01
    network.load_state_dict({"layers.0.weight": weight, "layers.0.bias": torch.zeros(2)})
    return IdentityLoss(network).requires_grad_(False)


def test_identity_loss_by_hand() -> None:
    picture, truth = (
        torch.tensor(colour).reshape(1, 3, 1, 1).expand(1, 3, 40, 40) for colour in ([0.8, 0, 1], [1, 0, 0.6])
    )
    (blue, red), (true_blue, true_red) = ((255 * b - 103.939, 255 * r - 123.68) for r, b in ((0.8, 1.0), (1.0, 0.6)))
    cosine = (blue * true_blue + red * true_red) / math.hypot(blue, red) / math.hypot(true_blue, true_red)
    loss = two_colours()
    assert loss(picture, truth).item() == pytest.approx(1 - cosine, rel=1e-4)
    assert loss(truth, truth).item() == pytest.approx(0, abs=1e-6)
    both = torch.cat([picture, truth]), torch.cat([truth, truth])
    assert loss(*both).item() == pytest.approx((1 - cosine) / 2, rel=1e-4)


def test_identity_loss_sees_the_central_square_alone() -> None:
    loss = two_colours()
    generator = torch.Generator().manual_seed(0)
    picture, truth = (0.5 + 0.5 * torch.rand(2, 1, 3, 100, 100, generator=generator)).unbind()
    picture = picture.clone().requires_grad_()
    value = loss(picture, truth)
    value.backward()
    assert picture.grad is not None
    assert FACE_SHARE == 0.65
    # 17.5 pixels, rounded.
    seen = picture.grad.abs().sum((0, 1)) > 0
    shown = torch.zeros(100, 100, dtype=torch.bool)
    shown[18:82, 18:82] = True
    assert not (seen & ~shown).any()
    assert seen[shown].float().mean() > 0.9
    changed = torch.where(shown, picture.detach(), 0.0)
    assert loss(changed, truth).item() == value.item()


def test_the_face_network_pads_as_tensorflow_does() -> None:
    """At stride 2 the kernel's middle lies on odd pixels, and only the far ends are padded."""
    network = FaceNet(1, ((1, 1),))
    last = torch.zeros(1, 3, 3, 3)
    last[0, 0, 2, 2] = 1
    middle = torch.zeros(1, 1, 3, 3)
    middle[0, 0, 1, 1] = 1
    layers = [(last, 0.5), (middle, 0.0), (torch.full((1, 1, 1, 1), 2.0), 0.0)]
    network.load_state_dict(
        {f"layers.{at}.weight": weight for at, (weight, _) in enumerate(layers)}
        | {f"layers.{at}.bias": torch.tensor([bias]) for at, (_, bias) in enumerate(layers)}
    )
    x = torch.zeros(1, 3, 4, 4)
    x[0, 0] = torch.arange(16.0).reshape(4, 4) / 10
    # Outputs at (0, 0), (0, 2), (2, 0), (2, 2) take pixels two further: only (2, 2) is in the picture, with 1.0.
    assert network(x).item() == pytest.approx((2 * 1.5 + 3 * 2 * 0.5) / 4)
    assert network(100 * x).item() == pytest.approx((6 + 3 * 2 * 0.5) / 4)  # clipped at 6, twice


def test_a_face_network_comes_back_from_its_file_and_others_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FaceNet()
    assert len(network.layers) == 27
    tensors = network.state_dict()
    loaded = load_identity(write(tensors, tmp_path / "faceres.safetensors"))
    assert not loaded.training
    faces = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        embedding = loaded.embedding(faces)
    torch.testing.assert_close(embedding, IdentityLoss(network).embedding(faces).detach())
    assert embedding.shape == (2, 1024)
    del tensors["layers.26.bias"]
    with pytest.raises(
        HideNerfError, match=r"not a faceres \(layers\.26\.bias is missing or misshapen\); make it with"
    ):
        load_identity(write(tensors, tmp_path / "less.safetensors"))


def tiny_identity() -> IdentityLoss:
    torch.manual_seed(0)
    return IdentityLoss(FaceNet(4, ((6, 2), (8, 2)))).eval().requires_grad_(False)


def test_nothing_asks_for_a_value_so_that_a_graph_can_record_the_losses() -> None:
    """A tensor without values raises where the host would need one."""
    perceptual, identity = MobileNetLoss(mobilenet_tensors()).requires_grad_(False), tiny_identity()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
        picture, truth, weight = (one.clone() for one in greys())
        picture.requires_grad_()
        total = perceptual(picture, truth, weight) + identity(picture, truth)
        total.backward()
    assert total.dtype == torch.float32


def test_losses_in_bfloat16_are_nearly_those_in_float32() -> None:
    perceptual, identity = MobileNetLoss(mobilenet_tensors()).requires_grad_(False), tiny_identity()
    generator = torch.Generator().manual_seed(0)
    picture, truth = (F.interpolate(torch.rand(2, 3, 8, 8, generator=generator), size=(64, 64)) for _ in range(2))
    weight = torch.ones(2, 1, 64, 64)
    exact = perceptual(picture, truth, weight).item(), identity(picture, truth).item()
    with torch.autocast("cpu", torch.bfloat16):
        found = perceptual(picture, truth, weight).item(), identity(picture, truth).item()
    assert found == pytest.approx(exact, rel=0.05)


def trainer_with(losses: dict[str, float], **networks: object) -> Trainer:
    config = TrainingConfig.from_dict({"steps": 10, "batch_size": 2, "losses": losses})
    return Trainer(TINY, config, CPU, **networks)


def test_a_training_step_with_both_losses() -> None:
    others = dict.fromkeys(("mse", "absolute", "alpha", "deformation"), 0.0)
    networks = {"perceptual": MobileNetLoss(mobilenet_tensors()).requires_grad_(False), "identity": tiny_identity()}
    for losses in ({"perceptual": 1.0, "identity": 2.0}, {"perceptual": 0.0, "identity": 2.0}):
        trainer = trainer_with({**others, **losses}, **networks)
        terms = trainer.train_step(Pairs(), PhaseClock(torch.device("cpu")))
        assert {"perceptual_refined", "perceptual_rendered", "identity"} <= terms.keys()
        assert "identity_rendered" not in terms
        assert all(0 < terms[name].item() < math.inf for name in ("perceptual_refined", "identity"))
        gradient = trainer.model.refiner.head.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 0
    assert all(parameter.grad is None for network in networks.values() for parameter in network.parameters())


def test_identity_loss_and_its_weight_come_together() -> None:
    with pytest.raises(
        HideNerfError, match=r"losses\.identity is 0\.5, .* give --identity FILE or set the weight to 0\."
    ):
        trainer_with({"identity": 0.5})
    with pytest.raises(
        HideNerfError, match=r"the weight of that loss is 0; set losses\.identity above 0 with --config"
    ):
        trainer_with({}, identity=tiny_identity())
