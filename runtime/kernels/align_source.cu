#include "align_source.cuh"

using namespace hidenerf;

// Macros: REACH_1, REACH_2, REACH_3 of the boxes and BAND, pixels.
#define REACHES const int reach[kBoxes] = {REACH_1, REACH_2, REACH_3}

extern "C" __global__ void project(const float* place, const float* alpha, const float* projection, float* moved,
                                   float* head, float* depth, int size) {
    align_project(place, alpha, projection, moved, head, depth, size);
}

extern "C" __global__ void see(const float* weighted, const float* head, const float* depth, const float* surface,
                               float* moved, float* seen, float* guides, int size) {
    REACHES;
    align_see(weighted, head, depth, surface, moved, seen, guides, size, reach);
}

extern "C" __global__ void show(const float* seen, const float* head, float* shown, float* guides, int size) {
    REACHES;
    align_show(seen, head, shown, guides, size, reach, BAND);
}

extern "C" __global__ void sample_maps_fp32(const MapPart* parts, const MapBlock* blocks, const float* moved,
                                            const float* shown, int render_size) {
    sample_maps<float>(parts, blocks, moved, shown, render_size);
}

extern "C" __global__ void sample_maps_fp16(const MapPart* parts, const MapBlock* blocks, const float* moved,
                                            const float* shown, int render_size) {
    sample_maps<unsigned short>(parts, blocks, moved, shown, render_size);
}

extern "C" __global__ void pictures(const float* picture, const float* small, const float* moved, const float* shown,
                                    float* own, float* own_shown, float* own_small, int size, int render_size) {
    sample_pictures(picture, small, moved, shown, own, own_shown, own_small, size, render_size);
}
