// The kernels of align_source.cu as plain functions: blocks and threads first, then a kernel's own arguments.
#include "emulation.hpp"
#include "align_source.cuh"

using namespace hidenerf;

static const int reach[kBoxes] = {REACH_1, REACH_2, REACH_3};

extern "C" {

void project(int blocks, int threads, const float* place, const float* alpha, const float* projection, float* moved,
             float* head, float* depth, int size) {
    emulation::launch({blocks, 1, 1}, threads,
                      [&] { align_project(place, alpha, projection, moved, head, depth, size); });
}

void see(int blocks, int threads, const float* weighted, const float* head, const float* depth, const float* surface,
         float* moved, float* seen, float* guides, int size) {
    emulation::launch({blocks, 1, 1}, threads,
                      [&] { align_see(weighted, head, depth, surface, moved, seen, guides, size, reach); });
}

void show(int blocks, int threads, const float* seen, const float* head, float* shown, float* guides, int size) {
    emulation::launch({blocks, 1, 1}, threads, [&] { align_show(seen, head, shown, guides, size, reach, BAND); });
}

void sample_maps_fp32(int blocks, int threads, const MapPart* parts, const MapBlock* table, const float* moved,
                      const float* shown, int render_size) {
    emulation::launch({blocks, 1, 1}, threads, [&] { sample_maps<float>(parts, table, moved, shown, render_size); });
}

void sample_maps_fp16(int blocks, int threads, const MapPart* parts, const MapBlock* table, const float* moved,
                      const float* shown, int render_size) {
    emulation::launch({blocks, 1, 1}, threads,
                      [&] { sample_maps<unsigned short>(parts, table, moved, shown, render_size); });
}

void pictures(int blocks, int threads, const float* picture, const float* small, const float* moved,
              const float* shown, float* own, float* own_shown, float* own_small, int size, int render_size) {
    emulation::launch({blocks, 1, 1}, threads, [&] {
        sample_pictures(picture, small, moved, shown, own, own_shown, own_small, size, render_size);
    });
}
}
