// The MLP's weights in the order in which triplane_render_direct reads them, made on the device: what packing.py's
// pack_mlp makes on the host as `direct_operands`. For a caller that has the weights as tensors in every frame.
#ifndef HIDENERF_PACK_MLP_CUH
#define HIDENERF_PACK_MLP_CUH

#include "pack_planes.cuh"

namespace hidenerf {

// weight_1 [units, L·C + 6·octaves], bias_1 [units], weight_2 [K + 1, units], bias_2 [K + 1], density in the last row.
template <class In>
struct Mlp {
    const In *weight_1, *bias_1, *weight_2, *bias_2;
};

// S: Sizes; units: hidden units before padding.
template <class S, int units>
struct MlpOperands {
    static constexpr int products = S::channels / 16;
    // 32-bit words of each part.
    static constexpr int features = S::levels * products * S::hidden_tiles / 2 * 128;
    static constexpr int encoding = 4 * S::encoding_words;
    static constexpr int second = 4 * S::second_words;
    static constexpr int words = features + encoding + second + S::outputs;
    static constexpr int columns_1 = S::levels * S::channels + 6 * S::octaves;

    // A row of 16 that one product takes: its quad, and which of that lane's four entries (mma.cuh).
    static HIDENERF_INLINE int quad(int row) { return row % 8 / 2; }
    static HIDENERF_INLINE int entry(int row) { return (row & 1) + row % 16 / 8 * 2; }

    // The first layer's operand for the features: a quad holds C/4 channels in a row; the mean over planes is in it.
    template <class In>
    static __device__ __forceinline__ float feature(const Mlp<In>& mlp, int row, int unit) {
        if (unit >= units) return 0.0f;
        const int level = row / S::channels, product = row / 16 % products;
        const int channel = quad(row) * (S::channels / 4) + 4 * product + entry(row);
        return load_number(mlp.weight_1 + unit * columns_1 + level * S::channels + channel) / 3.0f;
    }

    // Its operand for the encoding: quads 0 to 2 are axes; quad 3's cosines are 1 and carry the bias, in FP16 and what
    // FP16 leaves of it.
    template <class In>
    static __device__ __forceinline__ float encoded(const Mlp<In>& mlp, int row, int unit) {
        if (unit >= units) return 0.0f;
        const int product = row / 16, axis = quad(row), octave = 2 * product + entry(row) / 2, cosine = row & 1;
        if (axis < 3) {
            if (octave >= S::octaves) return 0.0f;
            const int column = S::levels * S::channels + 6 * octave + 3 * cosine + axis;
            return load_number(mlp.weight_1 + unit * columns_1 + column);
        }
        if (product > 0 || cosine == 0) return 0.0f;
        const float bias = load_number(mlp.bias_1 + unit);
        return entry(row) == 1 ? bias : bias - low_half(half_bits(bias));
    }

    // Row of the second layer that makes a column of its operand; -1 for a column of zeros.
    static HIDENERF_INLINE int output(int column) {
        return column < S::rendered ? column : column == S::outputs - 1 ? S::rendered : -1;
    }

    template <class In>
    static __device__ __forceinline__ float second_layer(const Mlp<In>& mlp, int unit, int column) {
        const int row = output(column);
        return row < 0 || unit >= units ? 0.0f : load_number(mlp.weight_2 + row * units + unit);
    }

    template <class In>
    static __device__ __forceinline__ unsigned int word(const Mlp<In>& mlp, int index, int* flags) {
        if (index >= features + encoding + second) {
            const int row = output(index - features - encoding - second);
            return row < 0 ? 0u : float_bits(load_number(mlp.bias_2 + row));
        }
        const bool first = index < features, last = index >= features + encoding;
        const int i = first ? index : last ? index - features - encoding : index - features;
        const int pairs = (last ? S::outputs : S::width) / 16;
        // Within a matrix: product, pair of column tiles, lane (group and quad), tile, half of the product's rows.
        const int product = i / (128 * pairs), pair = i / 128 % pairs, lane = i / 4 % 32;
        const int column = 16 * pair + 8 * (i / 2 % 2) + lane / 4;
        const int row = 16 * product + 8 * (i % 2) + 2 * (lane % 4);
        unsigned int halves[2];
        for (int low = 0; low < 2; ++low) {
            const float value = first  ? feature(mlp, row + low, column)
                                : last ? second_layer(mlp, row + low, column)
                                       : encoded(mlp, row + low, column);
            halves[low] = checked_half(value, flags);
        }
        return halves[0] | (halves[1] << 16);
    }
};

// → operands, MlpOperands::words; a weight beyond FP16 is clamped and sets kPlanesOutOfRange. Any grid of threads.
template <class S, int units, class In>
__device__ __forceinline__ void pack_mlp(const Mlp<In>& mlp, unsigned int* operands, int* flags) {
    using Operands = MlpOperands<S, units>;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < Operands::words; i += gridDim.x * blockDim.x)
        operands[i] = Operands::word(mlp, i, flags);
}

}  // namespace hidenerf

#endif
