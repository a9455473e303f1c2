// Eight channels of a pixel of a map with channels last: 16 bytes of FP16, which a thread loads and stores at once.
#ifndef HIDENERF_EIGHT_CHANNELS_CUH
#define HIDENERF_EIGHT_CHANNELS_CUH

#include "numbers.cuh"

namespace hidenerf {

struct Eight {
    float values[8];
};

__device__ __forceinline__ Eight unpacked(const uint4& packed) {
    return {{low_half(packed.x), high_half(packed.x), low_half(packed.y), high_half(packed.y), low_half(packed.z),
             high_half(packed.z), low_half(packed.w), high_half(packed.w)}};
}

__device__ __forceinline__ uint4 packed(const Eight& of) {
    const float* v = of.values;
    return make_uint4(pack_halves(v[0], v[1]), pack_halves(v[2], v[3]), pack_halves(v[4], v[5]), pack_halves(v[6], v[7]));
}

}  // namespace hidenerf

#endif
