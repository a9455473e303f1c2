"""Portraits of made-up people, painted on the CPU by the generator of training: for assets and to find landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hidenerf.training.data.synthetic.geometry import SUPERSAMPLING
from hidenerf.training.data.synthetic.heads import HeadMesh, Style
from hidenerf.training.data.synthetic.painting import Painter, Views
from hidenerf.training.data.synthetic.people import LOOK_SIZES, Look, Person, pack_look
from hidenerf.training.data.synthetic.rasterise import Rasteriser

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

BALD = Style(
    hairline=(0.0,) * 6,
    thickness=0.0,
    top=0.0,
    unevenness=0.0,
    phase=(0.0, 0.0, 0.0),
    curtain_end=None,
    curtain_opening=0.0,
    waves=0.0,
    body=True,
)

# A face without brows, beard or make-up, lit from in front. Entries as in LOOK_SIZES; what is not here is 0.
_PLAIN: dict[str, float | Sequence[float]] = {
    "skin": (0.58, 0.36, 0.26),
    "lip": (0.50, 0.20, 0.17),
    "brow": (0.05, 0.03, 0.02),
    "iris": (0.10, 0.17, 0.24),
    "teeth": (0.72, 0.67, 0.58),
    "cloth": (0.12, 0.15, 0.20),
    "second_cloth": (0.12, 0.15, 0.20),
    "unevenness": 0.4,
    "blush": 0.2,
    "eye_bags": 0.2,
    "shine": 0.6,
    "gloss": 0.4,
    "brow_thickness": 0.026,
    "lashes": 0.6,
    "iris_radius": 0.042,
    "pupil_radius": 0.018,
    "hair_contrast": 0.4,
    "hair_shine": 0.4,
    "stripe_frequency": 20.0,
    "collar": 0.3,
    "key_direction": (0.35, 0.45, 1.0),
    "key": (0.85, 0.85, 0.85),
    "fill_direction": (-0.8, 0.1, 0.6),
    "fill": (0.15, 0.15, 0.15),
    "sky": (0.35, 0.35, 0.35),
    "ground": (0.2, 0.2, 0.2),
}


@dataclass(frozen=True, eq=False)
class Portrait:
    """A painted head.

    picture [S, S, 3] in [0, 1], over black; alpha [S, S] in [0, 1]. triangle [H, H] int16 and barycentric [2, H, H]
    uint8, H being SUPERSAMPLING × S: what each pixel sees, as `Rasteriser.draw` makes it.
    """

    picture: Array
    alpha: Array
    triangle: NDArray[np.int16]
    barycentric: NDArray[np.uint8]


class PortraitPainter:
    """Paints people with the heads of one mesh, as square pictures of `size` pixels."""

    def __init__(self, mesh: HeadMesh, size: int) -> None:
        self.mesh = mesh
        self._painter = Painter(mesh, torch.device("cpu"))
        self._rasteriser = Rasteriser(mesh.triangles, SUPERSAMPLING * size)

    def paint(self, person: Person, expression: Floats, camera: NDArray[np.floating]) -> Portrait:
        """A person with an expression [E] through a camera [25]."""
        mesh, size = self.mesh, self._rasteriser.size
        hair_depth = mesh.hair_depth(person.style)
        vertices = mesh.vertices(mesh.shape(person.style, hair_depth), person.identity, expression)
        triangle, barycentric = np.zeros((size, size), np.int16), np.zeros((2, size, size), np.uint8)
        visible = mesh.visible_triangles(person.style)
        self._rasteriser.draw(vertices, camera, visible, mesh.curtain_start, triangle, barycentric)
        views = Views(
            vertices=torch.from_numpy(vertices)[None],
            hair_depth=torch.from_numpy(hair_depth)[None],
            look=torch.from_numpy(pack_look(person.look))[None],
            camera_position=torch.tensor(camera[[3, 7, 11]], dtype=torch.float32)[None],
            triangle=torch.from_numpy(triangle)[None],
            barycentric=torch.from_numpy(barycentric)[None],
        )
        painting = self._painter.paint(views)
        color = painting.color[0].permute(1, 2, 0).contiguous().double().numpy()
        return Portrait(color, painting.mask[0, 0].double().numpy(), triangle, barycentric)


def make_look(**changes: float | Sequence[float]) -> Look:
    """A plain face's look with these entries of LOOK_SIZES in place of its own; directions need not be unit vectors."""
    values = {**dict.fromkeys(LOOK_SIZES, 0.0), **_PLAIN, **changes}
    look = {name: np.broadcast_to(np.array(values[name], np.float32), size).copy() for name, size in LOOK_SIZES.items()}
    for name in ("key_direction", "fill_direction"):
        look[name] /= np.linalg.norm(look[name])
    return look
