// RaySamples: what LED reads along a camera's rays, the ray points and an SECC pair's features at their frontal
// projections, as hidenerf.model.deformation has them. Computed in FP32 and rounded once; numbers are FP16 or FP32.
#ifndef HIDENERF_RAY_SAMPLES_CUH
#define HIDENERF_RAY_SAMPLES_CUH

#include "camera_rays.cuh"
#include "eight_channels.cuh"
#include "grid_sample_3d.cuh"

namespace hidenerf {

// Samples of its ray that a thread makes.
constexpr int kSamplesAThread = 4;

// Pixels of a block of `ray_samples_last`.
constexpr int kPixelsABlock = 32;

// R, N, every how manieth sample is looked up, K.
struct SampleSizes {
    int size, samples, stride, channels;
};

// The four pixels of a picture that a value at a point is a mean of, and their weights.
struct PixelTaps {
    int offset[4];
    float weight[4];
};

// At the frontal projection (x, -y) of a point. Weights are 0 beside the picture, whatever is read there.
HIDENERF_INLINE PixelTaps pixel_taps(float x, float y, int size) {
    const AxisTaps columns = axis_taps(x, size, false, false), rows = axis_taps(-y, size, false, false);
    PixelTaps taps;
    for (int corner = 0; corner < 4; ++corner) {
        const int i = corner & 1, j = corner >> 1;
        taps.offset[corner] = rows.index[j] * size + columns.index[i];
        taps.weight[corner] = rows.weight[j] * columns.weight[i];
    }
    return taps;
}

// features [K, R, R] at the frontal projection of a point → to[k · step] of every channel k; 0 beside the SECC.
template <class Number>
__device__ __forceinline__ void look_up(const Number* features, float x, float y, const SampleSizes& sizes, Number* to,
                                        int step) {
    const PixelTaps taps = pixel_taps(x, y, sizes.size);
#pragma unroll 4
    for (int k = 0; k < sizes.channels; ++k) {
        const Number* channel = features + k * sizes.size * sizes.size;
        float sum = 0.0f;
        // Read-only loads may pass the stores of other channels.
#pragma unroll
        for (int corner = 0; corner < 4; ++corner)
            if (taps.weight[corner] != 0.0f) sum += taps.weight[corner] * as_float(__ldg(channel + taps.offset[corner]));
        put_number(to + k * step, sum);
    }
}

// camera FP32 [25], features [K, R, R] → points [3N, R, R], row 3i + k: axis k of sample i; looked_up [K·n, R, R], row
// k·n + j: feature k at the j-th of the n samples that are looked up. Along x a block has pixels, one a thread, so that
// a warp stores in a row; along y it has kSamplesAThread samples. The stride divides N.
template <class Number>
__device__ __forceinline__ void ray_samples(const float* camera, const Number* features, Number* points,
                                            Number* looked_up, const SampleSizes& sizes) {
    const int pixels = sizes.size * sizes.size, count = sizes.samples / sizes.stride;
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x, first = blockIdx.y * kSamplesAThread;
    if (pixel >= pixels) return;
    const Ray ray = ray_through(camera, pixel % sizes.size, pixel / sizes.size, sizes.size, sizes.samples);
#pragma unroll
    for (int i = 0; i < kSamplesAThread; ++i) {
        const int sample = first + i;
        if (sample >= sizes.samples) return;
        float point[3];
#pragma unroll
        for (int axis = 0; axis < 3; ++axis) {
            point[axis] = ray.point(axis, sample);
            put_number(points + (3 * sample + axis) * pixels + pixel, point[axis]);
        }
        if (sample % sizes.stride == sizes.stride / 2)
            look_up(features, point[0], point[1], sizes, looked_up + sample / sizes.stride * pixels + pixel,
                    count * pixels);
    }
}

// The same of features with channels last, `stride` numbers a pixel.
__device__ __forceinline__ void look_up_last(const unsigned short* features, int stride, float x, float y,
                                             const SampleSizes& sizes, unsigned short* to, int step) {
    const PixelTaps taps = pixel_taps(x, y, sizes.size);
    for (int first = 0; first < sizes.channels; first += 8) {
        Eight sum = {};
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            if (taps.weight[corner] == 0.0f) continue;
            const Eight tap = unpacked(__ldg((const uint4*)(features + taps.offset[corner] * stride + first)));
#pragma unroll
            for (int c = 0; c < 8; ++c) sum.values[c] += taps.weight[corner] * tap.values[c];
        }
#pragma unroll
        for (int c = 0; c < 8; ++c)
            if (first + c < sizes.channels) to[(first + c) * step] = half_bits(sum.values[c]);
    }
}

