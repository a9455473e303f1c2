"""Graph modules: the model split into three graphs (DESIGN §3).

Everything that depends on the source alone is hoisted into the first. A fourth graph, the refiner alone, serves
backends that render with a kernel of their own.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hidenerf.export.custom_ops import grid_sample_3d, triplane_render
from hidenerf.model.appearance import CameraToWorld
from hidenerf.model.hidenerf import HideNerf, frame_to_uint8
from hidenerf.model.layers import running_statistics
from hidenerf.model.refinement import Spade, SpadeBlock
from hidenerf.runtime.camera import canonical_camera


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
    """
    missing = torch.zeros(())
    with torch.no_grad():
        for block in model.refiner.blocks:
            assert isinstance(block, SpadeBlock)
            first, second = block.first, block.second
            assert first.bias is not None
            assert second.bias is not None
            for spade, offset in zip(block.spades, (missing, first.bias), strict=True):
                assert isinstance(spade, Spade)
                mean, _ = running_statistics(spade.norm)
                mean -= offset
            if isinstance(block.skip, nn.Conv2d):
                missing = block.skip.weight[:, :, 0, 0] @ missing
            missing = missing + second.bias
            first.bias = second.bias = None
        second.bias = nn.Parameter(missing)


class SourceEncoder(nn.Module):
    """The graph `source_encoder`, run once per source.

    source_image [1, 3, S, S], source_camera [1, 25], secc_canonical [1, 3, Q, Q] → planes per level [1, 3, C, r, r],
    the canonical half of LED's stem [1, E, R, R], gamma and beta [1, C, H, W] of every SPADE layer.
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.appearance = model.appearance
        self.expression_stem = model.deformation.expression_stem
        self.id_encoder = model.id_encoder
        self.refiner = model.refiner
        for module in self.appearance.modules():
            if isinstance(module, CameraToWorld):
                module.sampler = grid_sample_3d

    def forward(self, source_image: Tensor, source_camera: Tensor, secc_canonical: Tensor) -> tuple[Tensor, ...]:
        planes = self.appearance(source_image, source_camera)
        led_canonical = self.expression_stem.canonical_half(secc_canonical)
        modulation = self.refiner.fold(self.id_encoder(source_image))
        return (*planes, led_canonical, *[tensor for pair in modulation for tensor in pair])


class Led(nn.Module):
    """The graph `led`, run per frame.

    secc_driving [1, 3, Q, Q], camera [1, 25], led_canonical [1, E, R, R] → deformation [1, 3N, R, R].
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.deformation = model.deformation
        self.ray_points = model.ray_points

    def forward(self, secc_driving: Tensor, camera: Tensor, led_canonical: Tensor) -> Tensor:
        expression = self.deformation.expression_stem.driving_half(secc_driving) + led_canonical
        return self.deformation.decode(expression, self.ray_points(camera))


class Refiner(nn.Module):
    """The graph `refiner`, run per frame.

    rendered [1, K, R, R], rendered_alpha [1, 1, R, R], SPADE's maps → frame uint8 [S, S, 3], alpha [S, S] in [0, 1].
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.refiner = model.refiner

    def forward(self, rendered: Tensor, rendered_alpha: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor]:
        modulation = list(zip(maps[0::2], maps[1::2], strict=True))
        frame, alpha = self.refiner.forward_folded(rendered, rendered_alpha, modulation)
        return frame_to_uint8(frame), alpha[0, 0].clamp(0.0, 1.0)


class RendererRefiner(nn.Module):
    """The graph `renderer_refiner`, run per frame.

    deformation [1, 3N, R, R], camera [1, 25], planes, SPADE's maps → frame uint8 [S, S, 3], alpha [S, S] in [0, 1].
    """

    def __init__(self, model: HideNerf) -> None:
        super().__init__()
        self.renderer = model.renderer
        self.refine = Refiner(model)
        self.levels = len(model.config.plane_sizes)

    def forward(self, deformation: Tensor, camera: Tensor, *source: Tensor) -> tuple[Tensor, Tensor]:
        planes, maps = source[: self.levels], source[self.levels :]
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
        return self.refine(rendered, rendered_alpha, *maps)


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
    config = model.config
    size, secc = config.image_size, config.secc_size
    camera = torch.from_numpy(canonical_camera(10.0, -5.0, 3.0))[None]
    planes = tuple(f"planes_{level}" for level in range(len(config.plane_sizes)))
    layers = 2 * len(config.refiner_channels)
    maps = tuple(f"{kind}_{layer}" for layer in range(layers) for kind in ("gamma", "beta"))
    encoder = GraphModule(
        "source_encoder",
        SourceEncoder(folded).eval(),
        {
            "source_image": torch.full((1, 3, size, size), 0.5),
            "source_camera": camera,
            "secc_canonical": torch.zeros(1, 3, secc, secc),
        },
        (*planes, "led_canonical", *maps),
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
        {"deformation": deformation, "camera": camera, **{name: source[name] for name in (*planes, *maps)}},
        ("frame", "alpha"),
    )
    return encoder, led, renderer_refiner


def refiner_module(renderer_refiner: GraphModule) -> GraphModule:
    """The refiner alone, `refiner`: what follows the TriplaneRender of the graph `renderer_refiner`."""
    module = renderer_refiner.module
    assert isinstance(module, RendererRefiner)
    size = renderer_refiner.inputs["deformation"].shape[-1]
    maps = {name: t for name, t in renderer_refiner.inputs.items() if name.startswith(("gamma_", "beta_"))}
    rendered = {
        "rendered": torch.zeros(1, module.renderer.second.out_features - 1, size, size),
        "rendered_alpha": torch.zeros(1, 1, size, size),
    }
    return GraphModule("refiner", module.refine, rendered | maps, renderer_refiner.outputs)
