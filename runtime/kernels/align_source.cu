#include "align_source.cuh"

using namespace hidenerf;

extern "C" __global__ void project(const float* place, const float* alpha, const float* projection,
                                   const float* face_sight, float* scratch, int image_size) {
    align_project<RENDER_SIZE>(place, alpha, projection, face_sight, scratch, image_size);
}

extern "C" __global__ void see(const float* surface, float* scratch, float* guides) {
    align_see<RENDER_SIZE>(surface, scratch, guides);
}

extern "C" __global__ void show(float* scratch, float* guides) { align_show<RENDER_SIZE>(scratch, guides); }

extern "C" __global__ void sights(const float* scratch, const float* face_sight, float* to, int image_size) {
    align_sights<RENDER_SIZE>(scratch, face_sight, to, image_size);
}

extern "C" __global__ void sample_maps_fp32(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    sample_maps<RENDER_SIZE, float>(parts, blocks, sights);
}

extern "C" __global__ void sample_maps_fp16(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    sample_maps<RENDER_SIZE, unsigned short>(parts, blocks, sights);
}

extern "C" __global__ void pictures(const float* picture, const float* small, const float* sights, float* own,
                                    float* own_shown, float* own_small, int size) {
    sample_pictures<RENDER_SIZE>(picture, small, sights, own, own_shown, own_small, size);
}
