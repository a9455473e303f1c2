// hidenerf::GridSample3d: trilinear samples of a volume, as torch.nn.functional.grid_sample has them; coordinates and
// sums are FP32 whatever the data are. A coordinate that is not finite lies outside (zero padding) or at 0 (border).
#ifndef HIDENERF_GRID_SAMPLE_3D_CUH
#define HIDENERF_GRID_SAMPLE_3D_CUH

#include "numbers.cuh"

namespace hidenerf {

struct VolumeShape {
    int batch, channels, depth, height, width;
};

// Along one axis: the lower corner and the weights of both, 0 for a corner that counts as zero; indices are valid.
struct AxisTaps {
    int index[2];
    float weight[2];
};

HIDENERF_INLINE AxisTaps axis_taps(float coordinate, int size, bool border, bool align_corners) {
    float position = align_corners ? (coordinate + 1.0f) * 0.5f * float(size - 1)
                                   : ((coordinate + 1.0f) * float(size) - 1.0f) * 0.5f;
    if (border) position = fminf(fmaxf(position, 0.0f), float(size - 1));
    AxisTaps taps;
    const bool reachable = position > -1.0f && position < float(size);  // false for NaN
    const float lower = reachable ? floorf(position) : 0.0f;
    const float fraction = reachable ? position - lower : 0.0f;
    for (int i = 0; i < 2; ++i) {
        const int index = int(lower) + i;
        const bool inside = reachable && index >= 0 && index < size;
        taps.index[i] = inside ? index : 0;
        taps.weight[i] = !inside ? 0.0f : i == 0 ? 1.0f - fraction : fraction;
    }
    return taps;
}

HIDENERF_INLINE float volume_number(const float* from) { return *from; }
HIDENERF_INLINE float volume_number(const unsigned short* from) { return low_half(*from); }
HIDENERF_INLINE void put_number(float* to, float value) { *to = value; }
HIDENERF_INLINE void put_number(unsigned short* to, float value) { *to = half_bits(value); }

// volume [B, C, D, H, W], grid FP32 [B, points, 3] (x along W, y along H, z along D) → sampled [B, C, points]. One
// thread per point: its corners are found once and serve all channels.
template <class Number>
__device__ __forceinline__ void grid_sample_3d(const Number* volume, const float* grid, Number* sampled,
                                               VolumeShape shape, long long points, bool border, bool align_corners) {
    const long long all = points * shape.batch;
    const long long voxels = (long long)shape.depth * shape.height * shape.width;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += (long long)gridDim.x * blockDim.x) {
        const long long batch = i / points, point = i % points;
        const AxisTaps x = axis_taps(grid[3 * i], shape.width, border, align_corners);
        const AxisTaps y = axis_taps(grid[3 * i + 1], shape.height, border, align_corners);
        const AxisTaps z = axis_taps(grid[3 * i + 2], shape.depth, border, align_corners);
        int offset[8];
        float weight[8];
#pragma unroll
        for (int corner = 0; corner < 8; ++corner) {
            const int i = corner & 1, j = corner >> 1 & 1, k = corner >> 2;
            offset[corner] = (z.index[k] * shape.height + y.index[j]) * shape.width + x.index[i];
            weight[corner] = x.weight[i] * y.weight[j] * z.weight[k];
        }
        const Number* channel = volume + batch * shape.channels * voxels;
        Number* out = sampled + batch * shape.channels * points + point;
#pragma unroll 1
        for (int c = 0; c < shape.channels; ++c, channel += voxels, out += points) {
            float sum = 0.0f;
            // A corner outside counts as zero even where the voxel read in its place is not finite.
#pragma unroll
            for (int corner = 0; corner < 8; ++corner)
                if (weight[corner] != 0.0f) sum += weight[corner] * volume_number(channel + offset[corner]);
            put_number(out, sum);
        }
    }
}

}  // namespace hidenerf

#endif
