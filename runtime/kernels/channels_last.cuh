// Planes of several tensors [C, H, W] → one FP16 map [H, W, channels].
#ifndef HIDENERF_CHANNELS_LAST_CUH
#define HIDENERF_CHANNELS_LAST_CUH

#include "numbers.cuh"

namespace hidenerf {

// Planes of one tensor: x·scale + offset of `count` planes from `at` on, FP16 if half, otherwise FP32.
struct Planes {
    const void* at;
    int half, count;
    float scale, offset;
};

// The planes one after the other, then zeros, up to 8 · vectors channels of a pixel. A thread per eight channels; those
// of a warp take neighbouring pixels.
template <int Inputs>
__device__ __forceinline__ void channels_last(const Planes (&inputs)[Inputs], unsigned short* map, int pixels,
                                              int vectors) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= pixels * vectors) return;
    const int pixel = thread % pixels, vector = thread / pixels;
    float values[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
        int channel = 8 * vector + c;
        values[c] = 0.0f;
#pragma unroll
        for (int i = 0; i < Inputs; ++i) {
            if (channel >= 0 && channel < inputs[i].count) {
                const int at = channel * pixels + pixel;
                const float value = inputs[i].half ? as_float(__ldg((const unsigned short*)inputs[i].at + at))
                                                   : __ldg((const float*)inputs[i].at + at);
                values[c] = value * inputs[i].scale + inputs[i].offset;
            }
            channel -= inputs[i].count;
        }
    }
    *(uint4*)(map + (pixel * vectors + vector) * 8) =
        make_uint4(pack_halves(values[0], values[1]), pack_halves(values[2], values[3]),
                   pack_halves(values[4], values[5]), pack_halves(values[6], values[7]));
}

}  // namespace hidenerf

#endif
