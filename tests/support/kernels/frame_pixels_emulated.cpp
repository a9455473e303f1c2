// The kernel of frame_pixels.cu.
#include "emulation.hpp"
#include "frame_pixels.cu"

extern "C" void run_frame_pixels(int blocks, int parts, int threads, void** arguments) {
    emulation::launch_kernel({blocks, parts, 1}, threads, ::frame_pixels, arguments);
}
