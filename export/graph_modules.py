"""Graph modules: the model split into three graphs (DESIGN §3).

Everything that depends on the source alone is hoisted into the first. A fourth graph, the refiner alone, serves
backends that render with a kernel of their own.

With an aligned identity path (`ModelConfig.alignment`) the source encoder also renders the source's own view, and
passes it on as `source_projection` and `source_surface`; maps stay in the source's coordinates and are sampled per
frame.
"""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hidenerf.export.custom_ops import (
    align_source,
    align_source_shapes,
    grid_sample_3d,
    ray_samples,
    triplane_render,
    triplane_render_placed,
)
from hidenerf.model import refinement
from hidenerf.model.alignment import FACE_SIGHT_CHANNELS, SourceView, source_view
from hidenerf.model.appearance import CameraToWorld
from hidenerf.model.config import PICTURE, UNALIGNED, ModelConfig
from hidenerf.model.deformation import DeformationModule
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8
from hidenerf.model.layers import running_statistics
from hidenerf.model.refinement import CHANNEL_MULTIPLE, ConstantNorm, RefinerInputs, Spade, SpadeBlock
from hidenerf.model.rendering import Renderer
from hidenerf.runtime.bundle import FACE_SIGHT, IN_FRAME, MAPS
from hidenerf.runtime.camera import canonical_camera

# `model.deformation.ray_samples`, or the op that it defines.
RaySampler = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]


def fold_batch_norms(model: HideNerf) -> HideNerf:
    """A copy of `model` in which each batch norm directly after a convolution is folded into the convolution."""
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            children = list(module.named_children())
            for (name, first), (next_name, second) in itertools.pairwise(children):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(first, second))
                    setattr(module, next_name, nn.Identity())
    return folded


def fold_refiner_biases(model: HideNerf) -> None:
    """Fold the biases of the refiner's blocks into the SPADE norms that follow, in place.

    Removing a bias shifts the next norm's mean by the same amount, so it is subtracted there. Nearest upsampling and
    1×1 skips pass the shift on to the next block. The last block's convolution, which no norm follows, keeps the sum as
    its bias. Where a runtime adds a convolution's bias in a step of its own, each bias saved is one pass over a map.
    This holds for every kind of norm: γ and β, sampled or constant, apply to what the inner norm returns.
    """
    missing = torch.zeros(())
    with torch.no_grad():
        for block in model.refiner.blocks:
            assert isinstance(block, SpadeBlock)
            first, second = block.first, block.second
            assert first.bias is not None
            assert second.bias is not None
            for spade, offset in zip(block.spades, (missing, first.bias), strict=True):
                assert isinstance(spade, (Spade, ConstantNorm))
                mean, _ = running_statistics(spade.norm)
                mean -= offset
            if isinstance(block.skip, nn.Conv2d):
                missing = block.skip.weight[:, :, 0, 0] @ missing
            missing = missing + second.bias
            first.bias = second.bias = None
        second.bias = nn.Parameter(missing)


def fold_constant_norms(model: HideNerf) -> None:
    """Fold each `ConstantNorm` that directly follows a convolution into that convolution, in place."""
    with torch.no_grad():
        for block in model.refiner.blocks:
            assert isinstance(block, SpadeBlock)
            constant = block.spades[1]
            if isinstance(constant, ConstantNorm):
                gamma, beta = constant.fold()
                bias = beta[:, 0, 0]
                if block.first.bias is not None:
                    bias = bias + gamma[:, 0, 0] * block.first.bias
                block.first.weight.mul_(gamma[..., None])
                block.first.bias = nn.Parameter(bias)
                block.spades[1] = nn.Identity()


def pad_stem(model: HideNerf) -> None:
    """Give the stem of an aligned refiner weights of zero for the channels that AlignSource fills up, in place."""
    stem = model.refiner.stem[0]
    assert isinstance(stem, nn.Conv2d)
    missing = -stem.in_channels % CHANNEL_MULTIPLE
    if model.refiner.aligned and missing:
        stem.weight = nn.Parameter(F.pad(stem.weight.detach(), (0, 0, 0, 0, 0, missing)))
        stem.in_channels += missing


