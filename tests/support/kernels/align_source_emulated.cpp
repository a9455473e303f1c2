// The kernels of align_source.cu as plain functions: blocks and threads first, then a kernel's own arguments.
#include "emulation.hpp"
#include "align_source.cuh"

using namespace hidenerf;

extern "C" {

int scratch_pictures() { return kPictures; }

int reach(int box) { return reach_of<RENDER_SIZE>(box); }

void project(int blocks, int threads, const float* place, const float* alpha, const float* projection,
             const float* face_sight, float* scratch, int image_size) {
    emulation::launch({blocks, 1, 1}, threads,
                      [&] { align_project<RENDER_SIZE>(place, alpha, projection, face_sight, scratch, image_size); });
}

void see(int blocks, int threads, const float* surface, float* scratch, float* guides) {
    emulation::launch({blocks, 1, 1}, threads, [&] { align_see<RENDER_SIZE>(surface, scratch, guides); });
}

void show(int blocks, int threads, float* scratch, float* guides) {
    emulation::launch({blocks, 1, 1}, threads, [&] { align_show<RENDER_SIZE>(scratch, guides); });
}

void sights(int blocks, int threads, const float* scratch, const float* face_sight, float* to, int image_size) {
    emulation::launch({blocks, 1, 1}, threads, [&] { align_sights<RENDER_SIZE>(scratch, face_sight, to, image_size); });
}

void sample_maps_fp32(int blocks, int threads, const MapPart* parts, const MapBlock* table, const float* sights) {
    emulation::launch({blocks, 1, 1}, threads, [&] { sample_maps<RENDER_SIZE, float>(parts, table, sights); });
}

void sample_maps_fp16(int blocks, int threads, const MapPart* parts, const MapBlock* table, const float* sights) {
    emulation::launch({blocks, 1, 1}, threads, [&] { sample_maps<RENDER_SIZE, unsigned short>(parts, table, sights); });
}

void pictures(int blocks, int threads, const float* picture, const float* small, const float* sights, float* own,
              float* own_shown, float* own_small, int size) {
    emulation::launch({blocks, 1, 1}, threads,
                      [&] { sample_pictures<RENDER_SIZE>(picture, small, sights, own, own_shown, own_small, size); });
}
}
