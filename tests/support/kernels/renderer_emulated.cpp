// The TriplaneRender kernels and their packing as plain functions, for one model's sizes named with -D.
#include "emulation.hpp"
#include "model_sizes.cuh"
#include "pack_planes.cuh"
#include "triplane_render.cuh"
#include "triplane_render_direct.cuh"

using namespace hidenerf;
using S = ModelSizes;
using M = MergedPlanes<S>;

static Index3 tiles() {
    return {(S::render_size + kTileWidth - 1) / kTileWidth, (S::render_size + kTileHeight - 1) / kTileHeight, 1};
}

extern "C" {

void merge(const float* const* planes, const float* weight, unsigned short* merged, int* flags) {
    Levels<S::levels, float> levels;
    for (int l = 0; l < S::levels; ++l) levels.planes[l] = planes[l];
    emulation::launch({(M::points + kMergePoints - 1) / kMergePoints, M::points, 3}, kMergeThreads,
                      [&] { merge_planes<S>(levels, weight, merged, flags); });
}

void merge_fp16(const unsigned short* const* planes, const float* weight, unsigned short* merged, int* flags) {
    Levels<S::levels, unsigned short> levels;
    for (int l = 0; l < S::levels; ++l) levels.planes[l] = planes[l];
    emulation::launch({(M::points + kMergePoints - 1) / kMergePoints, M::points, 3}, kMergeThreads,
                      [&] { merge_planes<S>(levels, weight, merged, flags); });
}

void border(const float* planes, unsigned short* bordered, int channels, int size, int* flags) {
    emulation::launch({2, 1, 1}, 32, [&] { channels_last(planes, bordered, channels, size, flags); });
}

void render_fp32(const float* deformation, const float* camera, const char* planes, const unsigned int* mlp,
                 float* rendered, float* alpha, int* flags PLACE_PARAMETER) {
    emulation::launch(tiles(), 32 * kWarps, [&] {
        triplane_render<S>(deformation, camera, planes, (const uint4*)mlp, rendered, alpha, flags PLACE_ARGUMENT);
    });
}

void render_fp16(const float* deformation, const float* camera, const char* planes, const unsigned int* mlp,
                 unsigned short* rendered, float* alpha, int* flags PLACE_PARAMETER) {
    emulation::launch(tiles(), 32 * kWarps, [&] {
        triplane_render<S>(deformation, camera, planes, (const uint4*)mlp, rendered, alpha, flags PLACE_ARGUMENT);
    });
}

#if CHANNELS % 16 == 0
void render_direct(const float* deformation, const float* camera, const char* const* planes, const unsigned int* mlp,
                   float* rendered, float* alpha, int* flags PLACE_PARAMETER) {
    BorderedLevels<S::levels> levels;
    for (int l = 0; l < S::levels; ++l) levels.planes[l] = planes[l];
    emulation::launch(tiles(), 32 * kWarps, [&] {
        triplane_render_direct<S>(deformation, camera, levels, (const uint4*)mlp, rendered, alpha, flags PLACE_ARGUMENT);
    });
}
#endif

unsigned short to_half(float value) { return half_bits(value); }
float from_half(unsigned short bits) { return low_half(bits); }
float exact_sigmoid(float x) { return sigmoid(x); }
float exact_softplus(float x) { return softplus(x); }
void sine_cosine(float x, float* out) { sine_cosine_of_pi(x, out[0], out[1]); }
void ray(const float* camera, int column, int row, int size, int samples, float* out) {
    const Ray r = ray_through(camera, column, row, size, samples);
    std::memcpy(out, &r, sizeof r);
}
void cell(float position, int points, int* index, float* fraction) {
    *index = cell_of(clamp_to_line(position, points), points, *fraction);
}
}
