"""Where the source camera saw what a frame's rays meet: this lets the source's own details move with the head.

The renderer composites, beside colours, the canonical points p + Δ. In the canonical space the head is as the source
picture shows it, so the source camera projects such a point to where the source picture shows it, unless something lies
before it there. Always FP32.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hidenerf.model.geometry import cell_centres, split_camera

# A point counts as seen that lies less than TOLERANCE world units behind what the source camera meets there, and
# fades out over SOFTNESS: of a ray's samples, one or two.
TOLERANCE = 0.08
SOFTNESS = 0.03
# What a refine network is told of a pixel, see `Sight`.
GUIDES = 4
# Excess depths are told apart up to here, world units.
LARGEST_EXCESS = 0.5
_LEAST_ALPHA = 1e-3
_LEAST_DEPTH = 1e-3


class SourceView(NamedTuple):
    """Constants of a source. projection [B, 3, 4] takes a world point and 1 to (u·z, v·z, z): u, v in [-1, 1] right and
    down in the source picture, z the depth before its camera. surface [B, 2, R, R]: depth times alpha, and alpha, of
    what the rays of the source camera meet."""

    projection: Tensor
    surface: Tensor


class Sight(NamedTuple):
    """What the source camera saw of a frame's surface, at one size. grid [B, h, w, 2]: where in the source picture, as
    `F.grid_sample` takes it. shown [B, 1, h, w] in [0, 1]: how surely it is seen there; 0 beyond the head."""

    grid: Tensor
    shown: Tensor


class Alignment(NamedTuple):
    """image [B, 3, R, R]: (u·z, v·z, z) of the surface, times alpha; such sums may be enlarged, their ratios not.
    shown [B, 1, R, R], see `Sight`. guides [B, GUIDES, R, R]: shown; how far behind the source's own surface the point
    lies; how far it has moved in the picture, right and down; all 0 beyond the head. Only `image` has gradients."""

    image: Tensor
    shown: Tensor
    guides: Tensor

    def at(self, size: int) -> Sight:
        """The same at another size: bilinear where it is larger, means where it is smaller."""
        image, shown = (_resized(values, size) for values in (self.image, self.shown))
        return Sight(_grid(image), shown)


def source_projection(camera: Tensor) -> Tensor:
    """Cameras [B, 25] → `SourceView.projection` [B, 3, 4]."""
    rotation, position, intrinsics = split_camera(camera)
    world2cam = rotation.transpose(1, 2)
    offset = -(world2cam * position[:, None, :]).sum(2, keepdim=True)
    # Sums of products, not matmul: autocast would round its operands.
    rows = (intrinsics[:, :, :, None] * torch.cat([world2cam, offset], 2)[:, None]).sum(2)
    return torch.cat([2.0 * rows[:, :2] - rows[:, 2:], rows[:, 2:]], 1)


def projected(projection: Tensor, place: Tensor, alpha: Tensor) -> Tensor:
    """Points times alpha [B, 3, R, R] and alpha [B, 1, R, R] → (u·z, v·z, z) times alpha [B, 3, R, R]."""
    homogeneous = torch.cat([place, alpha], 1)
    return (projection[..., None, None] * homogeneous[:, None]).sum(2)


def source_view(camera: Tensor, place: Tensor, alpha: Tensor) -> SourceView:
    """From the source camera [B, 25], and from what its rays meet without deformation: the canonical points times
    alpha [B, 3, R, R], and alpha [B, 1, R, R]."""
    projection = source_projection(camera)
    depth = projected(projection, place, alpha)[:, 2:]
    return SourceView(projection, torch.cat([depth, alpha], 1))


def align(source: SourceView, place: Tensor, alpha: Tensor) -> Alignment:
    """From a frame's canonical points times alpha [B, 3, R, R] and its alpha [B, 1, R, R]."""
    image = projected(source.projection, place, alpha)
    with torch.no_grad():
        grid = _grid(image)
        found = F.grid_sample(source.surface, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        depth, covered = found.split(1, 1)
        excess = image[:, 2:] / alpha.clamp_min(_LEAST_ALPHA) - depth / covered.clamp_min(_LEAST_ALPHA)
        on_both = alpha.clamp(0.0, 1.0) * covered.clamp(0.0, 1.0)
        shown = on_both * torch.sigmoid((TOLERANCE - excess) / SOFTNESS)
        centres = cell_centres(grid.shape[1], grid.device)
        moved = torch.stack([grid[..., 0] - centres, grid[..., 1] - centres[:, None]], 1).clamp(-1.0, 1.0)
        far = excess.clamp(-LARGEST_EXCESS, LARGEST_EXCESS) / LARGEST_EXCESS
        guides = torch.cat([shown, on_both * far, alpha.clamp(0.0, 1.0) * moved], 1)
    return Alignment(image, shown, guides)


def sample(maps: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples of maps [B, C, H, W] of a source at grid [B, h, w, 2] → [B, C, h, w]; at edges their values."""
    # Laid out channel by channel: PyTorch's kernels read that fastest.
    kept = maps.to(grid.dtype).contiguous()
    return F.grid_sample(kept, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _grid(image: Tensor) -> Tensor:
    # Beyond the head z times alpha is near 0, and the ratio of no meaning but finite.
    ahead = image[:, :2] / image[:, 2:].clamp_min(_LEAST_DEPTH)
    return ahead.clamp(-2.0, 2.0).permute(0, 2, 3, 1)


def _resized(values: Tensor, size: int) -> Tensor:
    here = values.shape[-1]
    if size < here:
        return F.avg_pool2d(values, here // size)
    if size > here:
        return F.interpolate(values, size=(size, size), mode="bilinear", align_corners=False)
    return values
