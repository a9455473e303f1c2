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

extern "C" __global__ void __launch_bounds__(256)
    ray_samples_last(const float* camera, const unsigned short* features, int features_stride, unsigned short* points,
                     int points_stride, unsigned short* looked_up, int looked_up_stride) {
    hidenerf::ray_samples_last<result_channels(kSizes)>(camera, features, features_stride, points, points_stride,
                                                        looked_up, looked_up_stride, kSizes);
}
