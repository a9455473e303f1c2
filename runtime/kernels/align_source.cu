#include "align_source.cuh"

using namespace hidenerf;

extern "C" __global__ void project_fp32(const float* place, const float* alpha, const float* rendered,
                                        const float* projection, const float* face_sight, float* scratch,
                                        float* stem_input, int channels, int pictured, int image_size) {
    align_project<RENDER_SIZE>(place, alpha, rendered, projection, face_sight, scratch, stem_input, channels, pictured,
                               image_size);
}

extern "C" __global__ void see_fp32(const float* surface, float* scratch, float* guides) {
    align_see<RENDER_SIZE>(surface, scratch, guides);
}

extern "C" __global__ void show_fp32(float* scratch, float* guides) { align_show<RENDER_SIZE>(scratch, guides); }

extern "C" __global__ void sample_maps_fp32(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    sample_maps<RENDER_SIZE, float>(parts, blocks, sights);
}

extern "C" __global__ void pictures_fp32(const float* picture, const float* small, const float* sights, float* own,
                                         float* shown, float* detail_input, float* enlarger_input,
                                         float* stem_channels, int size) {
    sample_pictures<RENDER_SIZE, float>(picture, small, sights,
                                      {own, shown, detail_input, enlarger_input, stem_channels}, size);
}

extern "C" __global__ void project_fp16(const float* place, const float* alpha, const float* rendered,
                                        const float* projection, const float* face_sight, float* scratch,
                                        unsigned short* stem_input, int channels, int pictured, int image_size) {
    align_project<RENDER_SIZE>(place, alpha, rendered, projection, face_sight, scratch, stem_input, channels, pictured,
                               image_size);
}

extern "C" __global__ void see_fp16(const float* surface, float* scratch, unsigned short* guides) {
    align_see<RENDER_SIZE>(surface, scratch, guides);
}

extern "C" __global__ void show_fp16(float* scratch, unsigned short* guides) {
    align_show<RENDER_SIZE>(scratch, guides);
}

extern "C" __global__ void sample_maps_fp16(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    sample_maps<RENDER_SIZE, unsigned short>(parts, blocks, sights);
}

extern "C" __global__ void pictures_fp16(const float* picture, const float* small, const float* sights, float* own,
                                         float* shown, unsigned short* detail_input, unsigned short* enlarger_input,
                                         unsigned short* stem_channels, int size) {
    sample_pictures<RENDER_SIZE, unsigned short>(picture, small, sights,
                                      {own, shown, detail_input, enlarger_input, stem_channels}, size);
}

extern "C" __global__ void sights(const float* scratch, const float* face_sight, float* to, int image_size) {
    align_sights<RENDER_SIZE>(scratch, face_sight, to, image_size);
}

extern "C" __global__ void sample_maps_last(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    hidenerf::sample_maps_last<RENDER_SIZE>(parts, blocks, sights);
}
