// The kernels of ray_samples.cu as plain functions: blocks along x and y and threads first, then a kernel's arguments.
#include "emulation.hpp"
#include "ray_samples.cuh"

using namespace hidenerf;

constexpr SampleSizes kSizes = {RENDER_SIZE, SAMPLES, LOOKUP_STRIDE, LOOKUP_CHANNELS};

extern "C" {

void ray_samples_fp32(int columns, int rows, int threads, const float* camera, const float* features, float* points,
                      float* looked_up) {
    emulation::launch({columns, rows, 1}, threads,
                      [&] { ray_samples(camera, features, points, looked_up, kSizes); });
}

void ray_samples_fp16(int columns, int rows, int threads, const float* camera, const unsigned short* features,
                      unsigned short* points, unsigned short* looked_up) {
    emulation::launch({columns, rows, 1}, threads,
                      [&] { ray_samples(camera, features, points, looked_up, kSizes); });
}
}
