// From the networks' pictures to bytes.
#ifndef HIDENERF_PICTURES_CUH
#define HIDENERF_PICTURES_CUH

#include "numbers.cuh"

namespace hidenerf {

// picture [3, height, width] → bytes [height, width, 3]: clamped to [0, 1], rounded to nearest even; NaN is 0. A thread
// per pixel.
template <class Number>
__device__ __forceinline__ void to_bytes(const Number* picture, unsigned char* bytes, int pixels) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    for (int c = 0; c < 3; ++c) {
        const float value = fminf(fmaxf(as_float(picture[c * pixels + pixel]), 0.0f), 1.0f);
        bytes[3 * pixel + c] = (unsigned char)rintf(255.0f * value);
    }
}

}  // namespace hidenerf

#endif
