"""Losses in the features of trained networks, which the user gives as files: perceptual loss and identity loss.

The networks are frozen. Nothing here waits for a GPU, so a CUDA graph can record the losses.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.runtime.errors import HideNerfError

Tensors = Mapping[str, Tensor]

# Side of the central square that shows the face, as a share of the picture's. Heads are aligned, see CANONICAL_FILL.
FACE_SHARE = 0.65
FACE_SIZE = 224
# Channels and stride of each pair of a depthwise and a pointwise convolution.
MOBILENET_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_MOBILENET_V1_STEM = 32

_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# faceres was trained on blue, green, red in [0, 255] less these means. human's own code passes red, green, blue in
# [0, 255]; so given, it tells people apart less well (docs/training.md).
_FACE_MEAN = (103.939, 116.779, 123.68)
# Expansion, channels, number of blocks and first stride of MobileNetV2's inverted residuals up to stride 16.
_MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
_MOBILENET_V2_STEM = 32
_NORM_EPSILON = 1e-5


class PerceptualLoss(nn.Module):
    """Perceptual loss: weighted absolute differences of the features after each stage of a network.

    stages: the network's parts; each takes what the one before gives.
    """

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_IMAGENET_DEVIATION).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        """image, truth [B, 3, H, W] in [0, 1], weight [B, 1, H, W] → scalar."""
        # The truth needs no gradient, so it goes through on its own.
        with torch.no_grad():
            wanted = self._features(truth)
        total = image.new_zeros(())
        for found, true in zip(self._features(image), wanted, strict=True):
            weight = F.adaptive_avg_pool2d(weight, (found.shape[-2], found.shape[-1]))
            total = total + ((found - true).float().abs() * weight).mean()
        return total / len(self.stages)

    def _features(self, image: Tensor) -> list[Tensor]:
        """The features after each stage."""
        x = (image - self.mean) / self.deviation
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class VggLoss(PerceptualLoss):
    """Perceptual loss of a VGG-16: the features before each pooling.

    tensors: torchvision's, by name (features.0.weight, …).
    Errors: a tensor is missing or misshapen.
    """

    WIDTHS: Sequence[Sequence[int]] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))

    def __init__(self, tensors: Tensors) -> None:
        inputs, at = 3, 0
        stages: list[nn.Module] = []
        for widths in self.WIDTHS:
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if stages else []
            # torchvision counts convolutions, ReLUs and poolings in one list.
            at += len(layers)
            for width in widths:
                convolution = nn.Conv2d(inputs, width, 3, 1, 1)
                for kind in ("weight", "bias"):
                    own = getattr(convolution, kind)
                    own.data.copy_(_tensor(tensors, f"features.{at}.{kind}", own.shape, "VGG-16"))
                layers += [convolution, nn.ReLU()]
                inputs, at = width, at + 2
            stages.append(nn.Sequential(*layers))
        super().__init__(stages)


class MobileNetLoss(PerceptualLoss):
    """Perceptual loss of a MobileNetV2: the features at the end of the strides 2, 4, 8 and 16.

    tensors: torchvision's, by name (features.0.0.weight, …, with the batch norms' running statistics).
    Errors: a tensor is missing or misshapen.
    """

    def __init__(self, tensors: Tensors) -> None:
        channels = _MOBILENET_V2_STEM
        stem = _folded(tensors, "features.0.0", "features.0.1", nn.Conv2d(3, channels, 3, 2, 1))
        stages: list[list[nn.Module]] = [[stem, nn.ReLU6()]]
        at = 1
        for expansion, width, count, first_stride in _MOBILENET_V2:
            if first_stride == 2:
                stages.append([])
            for index in range(count):
                stride = first_stride if index == 0 else 1
                stages[-1].append(_InvertedResidual(tensors, f"features.{at}.conv", channels, width, expansion, stride))
                channels, at = width, at + 1
        super().__init__(nn.Sequential(*stage) for stage in stages)


class _InvertedResidual(nn.Module):
    """MobileNetV2's block: a pointwise, a depthwise and a pointwise convolution, with the input added if it fits.

    tensors: torchvision's.
    name: of the block's tensors, before the layers' numbers.
    inputs, outputs: channels.
    expansion: factor on the channels between; at 1 the first convolution is absent.
    stride: of the depthwise convolution.
    """

    def __init__(self, tensors: Tensors, name: str, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        wide = [nn.Conv2d(inputs, inner, 1)] if expansion > 1 else []
        wide.append(nn.Conv2d(inner, inner, 3, stride, 1, groups=inner))
        layers: list[nn.Module] = []
        for at, convolution in enumerate(wide):
            layers += [_folded(tensors, f"{name}.{at}.0", f"{name}.{at}.1", convolution), nn.ReLU6()]
        last = len(wide)
        layers.append(_folded(tensors, f"{name}.{last}", f"{name}.{last + 1}", nn.Conv2d(inner, outputs, 1)))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / stride, W / stride]."""
        return x + self.layers(x) if self.residual else self.layers(x)


