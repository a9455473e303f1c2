"""Where the source camera saw what a frame's rays meet: this lets the source's own details move with the head.

The renderer composites, beside colours, the canonical points p + Δ. In the canonical space the head is as the source
picture shows it, so the source camera projects such a point to where the source picture shows it, unless something lies
before it there.

Around eyes and mouth R × R is too coarse for that: there the face mesh says it (`hidenerf.runtime.face_sight`). Always
FP32.
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
# Channels of `Alignment.guides` and of `SourceView.surface`.
GUIDES = 4
SURFACE = 4
# Channels of a frame's face sight: see `hidenerf.runtime.face_sight.face_sight`.
FACE_SIGHT_CHANNELS = 4
# Steps of the fixed point in `drift`. Drifts are small and smooth, so that each step leaves a few percent of the error.
_DRIFT_STEPS = 3
# Excess depths are told apart up to here, world units.
LARGEST_EXCESS = 0.5
# Beyond the head, values are weighted means of those on the head, within boxes of these half widths (shares of R). Each
# box weighs less than the one before, so that the nearest values count most.
_BOXES = ((0.05, 1 / 64), (0.005, 3 / 64), (0.0005, 8 / 64))
# Half the width (share of R) of the band beyond the head where the source still counts as seen.
_BAND = 4 / 64
_LEAST_ALPHA = 1e-3
_LEAST_DEPTH = 1e-3
_LEAST_WEIGHT = 1e-6


class SourceView(NamedTuple):
    """Constants of a source.

    projection [B, 3, 4]: takes a world point and 1 to (u·z, v·z, z); u, v in [-1, 1] right and down in the source
    picture, z the depth before its camera.
    surface [B, SURFACE, R, R]: the depth of what the rays of the source camera meet, the largest of a ray and its eight
    neighbours, continued beyond the head; the rays' alpha; and the drift, right and down, see `drift`.
    """

    projection: Tensor
    surface: Tensor


class Sight(NamedTuple):
    """What the source camera saw of a frame's surface, at one size.

    grid [B, h, w, 2]: where in the source picture, as `F.grid_sample` takes it.
    known [B, 1, h, w]: in [-1, 1]. Above 0: how surely it is seen there. Below 0: it is not, and is the inside of a
        mouth; how far below says what of it (`hidenerf.runtime.face_parts.mouth_inside`).
    """

    grid: Tensor
    known: Tensor

    @property
    def shown(self) -> Tensor:
        """How surely it is seen, [B, 1, h, w] in [0, 1]."""
        return self.known.clamp_min(0.0)


class Alignment(NamedTuple):
    """Where the source picture shows what a frame shows.

    moved [B, 2, R, R]: position in the source picture less position in the frame, right and down, in units of half a
    picture, from the rays; continued beyond the head, so that hair and edges that no ray meets are sampled beside what
    they adjoin.
    shown [B, 1, R, R]: `Sight.shown` from the rays; on the head and in a band around it.
    face_sight [B, FACE_SIGHT_CHANNELS, S, S]: of the face mesh, which replaces the rays' where it has weight.
    guides [B, GUIDES, R, R]: `Sight.known`; how far behind the source's own surface the point lies; and moved, on the
        head only.
    Only `moved` has gradients.
    """

    moved: Tensor
    shown: Tensor
    face_sight: Tensor
    guides: Tensor

    def at(self, size: int) -> Sight:
        """The same at another size: bilinear where it is larger, means where it is smaller."""
        return sight_at(self.moved, self.shown, self.face_sight, size)


def sight_at(moved: Tensor, shown: Tensor, face_sight: Tensor, size: int) -> Sight:
    """`Sight` at a size, of fields of `Alignment`."""
    moved, shown, face = (_resized(values, size) for values in (moved, shown, face_sight))
    place, weight, known = face.split([2, 1, 1], 1)
    grid = moved + _positions(size, moved.device).permute(2, 0, 1)
    # The face's positions are from 0 to 1 and times their weight.
    grid = (1.0 - weight) * grid + (2.0 * place - weight)
    return Sight(grid.permute(0, 2, 3, 1), (1.0 - weight) * shown + known)


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
    """`SourceView` of a source camera [B, 25], from what its rays meet with the source's own expression.

    place [B, 3, R, R]: the canonical points times alpha. alpha [B, 1, R, R].
    """
    projection = source_projection(camera)
    image = projected(projection, place, alpha)
    depth = continued(image[:, 2:], alpha)
    # At an edge, such as the chin's before the neck, a ray's mean depth is that of neither surface: the farthest of the
    # neighbours keeps what is seen there from being taken for hidden.
    deepest = F.max_pool2d(depth, 3, 1, 1)
    return SourceView(projection, torch.cat([deepest, alpha, drift(displacement(image, alpha))], 1))


def displacement(image: Tensor, alpha: Tensor) -> Tensor:
    """How far points moved: position in the source picture less position in the picture of the rays, [B, 2, R, R].

    image [B, 3, R, R]: of `projected`. alpha [B, 1, R, R]: the rays'. Units and continuation: `Alignment.moved`.
    """
    head = alpha.clamp(0.0, 1.0).detach()
    here = _positions(image.shape[-1], image.device).permute(2, 0, 1)
    # Off the head z times alpha is near 0, and the ratio without meaning but finite.
    found = (image[:, :2] / image[:, 2:].clamp_min(_LEAST_DEPTH)).clamp(-2.0, 2.0)
    return continued(head * (found - here), head)


def drift(moved: Tensor) -> Tensor:
    """How far what is found at a position of the source picture lies from where it is shown: [B, 2, R, R].

    LED's Δ is not exactly 0 for the source's own expression, so that it moves even what should stay. A point that the
    source shows at x is found at x + moved(x), and so is the same point in any other frame: `align` takes that back.
    The result d solves d(x + moved(x)) = moved(x).
    moved [B, 2, R, R]: `displacement` of the source's own rays.
    """
    here = _positions(moved.shape[-1], moved.device)
    found = moved
    for _ in range(_DRIFT_STEPS):
        found = sample(moved, here - found.permute(0, 2, 3, 1))
    return found


def align(source: SourceView, place: Tensor, alpha: Tensor, face_sight: Tensor) -> Alignment:
    """`Alignment` of a frame.

    place [B, 3, R, R]: the frame's canonical points times alpha. alpha [B, 1, R, R].
    face_sight [B, FACE_SIGHT_CHANNELS, S, S]: the frame's.
    """
    image = projected(source.projection, place, alpha)
    size = image.shape[-1]
    head = alpha.clamp(0.0, 1.0).detach()
    found = displacement(image, alpha)
    with torch.no_grad():
        grid = found.permute(0, 2, 3, 1) + _positions(size, image.device)
        surface = F.grid_sample(source.surface, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        depth, covered, drifted = surface.split([1, 1, 2], 1)
    moved = found - drifted
    with torch.no_grad():
        excess = image[:, 2:] / alpha.clamp_min(_LEAST_ALPHA) - depth
        seen = torch.sigmoid((TOLERANCE - excess) / SOFTNESS) * (2.0 * covered).clamp(0.0, 1.0)
        band = (4.0 * _mean(head, round(size * _BAND))).clamp(0.0, 1.0)
        shown = band * continued(head * seen, head)
        on_both = head * covered.clamp(0.0, 1.0)
        far = excess.clamp(-LARGEST_EXCESS, LARGEST_EXCESS) / LARGEST_EXCESS
        sight = sight_at(moved, shown, face_sight, size)
        both_moved = (sight.grid - _positions(size, image.device)).permute(0, 3, 1, 2)
        guides = torch.cat([sight.known, on_both * far, head * both_moved], 1)
    return Alignment(moved, shown, face_sight, guides)


def continued(weighted: Tensor, weight: Tensor) -> Tensor:
    """Values where there is weight, and beyond it means of the nearest ones; 0 far from all.

    weighted [B, C, R, R]: values times their weight. weight [B, 1, R, R]: not below 0.
    """
    size = weight.shape[-1]
    total, weights = weighted, weight
    for factor, share in _BOXES:
        reach = max(1, round(size * share))
        total = total + factor * _mean(weighted, reach)
        weights = weights + factor * _mean(weight, reach)
    return total / (weights + _LEAST_WEIGHT)


def _mean(values: Tensor, reach: int) -> Tensor:
    """Means over boxes of 2 · reach + 1 pixels; 0 beyond the edges."""
    return F.avg_pool2d(values, 2 * reach + 1, 1, reach) if reach else values


def _positions(size: int, device: torch.device) -> Tensor:
    """Pixel centres [size, size, 2], right and down in [-1, 1]."""
    centres = cell_centres(size, device)
    return torch.stack([centres.expand(size, size), centres[:, None].expand(size, size)], -1)


def sample(maps: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples of maps [B, C, H, W] of a source at grid [B, h, w, 2] → [B, C, h, w]; at edges their values."""
    # Laid out channel by channel: PyTorch's kernels read that fastest.
    kept = maps.to(grid.dtype).contiguous()
    return F.grid_sample(kept, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _resized(values: Tensor, size: int) -> Tensor:
    here = values.shape[-1]
    if size < here:
        return F.avg_pool2d(values, here // size)
    if size > here:
        return F.interpolate(values, size=(size, size), mode="bilinear", align_corners=False)
    return values
