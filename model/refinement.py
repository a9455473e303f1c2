"""ID encoder and refine network with SPADE (paper §3.3 and supplement 6.3)."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hidenerf.model.alignment import GUIDES, Alignment, Sight, SourceView, align, sample
from hidenerf.model.config import PICTURE, UNALIGNED, ModelConfig
from hidenerf.model.enlarger import PICTURE_CHANNELS, Enlarger, Refined, detail_channels, enlarger_input
from hidenerf.model.layers import LEAK, ConvBlock, running_statistics, upsample

Normalise = Callable[[Tensor], Tensor]


class SourceSamples(NamedTuple):
    """What a refine network with alignment takes of the source besides maps, in the frame's coordinates.

    guides [B, GUIDES, R, R]: see `Alignment`.
    own_small [B, 3, R, R]: with the source picture: its means at R, 2x - 1, times `Sight.shown`; else None.
    own [B, 3, S, S]: with the source picture: the picture; else None.
    known [B, 1, S, S]: with the source picture: `Sight.known`; else None.
    """

    guides: Tensor
    own_small: Tensor | None = None
    own: Tensor | None = None
    known: Tensor | None = None


class RefinerInputs(NamedTuple):
    """What the layers of a refine network read, each as it reads it; SPADE's maps and the rendered colours come beside.

    stem_input [B, C, R, R]: the rendered channels, 2x - 1, and alpha; with alignment then `Alignment.guides`; with the
        source picture then `SourceSamples.own_small`.
    detail_input [B, 4, s, s]: with the source picture: `detail_channels` at S, or with an enlarger of means at S/2.
    own, shown: with the source picture: `SourceSamples.own` and `Sight.shown`, for the frame.
    enlarger_input [B, 16, S/2, S/2]: with an enlarger: see there.
    """

    stem_input: Tensor
    detail_input: Tensor | None = None
    own: Tensor | None = None
    shown: Tensor | None = None
    enlarger_input: Tensor | None = None


# Tensor cores read so many FP16 channels of a pixel at once: AlignSource fills its stem inputs up with zeros.
CHANNEL_MULTIPLE = 8
# Of the share of the source's own pixels in the frame where the network has learned nothing yet.
INITIAL_BLEND_LOGIT = -2.0


class IdEncoder(nn.Module):
    """Source picture → multi-scale texture features, one map for each scale of the refiner's decoder.

    channels: of the maps, finest first.
    halved: the finest map has half the picture's side.
    """

    def __init__(self, channels: Sequence[int], halved: bool = False) -> None:
        super().__init__()
        self.halved = halved
        self.stem = ConvBlock(3, channels[0])
        self.down = nn.ModuleList(ConvBlock(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(channels))

    def forward(self, source_image: Tensor) -> list[Tensor]:
        """[B, 3, S, S] in [0, 1] → maps at S (or S/2), S/2, …, finest first."""
        if self.halved:
            source_image = F.avg_pool2d(source_image, 2)
        maps = [self.stem(source_image * 2.0 - 1.0)]
        for down in self.down:
            maps.append(down(maps[-1]))
        return maps


class Spade(nn.Module):
    """Spatially adaptive normalisation: norm(x)·(1 + γ) + β, with γ and β predicted from the identity's features.

    The inner norm is a batch norm without weights, so at inference `fold` turns the layer into x·gamma + beta. In
    training on a GPU `training.kernels.norm.spade_leaky` computes this layer and the leaky ReLU after it in Triton: see
    `FusedSpadeBlock` there.
    """

    def __init__(self, channels: int, identity_channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Sequential(nn.Conv2d(identity_channels, width, 3, 1, 1), nn.LeakyReLU(LEAK))
        self.gamma = nn.Conv2d(width, channels, 3, 1, 1)
        self.beta = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x [B, C, H, W], identity features [B, I, H, W] → [B, C, H, W]."""
        shared = self.shared(identity)
        return self.norm(x) * (1.0 + self.gamma(shared)) + self.beta(shared)

    def fold(self, identity: Tensor) -> tuple[Tensor, Tensor]:
        """identity features [B, I, H, W] → gamma, beta [B, C, H, W] of y = x·gamma + beta, the batch norm inside."""
        shared = self.shared(identity)
        return folded(self.norm, self.gamma(shared), self.beta(shared))

    def multiply_add(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """`forward` with the maps of `fold`; of an `AlignedSpade`, as `in_frame` gives them."""
        return multiply_add(x, gamma, beta)


class AlignedSpade(Spade):
    """SPADE whose γ and β are sampled where the source camera saw what a pixel shows; elsewhere they are constants.

    absent [2, C]: these constants. Sampling is linear in the maps and its weights sum to 1, so that the norm and the
    constants fold into them in the source's coordinates.
    """

    def __init__(self, channels: int, identity_channels: int, width: int) -> None:
        super().__init__(channels, identity_channels, width)
        self.absent = nn.Parameter(torch.zeros(2, channels))

    def forward(self, x: Tensor, identity: Tensor, sight: Sight) -> Tensor:  # type: ignore[override]
        """x [B, C, h, w], identity features [B, I, H, W] in the source's coordinates → [B, C, h, w]."""
        shared = self.shared(identity)
        gamma, beta = self.modulation(self.gamma(shared), self.beta(shared), sight)
        return self.norm(x) * (1.0 + gamma) + beta

    def modulation(self, gamma: Tensor, beta: Tensor, sight: Sight) -> tuple[Tensor, Tensor]:
        """Maps [B, C, H, W] in the source's coordinates → in the frame's, [B, C, h, w]."""
        absent = self.absent[:, None, :, None, None]
        return blended(gamma, absent[0], sight), blended(beta, absent[1], sight)

    def fold(self, identity: Tensor) -> tuple[Tensor, Tensor]:
        """`Spade.fold` less what it is with the constants `absent`; `in_frame` adds that again."""
        shared = self.shared(identity)
        # Without the constants and 1 from the start: in FP16 a difference of folded maps would have lost bits.
        gamma = self.gamma(shared) - self.absent[0, :, None, None]
        beta = self.beta(shared) - self.absent[1, :, None, None]
        mean, variance = running_statistics(self.norm)
        inside = gamma * torch.rsqrt(variance + self.norm.eps)[:, None, None]
        return inside, beta - inside * mean[:, None, None]

    def fold_absent(self) -> tuple[Tensor, Tensor]:
        """`Spade.fold` with the constants `absent`: gamma, beta [C]."""
        gamma, beta = folded_constants(self.norm, self.absent)
        return gamma[:, 0, 0], beta[:, 0, 0]


class ConstantNorm(nn.Module):
    """In the place of SPADE: norm(x)·(1 + γ) + β, with γ and β of each channel, `absent` [2, C], of no source."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.absent = nn.Parameter(torch.zeros(2, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C, H, W]."""
        gamma, beta = self.absent[:, :, None, None]
        return self.norm(x) * (1.0 + gamma) + beta

    def fold(self) -> tuple[Tensor, Tensor]:
        """Gamma, beta [C, 1, 1] of y = x·gamma + beta, the batch norm inside."""
        return folded_constants(self.norm, self.absent)


def blended(maps: Tensor, absent: Tensor, sight: Sight) -> Tensor:
    """Maps [B, C, H, W] of a source sampled where it shows what a pixel shows; `absent` [C, 1, 1] where it does not."""
    return absent + sight.shown * (sample(maps, sight.grid.detach()) - absent)


def in_frame(maps: Tensor, absent: Tensor, sight: Sight) -> Tensor:
    """Maps of `AlignedSpade.fold` [B, C, H, W] → in the frame's coordinates [B, C, h, w], ready for `multiply_add`.

    absent [C]: of `AlignedSpade.fold_absent`, what they are where the source shows nothing.
    """
    return absent[:, None, None] + sight.shown * sample(maps, sight.grid.detach())


def maps_in_frame(maps: Sequence[Tensor], absent: Tensor, sights: Mapping[int, Sight]) -> list[Tensor]:
    """`in_frame` of several maps. absent: of `RefineNetwork.fold_absent`. sights: `Alignment.at` of their sizes."""
    constants = absent.split([one.shape[1] for one in maps])
    return [in_frame(one, constant, sights[one.shape[-1]]) for one, constant in zip(maps, constants, strict=True)]


def source_samples(
    alignment: Alignment, sights: Mapping[int, Sight], source_image: Tensor | None, source_image_small: Tensor | None
) -> SourceSamples:
    """`SourceSamples` of a frame.

    sights: `Alignment.at` of R and S, by size.
    source_image [B, 3, S, S]: in [0, 1]; None for a network without the source picture.
    source_image_small [B, 3, R, R]: means of it; None: made of it.
    """
    if source_image is None:
        return SourceSamples(alignment.guides)
    size = alignment.guides.shape[-1]
    small = source_image_small
    if small is None:
        small = F.avg_pool2d(source_image, source_image.shape[-1] // size)
    here, there = sights[size], sights[source_image.shape[-1]]
    own_small = here.shown * (sample(small, here.grid.detach()) * 2.0 - 1.0)
    return SourceSamples(alignment.guides, own_small, sample(source_image, there.grid), there.known)


def refiner_inputs(
    rendered: Tensor, alpha: Tensor, samples: SourceSamples | None = None, *, enlarged: bool = False, multiple: int = 1
) -> RefinerInputs:
    """`RefinerInputs` of a frame.

    rendered [B, K, R, R], alpha [B, 1, R, R]: the frame's.
    samples: for a network with alignment.
    enlarged: whether the network has an enlarger.
    multiple: the stem input gets channels of zeros until their number is a multiple of this.
    """
    seen = [rendered * 2.0 - 1.0, alpha]
    if samples is not None:
        seen += [one for one in samples[:2] if one is not None]
    stem_input = torch.cat(seen, 1)
    if missing := -stem_input.shape[1] % multiple:
        stem_input = F.pad(stem_input, (0, 0, 0, 0, 0, missing))
    if samples is None or samples.own is None:
        return RefinerInputs(stem_input)
    assert samples.known is not None, "a network that keeps the source's own pixels is given them"
    own, known = samples.own, samples.known
    if not enlarged:
        return RefinerInputs(stem_input, detail_channels(own, known), own, known.clamp_min(0.0))
    means = detail_channels(F.avg_pool2d(own, 2), F.avg_pool2d(known, 2))
    return RefinerInputs(stem_input, means, own, known.clamp_min(0.0), enlarger_input(own, known))


def align_source(
    place: Tensor,
    alpha: Tensor,
    rendered: Tensor,
    source: SourceView,
    face_sight: Tensor,
    pictures: Sequence[Tensor],
    absent: Tensor,
    maps: Sequence[Tensor],
    enlarged: bool = False,
) -> tuple[RefinerInputs, list[Tensor]]:
    """All that a frame takes of its source: this function defines the custom op `hidenerf::AlignSource`.

    place [B, 3, R, R], alpha [B, 1, R, R], rendered [B, K, R, R]: the frame's, of `triplane_render_placed`.
    face_sight [B, FACE_SIGHT_CHANNELS, S, S]: the frame's.
    pictures: the source picture [B, 3, S, S] and its means [B, 3, R, R]; none for a network without it.
    absent: of all maps' channels, one map after the other (`RefineNetwork.fold_absent`).
    maps: of `fold`, [B, C, h, h], in the source's coordinates.
    enlarged: whether the network has an enlarger.
    Returns the refiner's inputs, the stem's with a multiple of CHANNEL_MULTIPLE channels, and the maps in their order
    in the frame's coordinates. Arithmetic has the type of `place`, and what is returned that of the maps, but for `own`
    and `shown`.
    """
    alignment = align(source, place, alpha, face_sight)
    sights = {size: alignment.at(size) for size in sorted({one.shape[-1] for one in (*maps, *pictures)})}
    picture, small = pictures or (None, None)
    samples = source_samples(alignment, sights, picture, small)
    inputs = refiner_inputs(rendered, alpha, samples, enlarged=enlarged, multiple=CHANNEL_MULTIPLE)
    kind = maps[0].dtype
    typed = inputs._replace(
        **{name: one.to(kind) for name, one in inputs._asdict().items() if name.endswith("_input") and one is not None}
    )
    return typed, [one.to(kind) for one in maps_in_frame(maps, absent, sights)]


def folded(norm: nn.BatchNorm2d, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """norm(x)·(1 + γ) + β as x·gamma + beta; γ, β [..., C, H, W]."""
    mean, variance = running_statistics(norm)
    scale = torch.rsqrt(variance + norm.eps)[:, None, None]
    inside = (1.0 + gamma) * scale
    return inside, beta - inside * mean[:, None, None]


def folded_constants(norm: nn.BatchNorm2d, absent: Tensor) -> tuple[Tensor, Tensor]:
    """`folded` for the γ and β of each channel in `absent` [2, C] → gamma, beta [C, 1, 1]."""
    return folded(norm, absent[0, :, None, None], absent[1, :, None, None])


def multiply_add(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """x·gamma + beta."""
    return x * gamma + beta


class SpadeBlock(nn.Module):
    """Residual block with two SPADE norms; how they are evaluated is the caller's choice.

    make_norm: channels → the norm, a `Spade`, an `AlignedSpade` or a `ConstantNorm`.
    """

    def __init__(self, inputs: int, outputs: int, make_norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.spades = nn.ModuleList(make_norm(channels) for channels in (inputs, outputs))
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, first_norm: Normalise, second_norm: Normalise) -> Tensor:
        """[B, C, H, W] → [B, C', H, W], with one normalisation before each convolution."""
        hidden = self.first(F.leaky_relu(first_norm(x), LEAK))
        return self.skip(x) + self.second(F.leaky_relu(second_norm(hidden), LEAK))


class RefineNetwork(nn.Module):
    """Encoder-decoder from the rendered picture and its alpha at R to the frame and its alpha at S.

    With alignment (see `ModelConfig`) it also sees the guides of `Alignment`; with the source picture, too, this
    picture as it lies in the frame, at R and before the last block, and it says per pixel how much of it to keep.
    With an enlarger all but this works at S/2.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.refiner_channels
        at_render_size = channels[-3:]
        self.aligned = config.alignment != UNALIGNED
        self.with_picture = config.alignment == PICTURE
        guides = GUIDES * self.aligned + 3 * self.with_picture
        self.stem = ConvBlock(config.render_channels + 1 + guides, at_render_size[0])
        self.down = nn.ModuleList(
            ConvBlock(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(at_render_size)
        )
        coarse_to_fine = channels[::-1]
        inputs = (channels[-1], *coarse_to_fine[:-1])
        identities = config.identity_channels[::-1]

        def norm(scale: int, channels: int) -> nn.Module:
            if self.aligned and scale >= config.aligned_scales:
                return ConstantNorm(channels)
            return (AlignedSpade if self.aligned else Spade)(channels, identities[scale], config.spade_width)

        self.blocks = nn.ModuleList(
            SpadeBlock(before, after, partial(norm, scale))
            for scale, (before, after) in enumerate(zip(inputs, coarse_to_fine, strict=True))
        )
        self.head = nn.Conv2d(channels[0], PICTURE_CHANNELS if self.with_picture else 4, 3, 1, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
        if self.with_picture:
            self.detail = nn.Conv2d(4, inputs[-1], 3, 1, 1)
            assert self.head.bias is not None
            nn.init.zeros_(self.detail.weight)
            nn.init.zeros_(self.detail.bias)  # type: ignore[arg-type]
            nn.init.zeros_(self.head.weight[4:])
            nn.init.constant_(self.head.bias[4:], INITIAL_BLEND_LOGIT)
        self.enlarger = None if config.enlarger_width is None else Enlarger(channels[0], config.enlarger_width)

    def forward(
        self,
        rendered: Tensor,
        alpha: Tensor,
        identity: Sequence[Tensor],
        alignment: Alignment | None = None,
        source_image: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """rendered [B, K, R, R], its alpha [B, 1, R, R], ID maps finest first → frame [B, 3, S, S], alpha [B, 1, S, S].

        Neither is clamped to [0, 1]. alignment, source_image [B, 3, S, S]: for a network with alignment.
        """
        sights = self._sights(alignment, rendered.shape[-1])
        norms: list[Normalise] = []
        for block, feature in zip(self.blocks, reversed(identity), strict=True):
            for spade in block.spades:  # type: ignore[union-attr]
                if isinstance(spade, AlignedSpade):
                    norms.append(partial(spade, identity=feature, sight=sights[feature.shape[-1]]))
                else:
                    norms.append(partial(spade, identity=feature) if isinstance(spade, Spade) else spade)
        samples = self._samples(alignment, sights, source_image)
        return self.refine(rendered, alpha, norms, self._inputs(rendered, alpha, samples))

    def fold(self, identity: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """ID maps finest first → (gamma, beta) of every SPADE layer in the order in which they run."""
        return [
            spade.fold(feature)
            for block, feature in zip(self.blocks, reversed(identity), strict=True)
            for spade in block.spades  # type: ignore[union-attr]
            if isinstance(spade, Spade)
        ]

    def fold_absent(self) -> Tensor:
        """What the maps of `fold` are where the source shows nothing: [C + C + …], one map after the other.

        For a network with alignment.
        """
        layers = [spade for spade in self.modules() if isinstance(spade, AlignedSpade)]
        return torch.cat([constant for layer in layers for constant in layer.fold_absent()])

    def forward_folded(
        self,
        rendered: Tensor,
        alpha: Tensor,
        modulation: Sequence[tuple[Tensor, Tensor]],
        alignment: Alignment | None = None,
        source_image: Tensor | None = None,
        source_image_small: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same as `forward` with the maps of `fold`: each SPADE layer is one multiply-add.

        source_image_small [B, 3, R, R]: means of source_image; made of it where they are not given.
        """
        sights = self._sights(alignment, rendered.shape[-1])
        if self.aligned:
            maps = [one for pair in modulation for one in pair]
            found = maps_in_frame(maps, self.fold_absent(), sights)
            modulation = list(zip(found[0::2], found[1::2], strict=True))
        samples = self._samples(alignment, sights, source_image, source_image_small)
        return self.forward_sampled(rendered, alpha, modulation, self._inputs(rendered, alpha, samples))

    def forward_sampled(
        self,
        rendered: Tensor,
        alpha: Tensor,
        modulation: Sequence[tuple[Tensor, Tensor]],
        inputs: RefinerInputs | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same with the maps of `fold` already in the frame's coordinates, as `in_frame` gives them.

        inputs: for a network with alignment, else made here.
        """
        inputs = inputs or self._inputs(rendered, alpha, None)
        norms: list[Normalise] = []
        maps = iter(modulation)
        for block in self.blocks:
            for spade in block.spades:  # type: ignore[union-attr]
                if isinstance(spade, Spade):
                    gamma, beta = next(maps)
                    norms.append(partial(spade.multiply_add, gamma=gamma, beta=beta))
                elif isinstance(spade, ConstantNorm):
                    gamma, beta = spade.fold()
                    norms.append(partial(multiply_add, gamma=gamma, beta=beta))
                else:
                    # A norm that the convolution before it has taken in.
                    norms.append(spade)
        return self.refine(rendered, alpha, norms, inputs)

    def refine(
        self, rendered: Tensor, alpha: Tensor, norms: Sequence[Normalise], inputs: RefinerInputs
    ) -> tuple[Tensor, Tensor]:
        """The network itself, with one normalisation per SPADE layer."""
        skips = [self.stem(inputs.stem_input)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        picture = torch.cat([rendered[:, :3], alpha], 1)
        for index, block in enumerate(self.blocks):
            if index > 0:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            if self.with_picture and index == len(self.blocks) - 1:
                x = x + self.detail(_given(inputs.detail_input))
            x = block(x, norms[2 * index], norms[2 * index + 1])
            if index > 0 and skips:
                x = x + skips.pop()
        while picture.shape[-1] < x.shape[-1]:
            picture = upsample(picture)
        change = self.head(F.leaky_relu(x, LEAK))
        refined = Refined(picture + change[:, :4], change[:, 4:])
        if not self.with_picture:
            return refined.picture[:, :3], refined.picture[:, 3:]
        if self.enlarger is not None:
            refined = self.enlarger(refined, x, _given(inputs.enlarger_input))
        own, shown = _given(inputs.own), _given(inputs.shown)
        frame = refined.picture[:, :3]
        frame = frame + shown * torch.sigmoid(refined.own_logit) * (own - frame)
        return frame, refined.picture[:, 3:]

    def _inputs(self, rendered: Tensor, alpha: Tensor, samples: SourceSamples | None) -> RefinerInputs:
        assert samples is not None or not self.aligned, "a network with alignment is given what it takes of the source"
        return refiner_inputs(rendered, alpha, samples, enlarged=self.enlarger is not None)

    def _samples(
        self,
        alignment: Alignment | None,
        sights: Mapping[int, Sight],
        source_image: Tensor | None,
        source_image_small: Tensor | None = None,
    ) -> SourceSamples | None:
        """`source_samples` for this network; None without alignment."""
        if alignment is None or not self.aligned:
            return None
        assert source_image is not None or not self.with_picture, (
            "a network that keeps the source's pixels is given them"
        )
        return source_samples(alignment, sights, source_image if self.with_picture else None, source_image_small)

    def _sights(self, alignment: Alignment | None, render_size: int) -> dict[int, Sight]:
        """`Alignment.at` for every size where the network samples what belongs to the source."""
        if not self.aligned:
            return {}
        assert alignment is not None, "a network with alignment is given one"
        scales = [render_size // 4 << scale for scale in range(len(self.blocks))]
        firsts = [block.spades[0] for block in self.blocks]  # type: ignore[index]
        sizes = {size for size, spade in zip(scales, firsts, strict=True) if isinstance(spade, AlignedSpade)}
        if self.with_picture:
            sizes |= {render_size, scales[-1] if self.enlarger is None else 2 * scales[-1]}
        return {size: alignment.at(size) for size in sorted(sizes)}


def _given(value: Tensor | None) -> Tensor:
    assert value is not None, "a network that keeps the source's own pixels is given them"
    return value
