// The kernels of convolution.cu, for the tile named with -D.
#include "emulation.hpp"
#include "convolution.cu"

extern "C" {

void run_convolution(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, convolution, arguments);
}

void run_convolution_to_frame(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, convolution_to_frame, arguments);
}

void run_convolution_to_planes(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, convolution_to_planes, arguments);
}
}
