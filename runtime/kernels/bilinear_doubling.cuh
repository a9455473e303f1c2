// A map with channels last → the map of twice its side, bilinear (half-pixel centres, edges continued).
#ifndef HIDENERF_BILINEAR_DOUBLING_CUH
#define HIDENERF_BILINEAR_DOUBLING_CUH

#include "eight_channels.cuh"

namespace hidenerf {

// The pixel on the other side of the one that contains pixel `at` of the doubled side; it counts 1/4.
HIDENERF_INLINE int other_pixel(int at, int size) {
    const int other = (at >> 1) + (at & 1 ? 1 : -1);
    return other < 0 ? 0 : other >= size ? size - 1 : other;
}

// map [height, width], doubled [2 height, 2 width]: FP16, with so many numbers a pixel, of which 8 · vectors are doubled.
// A thread per eight channels of a pixel of the result.
__device__ __forceinline__ void bilinear_doubling(const unsigned short* map, int map_stride, unsigned short* doubled,
                                                  int doubled_stride, int height, int width, int vectors) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x, pixel = thread / vectors, first = thread % vectors * 8;
    if (pixel >= 4 * height * width) return;
    const int y = pixel / (2 * width), x = pixel % (2 * width);
    const int rows[2] = {y >> 1, other_pixel(y, height)}, columns[2] = {x >> 1, other_pixel(x, width)};
    uint4 taps[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        taps[i] = __ldg((const uint4*)(map + (rows[i / 2] * width + columns[i % 2]) * map_stride + first));
    Eight sum = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float weight = (i / 2 ? 0.25f : 0.75f) * (i % 2 ? 0.25f : 0.75f);
        const Eight tap = unpacked(taps[i]);
#pragma unroll
        for (int c = 0; c < 8; ++c) sum.values[c] += weight * tap.values[c];
    }
    *(uint4*)(doubled + pixel * doubled_stride + first) = packed(sum);
}

}  // namespace hidenerf

#endif
