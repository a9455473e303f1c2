"""`pack_mlp`: the MLP's weights in the order in which the kernels' tensor core products read them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hidenerf.runtime.errors import HideNerfError
from hidenerf.runtime.kernels.sizes import RendererSizes

Floats = NDArray[np.floating]


class PackedMlp(NamedTuple):
    """The MLP's weights for the kernels.

    operands: uint32, all that TriplaneRender keeps in shared memory.
    feature_weight: float32 [L·C, padded_width], for `merge_planes`.
    direct_operands: uint32, operands of the kernel that reads the planes of each level.
    """

    operands: NDArray[np.uint32]
    feature_weight: NDArray[np.float32]
    direct_operands: NDArray[np.uint32]


def operand_words(matrix: Floats) -> NDArray[np.uint32]:
    """Reorder B [K, N] of D = A·B as the lanes read it (mma.cuh).

    Returns uint32 [K/16, N/16, 32, 4], with two column tiles a word. Errors: a value beyond FP16's range.
    """
    depth, columns = matrix.shape
    with np.errstate(over="ignore"):
        half = np.asarray(matrix, np.float16)
    if not np.isfinite(half).all():
        largest = float(np.abs(matrix).max())
        raise HideNerfError(f"A weight of the renderer's MLP is {largest:g}, beyond FP16; run another backend.")
    # Row = 16·product + 8·part + 2·quad + low, column = 16·pair + 8·tile + group.
    split = half.reshape(depth // 16, 2, 4, 2, columns // 16, 2, 8)
    lanes = np.ascontiguousarray(split.transpose(0, 4, 6, 2, 5, 1, 3))
    return lanes.view(np.uint32).reshape(depth // 16, columns // 16, 32, 4)


def unit_order(width: int) -> NDArray[np.intp]:
    """The hidden unit at each place of a point of the merged planes (MergedPlanes::unit)."""
    place = np.arange(width)
    block, quad, tile, column = place // 32, place // 8 % 4, place // 2 % 4, place % 2
    return (4 * block + tile) * 8 + 2 * quad + column


def _entry_row(product: int, quad: int, entry: int) -> int:
    """Row of B that meets entry 0 … 3 of a lane's four inputs to one product."""
    return 16 * product + 2 * quad + (entry & 1) + 8 * (entry >> 1)


def pack_mlp(sizes: RendererSizes, weight_1: Floats, bias_1: Floats, weight_2: Floats, bias_2: Floats) -> PackedMlp:
    """Pack the MLP's weights for the kernels; NumPy, once per model.

    sizes: the model's.
    weight_1: [W, L·C + 6·octaves].
    bias_1: [W].
    weight_2: [K + 1, W], density in the last row.
    bias_2: [K + 1], density last.
    Errors: another shape, a weight beyond FP16's range.
    """
    features, width = sizes.levels * sizes.channels, sizes.padded_width
    expected = {
        "weight_1": (sizes.width, features + 6 * sizes.octaves),
        "bias_1": (sizes.width,),
        "weight_2": (sizes.rendered + 1, sizes.width),
        "bias_2": (sizes.rendered + 1,),
    }
    given = {"weight_1": weight_1, "bias_1": bias_1, "weight_2": weight_2, "bias_2": bias_2}
    for name, shape in expected.items():
        if given[name].shape != shape:
            found = list(given[name].shape)
            raise HideNerfError(f"The renderer's {name} has shape {found}, not {list(shape)}; export the bundle again.")
    first = np.zeros((features + 6 * sizes.octaves, width))
    first[:, : sizes.width] = np.asarray(weight_1, np.float64).T

    encoding = np.zeros((16 * sizes.encoding_products, width))
    for octave in range(sizes.octaves):
        for part in range(2):
            for axis in range(3):
                row = _entry_row(octave // 2, axis, 2 * (octave % 2) + part)
                encoding[row] = first[features + 6 * octave + 3 * part + axis]
    # Quad 3's cosines are 1: the bias in FP16, and what FP16 leaves of it.
    bias = np.asarray(bias_1, np.float64)
    coarse = bias.astype(np.float16).astype(np.float64)
    encoding[_entry_row(0, 3, 1), : sizes.width] = coarse
    encoding[_entry_row(0, 3, 3), : sizes.width] = bias - coarse

    columns = [*range(sizes.rendered), sizes.outputs - 1]
    second = np.zeros((width, sizes.outputs))
    second[: sizes.width, columns] = np.asarray(weight_2, np.float64).T
    bias_columns = np.zeros(sizes.outputs, np.float32)
    bias_columns[columns] = bias_2

    tail = [operand_words(encoding).ravel(), operand_words(second).ravel(), bias_columns.view(np.uint32)]
    mean = first[:features] / 3.0
    feature_weight = np.ascontiguousarray(mean[:, unit_order(width)], np.float32)
    direct = [operand_words(mean[_direct_order(sizes)]).ravel()] if sizes.channels % 16 == 0 else []
    return PackedMlp(np.concatenate(tail), feature_weight, np.concatenate([*direct, *tail]))


def _direct_order(sizes: RendererSizes) -> list[int]:
    """Feature that meets each row of the direct kernel's first operand: quad q holds C/4 channels in a row."""
    share, products = sizes.channels // 4, sizes.channels // 16
    order = [0] * (sizes.levels * sizes.channels)
    for level in range(sizes.levels):
        for product in range(products):
            for quad in range(4):
                for entry in range(4):
                    row = _entry_row(level * products + product, quad, entry)
                    order[row] = level * sizes.channels + quad * share + 4 * product + entry
    return order
