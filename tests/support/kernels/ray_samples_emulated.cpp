// The kernels of ray_samples.cu, for the sizes named with -D.
#include "emulation.hpp"
#include "ray_samples.cu"

extern "C" {

void run_ray_samples_fp32(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, ray_samples_fp32, arguments);
}

void run_ray_samples_fp16(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, ray_samples_fp16, arguments);
}

void run_ray_samples_last(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, ::ray_samples_last, arguments);
}
}