class FaceNet(nn.Module):
    """A MobileNetV1 without a classifier, batch norms folded in, padded as TensorFlow pads.

    stem: channels of the first convolution, which has stride 2.
    blocks: channels and stride of each pair of a depthwise and a pointwise convolution.
    """

    def __init__(self, stem: int = _MOBILENET_V1_STEM, blocks: Sequence[tuple[int, int]] = MOBILENET_V1) -> None:
        super().__init__()
        # TensorFlow pads an even side for stride 2 by one pixel at its end only, see `forward`.
        layers = [nn.Conv2d(3, stem, 3, 2)]
        inputs = stem
        for outputs, stride in blocks:
            layers.append(nn.Conv2d(inputs, inputs, 3, stride, 2 - stride, groups=inputs))
            layers.append(nn.Conv2d(inputs, outputs, 1))
            inputs = outputs
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 3, H, W]: blue, green, red in [0, 255] less the means; even at each stride 2 → embeddings [B, D]."""
        for layer in self.layers:
            x = F.relu6(layer(F.pad(x, (0, 1, 0, 1)) if layer.stride == (2, 2) else x))
        return x.float().mean((2, 3))


class IdentityLoss(nn.Module):
    """Identity loss: 1 - cosine of the face embeddings of image and truth, mean over the batch.

    network: for faces of FACE_SIZE².
    """

    def __init__(self, network: FaceNet) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_FACE_MEAN).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """image, truth [B, 3, S, S] in [0, 1] → scalar in [0, 2]."""
        with torch.no_grad():
            wanted = self.embedding(truth)
        return (1.0 - F.cosine_similarity(self.embedding(image), wanted)).mean()

    def embedding(self, image: Tensor) -> Tensor:
        """Aligned heads [B, 3, S, S] in [0, 1] → embeddings [B, D] float32."""
        margin = round(0.5 * (1.0 - FACE_SHARE) * image.shape[-1])
        face = image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]
        face = F.interpolate(face, size=(FACE_SIZE, FACE_SIZE), mode="bilinear", align_corners=False)
        result: Tensor = self.network(255.0 * face.flip(1) - self.mean)
        return result


def load_perceptual(path: Path) -> PerceptualLoss:
    """Load the perceptual loss of a network; its tensors' names tell which one it is.

    path: .safetensors with torchvision's names, of a VGG-16 or of a MobileNetV2.
    Errors: the file cannot be read, or is neither.
    """
    tensors = _read(path, "give torchvision's VGG-16 or MobileNetV2 as .safetensors")
    kinds = {"features.0.weight": VggLoss, "features.0.0.weight": MobileNetLoss}
    kind = next((kind for name, kind in kinds.items() if name in tensors), None)
    if kind is None:
        raise HideNerfError(f"{path}: neither a VGG-16 nor a MobileNetV2; give one with torchvision's tensor names.")
    try:
        loss = kind(tensors)
    except HideNerfError as error:
        raise HideNerfError(f"{path}: {error}") from None
    return loss.eval().requires_grad_(False)


def load_identity(path: Path) -> IdentityLoss:
    """Load the identity loss.

    path: .safetensors that `python -m hidenerf.assets.loss_networks faceres` made.
    Errors: the file cannot be read, or is no faceres.
    """
    made_by = "make it with python -m hidenerf.assets.loss_networks faceres"
    tensors = _read(path, made_by)
    network = FaceNet()
    for name, own in network.state_dict().items():
        if name not in tensors or tensors[name].shape != own.shape:
            raise HideNerfError(f"{path}: not a faceres ({name} is missing or misshapen); {made_by}.")
        own.copy_(tensors[name])
    return IdentityLoss(network).eval().requires_grad_(False)


def _read(path: Path, instead: str) -> dict[str, Tensor]:
    """The tensors of a file by name. instead: what to do if it cannot be read."""
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise HideNerfError(f"{path}: cannot read the network ({error}); {instead}.") from None


def _tensor(tensors: Tensors, name: str, shape: torch.Size, network: str) -> Tensor:
    """A tensor by name. Errors: it is missing, or has not this shape."""
    if name not in tensors or tensors[name].shape != shape:
        raise HideNerfError(f"not a {network} ({name} is missing or misshapen); give torchvision's.")
    return tensors[name]


def _folded(tensors: Tensors, name: str, norm: str, layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with the weights of a convolution and of the batch norm after it, in evaluation mode.

    name, norm: of the tensors of convolution and batch norm.
    """
    weight = _tensor(tensors, f"{name}.weight", layer.weight.shape, "MobileNetV2").double()
    kinds = ("weight", "bias", "running_mean", "running_var")
    sizes = torch.Size([layer.out_channels])
    gain, shift, mean, variance = (_tensor(tensors, f"{norm}.{kind}", sizes, "MobileNetV2").double() for kind in kinds)
    factor = gain / (variance + _NORM_EPSILON).sqrt()
    assert layer.bias is not None
    layer.weight.data.copy_(weight * factor[:, None, None, None])
    layer.bias.data.copy_(shift - mean * factor)
    return layer
