// GridSample3d, Secc and the conversion to bytes as plain functions.
#include "emulation.hpp"
#include "grid_sample_3d.cuh"
#include "pictures.cuh"
#include "secc.cuh"

using namespace hidenerf;

static int blocks(int threads) { return (threads + 63) / 64; }

extern "C" {

void grid_sample_fp32(const float* volume, const float* grid, float* sampled, const int* shape, int points, int border,
                      int align_corners) {
    const VolumeShape s = {shape[0], shape[1], shape[2], shape[3], shape[4]};
    emulation::launch({2, 1, 1}, 64, [&] { grid_sample_3d(volume, grid, sampled, s, points, border, align_corners); });
}

void grid_sample_fp16(const unsigned short* volume, const float* grid, unsigned short* sampled, const int* shape,
                      int points, int border, int align_corners) {
    const VolumeShape s = {shape[0], shape[1], shape[2], shape[3], shape[4]};
    emulation::launch({2, 1, 1}, 64, [&] { grid_sample_3d(volume, grid, sampled, s, points, border, align_corners); });
}

void secc_vertices(const float* neutral, const float* basis, const float* coefficients, float* vertices, int numbers,
                   int expressions) {
    emulation::launch({blocks(numbers), 1, 1}, 64,
                      [&] { face_vertices(neutral, basis, coefficients, vertices, numbers, expressions); });
}

void secc_screen(const float* vertices, const float* camera, float* screen, int count) {
    emulation::launch({blocks(count), 1, 1}, 64, [&] { screen_vertices(vertices, camera, screen, count); });
}

void secc_draw(const float* vertices, const int* triangles, const float* colours, unsigned long long* keys,
               float* picture, int count, int channels, int weight, int size) {
    emulation::launch({blocks(count), 1, 1}, 64, [&] { rasterise(vertices, triangles, keys, count, size); });
    emulation::launch({blocks(size * size), 1, 1}, 64,
                      [&] { shade(vertices, triangles, colours, keys, picture, channels, weight, size); });
}

void to_bytes_fp32(const float* picture, unsigned char* bytes, int pixels) {
    emulation::launch({blocks(pixels), 1, 1}, 64, [&] { to_bytes(picture, bytes, pixels); });
}
}