// Channels of a pixel of a map that has so many in use.
HIDENERF_INLINE constexpr int padded_channels(int channels) { return (channels + 7) / 8 * 8; }

HIDENERF_INLINE constexpr int point_channels(const SampleSizes& sizes) { return 3 * sizes.samples; }

HIDENERF_INLINE constexpr int looked_up_channels(const SampleSizes& sizes) {
    return sizes.channels * (sizes.samples / sizes.stride);
}

// Channels of both results.
HIDENERF_INLINE constexpr int result_channels(const SampleSizes& sizes) {
    return padded_channels(point_channels(sizes)) + padded_channels(looked_up_channels(sizes));
}

// The same with channels last: FP16 maps with so many numbers a pixel, their last channels zeros. Channels: as
// `result_channels` says. A block has kPixelsABlock pixels, one a lane, and its warps share the samples. Results go
// through shared memory, from where a warp stores words of a pixel side by side.
template <int Channels>
__device__ __forceinline__ void ray_samples_last(const float* camera, const unsigned short* features,
                                                 int features_stride, unsigned short* points, int points_stride,
                                                 unsigned short* looked_up, int looked_up_stride,
                                                 const SampleSizes& sizes) {
    // Two more numbers: pixels then are an odd number of words apart, and lie in different banks.
    __shared__ unsigned int words[kPixelsABlock][Channels / 2 + 1];
    const int of_points = point_channels(sizes), of_looked_up = looked_up_channels(sizes);
    const int pixels = sizes.size * sizes.size, count = sizes.samples / sizes.stride;
    const int begin = blockIdx.x * kPixelsABlock, lane = threadIdx.x % kPixelsABlock, pixel = begin + lane;
    const int warp = threadIdx.x / kPixelsABlock, warps = blockDim.x / kPixelsABlock;
    unsigned short* numbers = (unsigned short*)words[lane];
    unsigned short* found = numbers + padded_channels(of_points);
    for (int c = of_points + warp; c < padded_channels(of_points); c += warps) numbers[c] = 0;
    for (int c = of_looked_up + warp; c < padded_channels(of_looked_up); c += warps) found[c] = 0;
    if (pixel < pixels) {
        const Ray ray = ray_through(camera, pixel % sizes.size, pixel / sizes.size, sizes.size, sizes.samples);
        const int share = (sizes.samples + warps - 1) / warps;
        for (int sample = warp * share; sample < (warp + 1) * share && sample < sizes.samples; ++sample) {
            float point[3];
#pragma unroll
            for (int axis = 0; axis < 3; ++axis) {
                point[axis] = ray.point(axis, sample);
                numbers[3 * sample + axis] = half_bits(point[axis]);
            }
            if (sample % sizes.stride == sizes.stride / 2)
                look_up_last(features, features_stride, point[0], point[1], sizes, found + sample / sizes.stride, count);
        }
    }
    __syncthreads();
    constexpr int across = Channels / 2;
    const int point_words = padded_channels(of_points) / 2;
    for (int i = threadIdx.x; i < kPixelsABlock * across; i += blockDim.x) {
        const int row = i / across, word = i % across;
        if (begin + row >= pixels) continue;
        unsigned int* to = word < point_words
                               ? (unsigned int*)(points + (begin + row) * points_stride) + word
                               : (unsigned int*)(looked_up + (begin + row) * looked_up_stride) + (word - point_words);
        *to = words[row][word];
    }
}

}  // namespace hidenerf

#endif
