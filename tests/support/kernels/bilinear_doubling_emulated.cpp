// The kernel of bilinear_doubling.cu.
#include "emulation.hpp"
#include "bilinear_doubling.cu"

extern "C" void run_bilinear_doubling(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, ::bilinear_doubling, arguments);
}
