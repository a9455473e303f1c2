// The kernel of channels_last.cu.
#include "emulation.hpp"
#include "channels_last.cu"

extern "C" void run_channels_last(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, ::channels_last, arguments);
}
