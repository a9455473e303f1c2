"""Pair geometry: vertices, visible triangles and SECCs of a pair, computed on the CPU into a row for the painter.

Nothing here imports torch, so that worker processes start fast.
"""

import os
import queue
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.camera import frontal_view
from hidenerf.runtime.face_model import FaceModel
from hidenerf.runtime.face_sight import face_sight, sight_colours
from hidenerf.runtime.secc import secc
from hidenerf.training.data.surface_points import pixels_of_rays, surface_points
from hidenerf.training.data.synthetic.heads import HeadMesh, load_head_mesh
from hidenerf.training.data.synthetic.people import LOOK_SIZES, Pair, make_portrait_pair, pack_look
from hidenerf.training.data.synthetic.photo_settings import PHOTO_SIZES, pack_photo
from hidenerf.training.data.synthetic.portraits import Portrait
from hidenerf.training.data.synthetic.rasterise import Rasteriser
from hidenerf.training.data.worker_processes import begin_worker

SUPERSAMPLING = 2
_ALIGNMENT = 16
_POLL_SECONDS = 1.0


class SeccChoice(NamedTuple):
    """What the two SECCs of a pair show.

    own_expression: whether the canonical SECC has the source's expression (Eq. 3 as read in DESIGN §8) or none, as in
        the paper.
    posed: whether both are drawn through their pictures' cameras, with rotation and translation, or from the front.
        The first is the paper's ablation "w/o SECC".
    """

    own_expression: bool
    posed: bool

    @property
    def at_rest(self) -> int:
        """Number of SECCs without an expression for two pictures of a person, either of which may be the source."""
        if self.own_expression:
            return 0
        return 2 if self.posed else 1


# Default of pairs.
DEFAULT_SECCS = SeccChoice(own_expression=True, posed=False)


