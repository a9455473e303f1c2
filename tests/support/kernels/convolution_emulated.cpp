// The kernel of convolution.cu, for the tile named with -D.
#include "emulation.hpp"
#include "convolution.cu"

extern "C" void run_convolution(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, convolution, arguments);
}
