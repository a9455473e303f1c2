"""SECC on the GPU."""

import numpy as np

from hidenerf.runtime.kernels.launch import Kernels

_THREADS = 128


class SeccDrawer:
    """Draws a face model's SECCs; arguments are device addresses, all is asynchronous.

    vertices, expressions, triangles: how many the face model has. size: side of the picture.
    """

    def __init__(self, vertices: int, expressions: int, triangles: int, size: int) -> None:
        self._vertices, self._expressions, self._triangles, self._size = vertices, expressions, triangles, size
        self._kernels = Kernels("secc.cu")

    def vertices(self, neutral: int, basis: int, coefficients: int, vertices: int, stream: int) -> None:
        """FP32 neutral face [V, 3], expression basis [E, V, 3], coefficients [E] → vertices [V, 3]."""
        numbers = 3 * self._vertices
        arguments: list[int | np.generic] = [
            neutral,
            basis,
            coefficients,
            vertices,
            np.int32(numbers),
            np.int32(self._expressions),
        ]
        self._launch("secc_vertices", numbers, stream, arguments)

    def draw(self, vertices: int, triangles: int, colours: int, keys: int, secc: int, stream: int) -> None:
        """FP32 vertices [V, 3], int32 triangles [F, 3], FP32 colours [V, 3] → secc FP32 [3, Q, Q].

        keys: 64-bit [Q, Q], zeros before the first call, and again after each.
        """
        size = np.int32(self._size)
        self._launch(
            "secc_rasterise", self._triangles, stream, [vertices, triangles, keys, np.int32(self._triangles), size]
        )
        self._launch("secc_shade", self._size**2, stream, [vertices, triangles, colours, keys, secc, size])

    def _launch(self, name: str, threads: int, stream: int, arguments: list[int | np.generic]) -> None:
        self._kernels.launch(name, (-(-threads // _THREADS), 1, 1), _THREADS, stream, arguments)
