// RaySamples: what LED reads along a camera's rays, the ray points and an SECC pair's features at their frontal
// projections, as hidenerf.model.deformation has them. Computed in FP32 and rounded once; numbers are FP16 or FP32.
#ifndef HIDENERF_RAY_SAMPLES_CUH
#define HIDENERF_RAY_SAMPLES_CUH

#include "camera_rays.cuh"
#include "grid_sample_3d.cuh"

namespace hidenerf {

// Samples of its ray that a thread makes.
constexpr int kSamplesAThread = 4;

// R, N, every how manieth sample is looked up, K.
struct SampleSizes {
    int size, samples, stride, channels;
};

// features [K, R, R] at the frontal projection (x, -y) of a point → to[k · step] of every channel k; 0 beside the SECC.
template <class Number>
__device__ __forceinline__ void look_up(const Number* features, float x, float y, const SampleSizes& sizes, Number* to,
                                        int step) {
    const AxisTaps columns = axis_taps(x, sizes.size, false, false), rows = axis_taps(-y, sizes.size, false, false);
    int offset[4];
    float weight[4];
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
        const int i = corner & 1, j = corner >> 1;
        offset[corner] = rows.index[j] * sizes.size + columns.index[i];
        weight[corner] = rows.weight[j] * columns.weight[i];
    }
#pragma unroll 4
    for (int k = 0; k < sizes.channels; ++k) {
        const Number* channel = features + k * sizes.size * sizes.size;
        float sum = 0.0f;
        // Read-only loads may pass the stores of other channels. What is outside counts as zero, whatever is read there.
#pragma unroll
        for (int corner = 0; corner < 4; ++corner)
            if (weight[corner] != 0.0f) sum += weight[corner] * as_float(__ldg(channel + offset[corner]));
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

}  // namespace hidenerf

#endif
