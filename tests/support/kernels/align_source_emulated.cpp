// The kernels of align_source.cu as plain functions: blocks and threads first, then a kernel's own arguments.
#include "emulation.hpp"
#include "align_source.cuh"

using namespace hidenerf;

#define HIDENERF_ALIGN(kind, Number)                                                                                   \
    void project_##kind(int blocks, int threads, const float* place, const float* alpha, const float* rendered,       \
                        const float* projection, const float* face_sight, float* scratch, Number* stem_input,         \
                        int channels, int pictured, int image_size) {                                                  \
        emulation::launch({blocks, 1, 1}, threads, [&] {                                                               \
            align_project<RENDER_SIZE>(place, alpha, rendered, projection, face_sight, scratch, stem_input, channels,  \
                                       pictured, image_size);                                                          \
        });                                                                                                            \
    }                                                                                                                  \
    void see_##kind(int blocks, int threads, const float* surface, float* scratch, Number* guides) {                  \
        emulation::launch({blocks, 1, 1}, threads, [&] { align_see<RENDER_SIZE>(surface, scratch, guides); });         \
    }                                                                                                                  \
    void show_##kind(int blocks, int threads, float* scratch, Number* guides) {                                       \
        emulation::launch({blocks, 1, 1}, threads, [&] { align_show<RENDER_SIZE>(scratch, guides); });                 \
    }                                                                                                                  \
    void sample_maps_##kind(int blocks, int threads, const MapPart* parts, const MapBlock* table,                     \
                            const float* sights) {                                                                     \
        emulation::launch({blocks, 1, 1}, threads, [&] { sample_maps<RENDER_SIZE, Number>(parts, table, sights); });   \
    }                                                                                                                  \
    void pictures_##kind(int blocks, int threads, const float* picture, const float* small, const float* sights,      \
                         float* own, float* shown, Number* detail_input, Number* enlarger_input,                      \
                         Number* stem_channels, int size) {                                                            \
        emulation::launch({blocks, 1, 1}, threads, [&] {                                                               \
            sample_pictures<RENDER_SIZE, Number>(picture, small, sights,                                               \
                                                 {own, shown, detail_input, enlarger_input, stem_channels}, size);     \
        });                                                                                                            \
    }

extern "C" {

HIDENERF_ALIGN(fp32, float)
HIDENERF_ALIGN(fp16, unsigned short)

void sample_maps_last(int blocks, int threads, const MapPart* parts, const MapBlock* table, const float* sights) {
    emulation::launch({blocks, 1, 1}, threads, [&] { hidenerf::sample_maps_last<RENDER_SIZE>(parts, table, sights); });
}

int scratch_pictures() { return kPictures; }

int reach(int box) { return reach_of<RENDER_SIZE>(box); }

int channels_of_stem(int rendered, int pictured) { return stem_channels(rendered, pictured); }

void sights(int blocks, int threads, const float* scratch, const float* face_sight, float* to, int image_size) {
    emulation::launch({blocks, 1, 1}, threads, [&] { align_sights<RENDER_SIZE>(scratch, face_sight, to, image_size); });
}
}
