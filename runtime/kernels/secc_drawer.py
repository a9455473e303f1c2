"""`SeccDrawer`: SECCs drawn on the GPU."""

import numpy as np

from hidenerf.runtime.kernels.launch import Kernels

_THREADS = 128


class SeccDrawer:
    """Draws a face model's SECCs. Arguments of its methods are device addresses; everything is asynchronous."""

    def __init__(self, vertices: int, expressions: int, triangles: int, size: int) -> None:
        """Compile the kernels.

        vertices, expressions, triangles: how many the face model has (V, E, F).
        size: Q, side of the SECC in pixels.
        """
        self._vertices, self._expressions, self._triangles, self._size = vertices, expressions, triangles, size
        self._kernels = Kernels("secc.cu")

    def vertices(self, neutral: int, basis: int, coefficients: int, vertices: int, stream: int) -> None:
        """Compute the vertices of an expression; all FP32.

        neutral: [V, 3], the face without expression.
        basis: [E, V, 3], the expression basis.
        coefficients: [E], the expression.
        vertices: [V, 3], the result.
        stream: handle of the stream.
        """
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
        """Draw the SECC of vertices.

        vertices: FP32 [V, 3].
        triangles: int32 [F, 3].
        colours: FP32 [V, 3].
        keys: 64-bit [Q, Q]; zeros before the first call and after every call.
        secc: FP32 [3, Q, Q], the result.
        stream: handle of the stream.
        """
        size = np.int32(self._size)
        self._launch(
            "secc_rasterise", self._triangles, stream, [vertices, triangles, keys, np.int32(self._triangles), size]
        )
        self._launch("secc_shade", self._size**2, stream, [vertices, triangles, colours, keys, secc, size])

    def _launch(self, name: str, threads: int, stream: int, arguments: list[int | np.generic]) -> None:
        self._kernels.launch(name, (-(-threads // _THREADS), 1, 1), _THREADS, stream, arguments)
