"""The CPU's share of a pair: vertices, visible triangles and SECCs, written where the painter finds them.

No part of this imports torch: worker processes do nothing else than this.
"""

import os
import queue
import signal
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.secc import secc
from hidenerf.training.heads import HeadMesh, load_head_mesh
from hidenerf.training.people import LOOK_SIZES, Pair, make_pair, pack_look
from hidenerf.training.rasterise import Rasteriser

SUPERSAMPLING = 2
_ALIGNMENT = 16
_POLL_SECONDS = 1.0


class PairLayout:
    """How one pair lies in a row of bytes. Of everything that is there twice, the source's comes first.

    vertices [2, V, 3], hair_depth [V], look [L] and cameras [2, 25] are float32; secc [3, 3, Q, Q] is uint8: without
    an expression, with the source's and with the target's; triangle [2, H, H] int16 and barycentric [2, 2, H, H] uint8
    are as `Rasteriser.draw` makes them, H being SUPERSAMPLING × S.
    """

    def __init__(self, mesh: HeadMesh, image_size: int, secc_size: int) -> None:
        size, vertices = SUPERSAMPLING * image_size, len(mesh.mean)
        self.fields: dict[str, tuple[tuple[int, ...], np.dtype, int]] = {}
        self.bytes = 0
        for name, shape, kind in (
            ("vertices", (2, vertices, 3), np.float32),
            ("hair_depth", (vertices,), np.float32),
            ("look", (sum(LOOK_SIZES.values()),), np.float32),
            ("cameras", (2, 25), np.float32),
            ("secc", (3, 3, secc_size, secc_size), np.uint8),
            ("triangle", (2, size, size), np.int16),
            ("barycentric", (2, 2, size, size), np.uint8),
        ):
            dtype = np.dtype(kind)
            self.fields[name] = (shape, dtype, self.bytes)
            used = int(np.prod(shape)) * dtype.itemsize
            self.bytes += -(-used // _ALIGNMENT) * _ALIGNMENT

    def views(self, row: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The arrays of the pair in a row of `bytes` bytes."""
        return {
            name: row[start : start + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
            for name, (shape, dtype, start) in self.fields.items()
        }


def shared_rows(memory: Any, layout: PairLayout) -> NDArray[np.uint8]:
    """Shared memory of bytes as rows [n, bytes], one for a pair."""
    return np.frombuffer(memory, np.uint8).reshape(-1, layout.bytes)


def draw_pair(mesh: HeadMesh, rasteriser: Rasteriser, pair: Pair, arrays: dict[str, NDArray[Any]]) -> None:
    """Work out a pair into the arrays of its row."""
    style, model = pair.person.style, mesh.face_model
    hair_depth = mesh.hair_depth(style)
    shape = mesh.shape(style, hair_depth)
    triangles = mesh.visible_triangles(style)
    arrays["hair_depth"][:] = hair_depth
    arrays["look"][:] = pack_look(pair.person.look)
    views = ((pair.source_expression, pair.source_camera), (pair.expression, pair.camera))
    for view, (expression, camera) in enumerate(views):
        vertices = mesh.vertices(shape, pair.person.identity, expression)
        arrays["vertices"][view] = vertices
        arrays["cameras"][view] = camera
        rasteriser.draw(
            vertices, camera, triangles, mesh.curtain_start, arrays["triangle"][view], arrays["barycentric"][view]
        )
    neutral = np.zeros_like(pair.expression)
    for place, expression in enumerate((neutral, pair.source_expression, pair.expression)):
        face = secc(model.vertices(pair.person.identity, expression), model, arrays["secc"].shape[-1])
        arrays["secc"][place] = np.rint(face * 255)


def work(
    image_size: int,
    secc_size: int,
    seed: int,
    first: int,
    stride: int,
    memory: Any,
    free: "Queue[int]",
    ready: "Queue[int]",
    stopped: Event,
) -> None:
    """A worker process: pairs number first, first + stride, … into the rows of shared memory that are free."""
    # Ctrl-C is for the main process, which then stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    mesh = load_head_mesh()
    layout = PairLayout(mesh, image_size, secc_size)
    rows = shared_rows(memory, layout)
    rasteriser = Rasteriser(mesh.triangles, SUPERSAMPLING * image_size)
    parent = os.getppid()
    number = first
    while not stopped.is_set() and os.getppid() == parent:
        try:
            row = free.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        draw_pair(mesh, rasteriser, make_pair(mesh.face_model, number, seed), layout.views(rows[row]))
        ready.put(row)
        number += stride
