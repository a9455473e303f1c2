#include "channels_last.cuh"

using namespace hidenerf;

extern "C" __global__ void channels_last(const void* first, int first_half, int first_count, float first_scale,
                                         float first_offset, const void* second, int second_half, int second_count,
                                         float second_scale, float second_offset, const void* third, int third_half,
                                         int third_count, float third_scale, float third_offset, unsigned short* map,
                                         int pixels, int vectors) {
    const Planes inputs[3] = {{first, first_half, first_count, first_scale, first_offset},
                              {second, second_half, second_count, second_scale, second_offset},
                              {third, third_half, third_count, third_scale, third_offset}};
    hidenerf::channels_last(inputs, map, pixels, vectors);
}