class PairLayout:
    """Layout of one pair in a row of bytes. In dimensions of 2 the source is first; H is SUPERSAMPLING × S.

    The row has vertices [2, V, 3], hair_depth [V], look [L], photo [P] and cameras [2, 25], float32; photograph [1]
    int32, see `Pair`; secc
    [k, 3, Q, Q] uint8, see `draw_seccs`; triangle [2, H, H] int16 and barycentric [2, 2, H, H] uint8, see
    `Rasteriser.draw`; surface [2, 6, Q/2, Q/2] and face_sight [2, 4, S, S] float16, see `image_pairs.ImagePairs`.

    image_size: S.
    secc_size: Q.
    seccs: what the SECCs show.
    """

    def __init__(self, mesh: HeadMesh, image_size: int, secc_size: int, seccs: SeccChoice) -> None:
        size, vertices = SUPERSAMPLING * image_size, len(mesh.mean)
        self.fields: dict[str, tuple[tuple[int, ...], np.dtype, int]] = {}
        self.bytes = 0
        for name, shape, kind in (
            ("vertices", (2, vertices, 3), np.float32),
            ("hair_depth", (vertices,), np.float32),
            ("look", (sum(LOOK_SIZES.values()),), np.float32),
            ("photo", (sum(PHOTO_SIZES.values()),), np.float32),
            ("cameras", (2, 25), np.float32),
            ("photograph", (1,), np.int32),
            ("secc", (seccs.at_rest + 2, 3, secc_size, secc_size), np.uint8),
            ("triangle", (2, size, size), np.int16),
            ("barycentric", (2, 2, size, size), np.uint8),
            ("surface", (2, 6, secc_size // 2, secc_size // 2), np.float16),
            ("face_sight", (2, 4, image_size, image_size), np.float16),
        ):
            dtype = np.dtype(kind)
            self.fields[name] = (shape, dtype, self.bytes)
            used = int(np.prod(shape)) * dtype.itemsize
            self.bytes += -(-used // _ALIGNMENT) * _ALIGNMENT

    def views(self, row: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Views of a row [bytes] as the pair's arrays, by name."""
        return {
            name: row[start : start + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
            for name, (shape, dtype, start) in self.fields.items()
        }


def shared_rows(memory: Any, layout: PairLayout) -> NDArray[np.uint8]:
    """Shared memory as rows [n, bytes], one a pair."""
    return np.frombuffer(memory, np.uint8).reshape(-1, layout.bytes)


def draw_pair(
    mesh: HeadMesh, rasteriser: Rasteriser, pair: Pair, seccs: SeccChoice, arrays: dict[str, NDArray[Any]]
) -> None:
    """Compute a pair into the arrays of its row, see `PairLayout.views`."""
    style = pair.person.style
    hair_depth = mesh.hair_depth(style)
    shape = mesh.shape(style, hair_depth)
    triangles = mesh.visible_triangles(style)
    arrays["hair_depth"][:] = hair_depth
    arrays["look"][:] = pack_look(pair.person.look)
    arrays["photo"][:] = pack_photo(pair.photo)
    arrays["photograph"][:] = pair.photograph
    views = ((pair.source_expression, pair.source_camera), (pair.expression, pair.camera))
    for view, (expression, camera) in enumerate(views):
        vertices = mesh.vertices(shape, pair.person.identity, expression)
        arrays["vertices"][view] = vertices
        arrays["cameras"][view] = camera
        rasteriser.draw(
            vertices, camera, triangles, mesh.curtain_start, arrays["triangle"][view], arrays["barycentric"][view]
        )
    size = arrays["surface"].shape[-1]
    for view, both in enumerate((arrays["vertices"], arrays["vertices"][::-1])):
        seen = pixels_of_rays(arrays["triangle"][view], size), pixels_of_rays(arrays["barycentric"][view], size)
        arrays["surface"][view] = surface_points(mesh.triangles, both, *seen)
    arrays["secc"][:] = draw_seccs(mesh.face_model, pair.person.identity, views, seccs, arrays["secc"].shape[-1])
    sights = draw_face_sights(mesh.face_model, pair.person.identity, views, arrays["face_sight"].shape[-1])
    arrays["face_sight"][:] = sights


def draw_seccs(
    model: FaceModel,
    identity: NDArray[np.float32],
    views: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    seccs: SeccChoice,
    size: int,
) -> NDArray[np.uint8]:
    """SECCs [k, 3, size, size] of two pictures of a person: those without an expression, then one of each picture.

    identity: [K].
    views: expression [E] and camera [25] of each picture.
    """
    at_rest = [(np.zeros_like(expression), camera) for expression, camera in views[: seccs.at_rest]]
    drawn = []
    for expression, camera in (*at_rest, *views):
        face = model.vertices(identity, expression)
        drawn.append(secc(seen_through(camera, face) if seccs.posed else face, model, size))
    return np.rint(255 * np.stack(drawn)).astype(np.uint8)


def draw_face_sights(
    model: FaceModel,
    identity: NDArray[np.float32],
    views: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    size: int,
) -> NDArray[np.float16]:
    """Face sights [2, 4, size, size] of two pictures of a person, each with the other one as source.

    identity: [K].
    views: expression [E] and camera [25] of each picture.
    """
    posed = [(model.vertices_with_teeth(identity, expression), camera) for expression, camera in views]
    sights = []
    for frame, source in (posed, posed[::-1]):
        sights.append(face_sight(model, *frame, sight_colours(model, *source), size))
    return np.stack(sights).astype(np.float16)


def seen_through(camera: NDArray[np.float32], vertices: NDArray[np.floating]) -> NDArray[np.float32]:
    """Transform world vertices [V, 3] so that the SECC's view of [-1, 1]² shows them as the camera [25] does.

    Straight lines stay straight. z grows towards the camera, by about the distance.
    """
    place, depth, distance = frontal_view(np.asarray(vertices, np.float64), camera)
    return np.column_stack([place, distance * (distance / depth - 1)]).astype(np.float32)


class PairNumbers(NamedTuple):
    """Numbers of pairs: first, first + stride, … of the set with this seed."""

    seed: int
    first: int
    stride: int


class RowExchange(NamedTuple):
    """Shared memory of rows, with the queues through which processes exchange them.

    memory: rows of a `PairLayout`.
    free: numbers of the rows that may be written.
    ready: numbers of the rows that hold a pair.
    stopped: set to end the workers.
    """

    memory: Any
    free: "Queue[int]"
    ready: "Queue[int]"
    stopped: Event


class People(NamedTuple):
    """Source of the people of pairs. portraits: real people. share: of pairs with a portrait, 0 to 1."""

    portraits: Sequence[Portrait] = ()
    share: float = 0.0


def work(
    image_size: int, secc_size: int, seccs: SeccChoice, numbers: PairNumbers, rows: RowExchange, people: People
) -> None:
    """Body of a worker process: draws pairs into free rows until stopped. image_size: S. secc_size: Q."""
    begin_worker(os.getppid())
    mesh = load_head_mesh()
    layout = PairLayout(mesh, image_size, secc_size, seccs)
    shared = shared_rows(rows.memory, layout)
    rasteriser = Rasteriser(mesh.triangles, SUPERSAMPLING * image_size)
    number = numbers.first
    while not rows.stopped.is_set():
        try:
            row = rows.free.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        pair = make_portrait_pair(mesh.face_model, people.portraits, people.share, number, numbers.seed)
        draw_pair(mesh, rasteriser, pair, seccs, layout.views(shared[row]))
        rows.ready.put(row)
        number += numbers.stride
