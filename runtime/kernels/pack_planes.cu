#include "model_sizes.cuh"
#include "pack_planes.cuh"

using namespace hidenerf;

extern "C" __global__ void __launch_bounds__(kMergeThreads, 8)
    merge_planes_fp32(const float* p0, const float* p1, const float* p2, const float* p3, const float* weight,
                      unsigned short* merged, int* flags) {
    const auto planes = of_levels<Levels<LEVELS, float>>(p0, p1, p2, p3);
    merge_planes<ModelSizes>(planes, weight, merged, flags);
}

extern "C" __global__ void __launch_bounds__(kMergeThreads, 8)
    merge_planes_fp16(const unsigned short* p0, const unsigned short* p1, const unsigned short* p2, const unsigned short* p3, const float* weight,
                      unsigned short* merged, int* flags) {
    const auto planes = of_levels<Levels<LEVELS, unsigned short>>(p0, p1, p2, p3);
    merge_planes<ModelSizes>(planes, weight, merged, flags);
}

extern "C" __global__ void channels_last_fp32(const float* planes, unsigned short* bordered, int channels, int size,
                                              int* flags) {
    channels_last(planes, bordered, channels, size, flags);
}

extern "C" __global__ void channels_last_fp16(const unsigned short* planes, unsigned short* bordered, int channels,
                                              int size, int* flags) {
    channels_last(planes, bordered, channels, size, flags);
}
