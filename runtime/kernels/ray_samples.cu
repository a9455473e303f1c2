#include "ray_samples.cuh"

using namespace hidenerf;

constexpr SampleSizes kSizes = {RENDER_SIZE, SAMPLES, LOOKUP_STRIDE, LOOKUP_CHANNELS};

extern "C" __global__ void __launch_bounds__(128)
    ray_samples_fp32(const float* camera, const float* features, float* points, float* looked_up) {
    ray_samples(camera, features, points, looked_up, kSizes);
}

extern "C" __global__ void __launch_bounds__(128)
    ray_samples_fp16(const float* camera, const unsigned short* features, unsigned short* points,
                     unsigned short* looked_up) {
    ray_samples(camera, features, points, looked_up, kSizes);
}
