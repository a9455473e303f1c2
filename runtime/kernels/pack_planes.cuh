// A source's planes, once per source, in the layouts that the TriplaneRender kernels read.
#ifndef HIDENERF_PACK_PLANES_CUH
#define HIDENERF_PACK_PLANES_CUH

#include "merged_planes.cuh"
#include "ray_march.cuh"

namespace hidenerf {

__device__ __forceinline__ float load_number(const float* from) { return __ldg(from); }
__device__ __forceinline__ float load_number(const unsigned short* from) { return low_half(__ldg(from)); }

// FP16 bits; beyond FP16's range its largest number, and kPlanesOutOfRange in *flags.
__device__ __forceinline__ unsigned int checked_half(float value, int* flags) {
    if (!(fabsf(value) <= 65504.0f)) atomicOr(flags, kPlanesOutOfRange);
    return half_bits(fminf(fmaxf(value, -65504.0f), 65504.0f));
}

template <int levels, class In>
struct Levels {
    const In* planes[levels];
};

// One channel of one plane [size, size] at a point; zero outside.
template <class In>
__device__ __forceinline__ float sample_channel(const In* channel, int size, float x, float y) {
    const float left = floorf(x), top = floorf(y);
    float sum = 0.0f;
    for (int tap = 0; tap < 4; ++tap) {
        const float column = left + float(tap & 1), row = top + float(tap >> 1);
        if (column < 0.0f || row < 0.0f || column >= float(size) || row >= float(size)) continue;
        const float weight = (1.0f - fabsf(x - column)) * (1.0f - fabsf(y - row));
        sum += weight * load_number(channel + int(row) * size + int(column));
    }
    return sum;
}

constexpr int kMergePoints = 32;
constexpr int kMergeThreads = 128;

// planes: per level [3, C, r_l, r_l]; weight: FP32 [L·C, width], the first layer's feature columns over 3, transposed,
// units in the order of MergedPlanes::unit → merged [3, points, points, width] FP16. A block makes kMergePoints points
// of one row of one plane: grid (points / kMergePoints rounded up, points, 3), kMergeThreads threads.
template <class S, class In>
__device__ __forceinline__ void merge_planes(const Levels<S::levels, In>& planes, const float* weight,
                                             unsigned short* merged, int* flags) {
    using M = MergedPlanes<S>;
    constexpr int features = S::levels * S::channels;
    __shared__ float sampled[features][kMergePoints];
    const int first = blockIdx.x * kMergePoints, row = blockIdx.y, plane = blockIdx.z;
    for (int i = threadIdx.x; i < features * kMergePoints; i += kMergeThreads) {
        const int feature = i / kMergePoints, point = i % kMergePoints;
        const int level = feature / S::channels, channel = feature % S::channels;
        const int size = S::finest >> (S::levels - 1 - level);
        const In* from = planes.planes[0];
#pragma unroll
        for (int l = 1; l < S::levels; ++l) from = level == l ? planes.planes[l] : from;
        sampled[feature][point] = sample_channel(from + (plane * S::channels + channel) * size * size, size,
                                                 M::texel(first + point, size), M::texel(row, size));
    }
    __syncthreads();
    // A thread makes the eight values of one 16-byte word, at one point after another.
    constexpr int words = S::width / 8;
    for (int i = threadIdx.x; i < words * kMergePoints; i += kMergeThreads) {
        const int word = i % words, point = i / words;
        if (first + point >= M::points) continue;
        float sum[8] = {};
        for (int feature = 0; feature < features; ++feature) {
            const float4* w = (const float4*)(weight + feature * S::width + 8 * word);
            const float4 low = __ldg(w), high = __ldg(w + 1);
            const float value = sampled[feature][point];
            sum[0] += value * low.x;
            sum[1] += value * low.y;
            sum[2] += value * low.z;
            sum[3] += value * low.w;
            sum[4] += value * high.x;
            sum[5] += value * high.y;
            sum[6] += value * high.z;
            sum[7] += value * high.w;
        }
        unsigned int pairs[4];
#pragma unroll
        for (int j = 0; j < 4; ++j)
            pairs[j] = checked_half(sum[2 * j], flags) | (checked_half(sum[2 * j + 1], flags) << 16);
        const long long at = ((long long)(plane * M::points + row) * M::points + first + point) * S::width + 8 * word;
        *(uint4*)(merged + at) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
}

// planes [3, C, size, size] → bordered [3, size + 2, size + 2, C] FP16 with a border of zeros. Any grid of threads.
template <class In>
__device__ __forceinline__ void channels_last(const In* planes, unsigned short* bordered, int channels, int size,
                                              int* flags) {
    const int side = size + 2, count = 3 * side * side * channels;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int channel = i % channels, point = i / channels;
        const int column = point % side - 1, row = point / side % side - 1, plane = point / (side * side);
        const bool inside = column >= 0 && row >= 0 && column < size && row < size;
        const int from = ((plane * channels + channel) * size + row) * size + column;
        bordered[i] = inside ? (unsigned short)checked_half(load_number(planes + from), flags) : (unsigned short)0;
    }
}

}  // namespace hidenerf

#endif