class SourceEncoder(nn.Module):
    """The graph `source_encoder`, run once per source.

    source_image [1, 3, S, S], source_camera [1, 25], secc_canonical [1, 3, Q, Q] → planes per level [1, 3, C, r, r],
    the canonical half of LED's stem [1, E, R, R], gamma and beta [1, C, H, W] of every SPADE layer.
    With alignment also what `source_tensors` names.
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.appearance = model.appearance
        self.deformation = model.deformation
        self.id_encoder = model.id_encoder
        self.refiner = model.refiner
        self.renderer = model.renderer
        self.config = model.config
        for module in self.appearance.modules():
            if isinstance(module, CameraToWorld):
                module.sampler = grid_sample_3d

    def forward(self, source_image: Tensor, source_camera: Tensor, secc_canonical: Tensor) -> tuple[Tensor, ...]:
        """source_image [1, 3, S, S], source_camera [1, 25], secc_canonical [1, 3, Q, Q] → the graph's outputs."""
        planes = self.appearance(source_image, source_camera)
        stem = self.deformation.expression_stem
        led_canonical = stem.canonical_half(secc_canonical)
        modulation = self.refiner.fold(self.id_encoder(source_image))
        maps = [tensor for pair in modulation for tensor in pair]
        if self.config.alignment == UNALIGNED:
            return (*planes, led_canonical, *maps)
        # Not from `led_canonical`: ONNX Runtime 1.32 fails on an INT8 convolution that is an output and in a sum, too.
        own_expression = stem.at_rest(secc_canonical)
        return (*planes, led_canonical, *maps, *self._source(source_image, source_camera, own_expression, planes))

    def _source(
        self, source_image: Tensor, source_camera: Tensor, own_expression: Tensor, planes: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """What `source_tensors` names, of the source's own view: rendered from its camera with its own expression.

        own_expression [1, E, R, R]: of LED's stem.
        """
        config = self.config
        at_rest = _decode(self.deformation, own_expression, source_camera, ray_samples)
        _, alpha, place = _render_placed(self.renderer, at_rest, source_camera, planes)
        view = source_view(source_camera, place, alpha)
        if config.alignment != PICTURE:
            return (*view,)
        return (*view, source_image.clone(), F.avg_pool2d(source_image, config.image_size // config.render_size))


class Led(nn.Module):
    """The graph `led`, run per frame.

    secc_driving [1, 3, Q, Q], camera [1, 25], led_canonical [1, E, R, R] → deformation [1, 3N, R, R].

    sampler: the custom op, or the function that defines it, into which torch.compile can look.
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.deformation = model.deformation
        self.sampler: RaySampler = ray_samples

    def forward(self, secc_driving: Tensor, camera: Tensor, led_canonical: Tensor) -> Tensor:
        """secc_driving [1, 3, Q, Q], camera [1, 25], led_canonical [1, E, R, R] → deformation [1, 3N, R, R]."""
        expression = self.deformation.expression_stem.driving_half(secc_driving) + led_canonical
        return _decode(self.deformation, expression, camera, self.sampler)


class Refiner(nn.Module):
    """The graph `refiner`, run per frame by backends that render and align with kernels of their own.

    rendered [1, K, R, R], rendered_alpha [1, 1, R, R], with alignment the fields of `RefinerInputs` that there are,
    SPADE's maps, with alignment in the frame's coordinates (`model.refinement.in_frame`) → frame uint8 [S, S, 3], alpha
    [S, S] in [0, 1].
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.refiner = model.refiner
        self.inputs = refiner_input_names(model.config)

    def forward(self, rendered: Tensor, rendered_alpha: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """Frame uint8 [S, S, 3] and alpha [S, S] of the tensors above."""
        inputs, maps = maps[: len(self.inputs)], maps[len(self.inputs) :]
        modulation = list(zip(maps[0::2], maps[1::2], strict=True))
        given = RefinerInputs(**dict(zip(self.inputs, inputs, strict=True))) if inputs else None
        frame, alpha = self.refiner.forward_sampled(rendered, rendered_alpha, modulation, given)
        return frame_to_uint8(frame), alpha[0, 0].clamp(0.0, 1.0)


class RendererRefiner(nn.Module):
    """The graph `renderer_refiner`, run per frame.

    deformation [1, 3N, R, R], camera [1, 25], planes, SPADE's maps → frame uint8 [S, S, 3], alpha [S, S] in [0, 1].
    With alignment the face sight [1, 4, S, S] stands before the planes, and what `source_tensors` names after them.

    absent: with alignment, of `RefineNetwork.fold_absent`.
    """

    absent: Tensor

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.config = model.config
        if model.refiner.aligned:
            self.register_buffer("absent", model.refiner.fold_absent().detach())
        self.renderer = model.renderer
        self.refine = Refiner(model)
        self.levels = len(model.config.plane_sizes)
        self.known = len(source_tensors(model.config))

    def forward(self, deformation: Tensor, camera: Tensor, *source: Tensor) -> tuple[Tensor, Tensor]:
        """deformation [1, 3N, R, R], camera [1, 25], planes and maps → frame uint8 [S, S, 3], alpha [S, S]."""
        if self.known:
            face_sight, planes, rest = source[0], source[1 : 1 + self.levels], source[1 + self.levels :]
            rendered, rendered_alpha, place = _render_placed(self.renderer, deformation, camera, planes)
            (projection, surface, *pictures), maps = rest[: self.known], rest[self.known :]
            view = place, rendered_alpha, rendered, projection, surface, face_sight
            enlarged = self.config.enlarged
            in_frame = align_source(*view, pictures, self.absent, list(maps), enlarged)
            return self.refine(rendered, rendered_alpha, *in_frame)
        planes, rest = source[: self.levels], source[self.levels :]
        first, second = self.renderer.first, self.renderer.second
        rendered, rendered_alpha = triplane_render(
            deformation,
            camera,
            list(planes),
            first.weight,
            first.bias,
            second.weight,
            second.bias,
            self.renderer.octaves,
        )
        return self.refine(rendered, rendered_alpha, *rest)


def _decode(deformation: DeformationModule, expression: Tensor, camera: Tensor, sampler: RaySampler) -> Tensor:
    """`DeformationModule.decode` at a camera's ray points.

    expression: [1, E, R, R], of the expression stem. sampler: see `Led`. Returns Δ [1, 3N, R, R].
    """
    embedding, features = deformation.encode(expression)
    return deformation.deform(embedding, *sampler(camera, features, deformation.samples, deformation.lookup_stride))


def _render_placed(
    renderer: Renderer, deformation: Tensor, camera: Tensor, planes: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """`Renderer.placed` as the custom op."""
    first, second = renderer.first, renderer.second
    mlp = first.weight, first.bias, second.weight, second.bias
    rendered, alpha, place = triplane_render_placed(deformation, camera, list(planes), *mlp, renderer.octaves)
    return rendered, alpha, place


def source_tensors(config: ModelConfig) -> tuple[str, ...]:
    """Names of what an aligned identity path knows of the source besides maps; none without alignment.

    source_projection [1, 3, 4], source_surface [1, SURFACE, R, R]: see `SourceView`. source_pixels [1, 3, S, S]: the
    source image; source_pixels_small [1, 3, R, R]: its means.
    """
    if config.alignment == UNALIGNED:
        return ()
    pixels = ("source_pixels", "source_pixels_small") if config.alignment == PICTURE else ()
    return ("source_projection", "source_surface", *pixels)


def refiner_input_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of the fields of `RefinerInputs` that AlignSource makes for a model; none without alignment."""
    if config.alignment == UNALIGNED:
        return ()
    return tuple(_refiner_input_shapes(config))


def _refiner_input_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    rendered = 1, config.render_channels, config.render_size, config.render_size
    picture, enlarged = config.alignment == PICTURE, config.enlarged
    return align_source_shapes(rendered, config.image_size, picture=picture, enlarged=enlarged)


def source_in_frame(tensors: Mapping[str, Tensor], absent: Tensor, *, enlarged: bool) -> dict[str, Tensor]:
    """What the graph `refiner` of a model with alignment reads of the source, by name: AlignSource by PyTorch.

    tensors: `place`, `rendered_alpha`, `rendered`, `face_sight` and what the graph `source_encoder` returns, by name;
        others are ignored.
    absent: of `RefineNetwork.fold_absent`. enlarged: whether the model has an enlarger.
    """
    view = SourceView(tensors["source_projection"], tensors["source_surface"])
    maps = {name: tensor for name, tensor in tensors.items() if name.startswith(MAPS)}
    pictures = [tensors[name] for name in ("source_pixels", "source_pixels_small") if name in tensors]
    frame = tensors["place"], tensors["rendered_alpha"], tensors["rendered"]
    inputs, sampled = refinement.align_source(
        *frame, view, tensors[FACE_SIGHT], pictures, absent, list(maps.values()), enlarged
    )
    found = {name: tensor for name, tensor in inputs._asdict().items() if tensor is not None}
    return found | {IN_FRAME + name: tensor for name, tensor in zip(maps, sampled, strict=True)}


@dataclass(frozen=True)
class GraphModule:
    """One graph before export.

    name: as in the manifest. module: in evaluation mode. inputs: example tensors by name, in order. outputs: names, in
    order.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Evaluate in PyTorch on tensors by name."""
        with torch.inference_mode():
            result = self.module(*[inputs[name] for name in self.inputs])
        values = result if isinstance(result, tuple) else (result,)
        return dict(zip(self.outputs, values, strict=True))


def graph_modules(model: HideNerf) -> Sequence[GraphModule]:
    """The three graphs of `model`, each with example inputs of the real shapes."""
    folded = fold_batch_norms(model)
    fold_refiner_biases(folded)
    fold_constant_norms(folded)
    pad_stem(folded)
    config = model.config
    size, secc = config.image_size, config.secc_size
    camera = torch.from_numpy(canonical_camera(10.0, -5.0, 3.0))[None]
    planes = tuple(f"planes_{level}" for level in range(len(config.plane_sizes)))
    scales = len(config.refiner_channels)
    layers = 2 * (scales if config.alignment == UNALIGNED else min(scales, config.aligned_scales))
    maps = tuple(f"{kind}_{layer}" for layer in range(layers) for kind in ("gamma", "beta"))
    known = source_tensors(config)
    face_sight = {FACE_SIGHT: torch.zeros(1, FACE_SIGHT_CHANNELS, size, size)} if known else {}
    encoder = GraphModule(
        "source_encoder",
        SourceEncoder(folded).eval(),
        {
            "source_image": torch.full((1, 3, size, size), 0.5),
            "source_camera": camera,
            "secc_canonical": torch.zeros(1, 3, secc, secc),
        },
        (*planes, "led_canonical", *maps, *known),
    )
    source = encoder.run(encoder.inputs)
    led = GraphModule(
        "led",
        Led(folded).eval(),
        {
            "secc_driving": torch.zeros(1, 3, secc, secc),
            "camera": camera,
            "led_canonical": source["led_canonical"],
        },
        ("deformation",),
    )
    deformation = led.run(led.inputs)["deformation"]
    renderer_refiner = GraphModule(
        "renderer_refiner",
        RendererRefiner(folded).eval(),
        {
            "deformation": deformation,
            "camera": camera,
            **face_sight,
            **{name: source[name] for name in (*planes, *known, *maps)},
        },
        ("frame", "alpha"),
    )
    return encoder, led, renderer_refiner


def refiner_module(renderer_refiner: GraphModule) -> GraphModule:
    """The refiner alone, `refiner`: what follows the TriplaneRender of the graph `renderer_refiner`.

    With alignment it also is what follows AlignSource.
    """
    module = renderer_refiner.module
    assert isinstance(module, RendererRefiner)
    config = module.config
    size = config.render_size
    unread = "deformation", "camera", "planes_", FACE_SIGHT
    source = {name: t for name, t in renderer_refiner.inputs.items() if not name.startswith(unread)}
    rendered = {
        "rendered": torch.zeros(1, module.renderer.second.out_features - 1, size, size),
        "rendered_alpha": torch.zeros(1, 1, size, size),
    }
    known = source_tensors(config)
    if not known:
        return GraphModule("refiner", module.refine, rendered | source, renderer_refiner.outputs)
    inputs = {name: torch.zeros(shape) for name, shape in _refiner_input_shapes(config).items()}
    maps = {IN_FRAME + name: t for name, t in source.items() if name not in known}
    return GraphModule("refiner", module.refine, rendered | inputs | maps, renderer_refiner.outputs)
