"""`SeccDrawer`: pictures of a face mesh, SECCs and face sights, drawn on the GPU."""

import numpy as np

from hidenerf.runtime.kernels.launch import Kernels

_THREADS = 128
# The channel of a picture that all others are multiplied by.
SIGHT_WEIGHT, NO_WEIGHT = 2, -1


class SeccDrawer:
    """Draws a face model's SECCs or face sights.

    Arguments of its methods are device addresses; everything is asynchronous.
    """

    def __init__(self, vertices: int, expressions: int, triangles: int, size: int, *, face_sight: bool = False) -> None:
        """Compile the kernels.

        vertices, expressions, triangles: how many there are (V, E, F); the teeth's among them, if they are drawn.
        size: side of the pictures in pixels.
        face_sight: draw face sights, of K = 4 channels that are multiplied by the third; else SECCs, of K = 3.
        """
        self._vertices, self._expressions, self._triangles = vertices, expressions, triangles
        self._size = size
        self._channels, self._weight = (4, SIGHT_WEIGHT) if face_sight else (3, NO_WEIGHT)
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

    def screen(self, vertices: int, camera: int, screen: int, stream: int) -> None:
        """Project vertices, so that `draw` draws them as a camera sees them; all FP32.

        vertices: [V, 3].
        camera: [25].
        screen: [V, 3], the result (`hidenerf.runtime.face_sight.screen_vertices`).
        stream: handle of the stream.
        """
        self._launch("secc_screen", self._vertices, stream, [vertices, camera, screen, np.int32(self._vertices)])

    def draw(self, vertices: int, triangles: int, colours: int, keys: int, picture: int, stream: int) -> None:
        """Draw vertices as a SECC shows them: a frontal, orthographic view of [-1, 1]².

        vertices: FP32 [V, 3].
        triangles: int32 [F, 3].
        colours: FP32 [V, K].
        keys: 64-bit [size, size]; zeros before the first call and after every call.
        picture: FP32 [K, size, size], the result.
        stream: handle of the stream.
        """
        size, count = np.int32(self._size), np.int32(self._triangles)
        self._launch("secc_rasterise", self._triangles, stream, [vertices, triangles, keys, count, size])
        addresses = [vertices, triangles, colours, keys, picture]
        channels = np.int32(self._channels), np.int32(self._weight)
        self._launch("secc_shade", self._size**2, stream, [*addresses, *channels, size])

    def _launch(self, name: str, threads: int, stream: int, arguments: list[int | np.generic]) -> None:
        self._kernels.launch(name, (-(-threads // _THREADS), 1, 1), _THREADS, stream, arguments)
