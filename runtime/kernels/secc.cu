#include "secc.cuh"

using namespace hidenerf;

extern "C" __global__ void secc_vertices(const float* neutral, const float* basis, const float* coefficients,
                                         float* vertices, int numbers, int expressions) {
    face_vertices(neutral, basis, coefficients, vertices, numbers, expressions);
}

extern "C" __global__ void secc_screen(const float* vertices, const float* camera, float* screen, int count) {
    screen_vertices(vertices, camera, screen, count);
}

extern "C" __global__ void secc_rasterise(const float* vertices, const int* triangles, unsigned long long* keys,
                                          int count, int size) {
    rasterise(vertices, triangles, keys, count, size);
}

extern "C" __global__ void secc_shade(const float* vertices, const int* triangles, const float* colours,
                                      unsigned long long* keys, float* picture, int channels, int weight,
                                      int size) {
    shade(vertices, triangles, colours, keys, picture, channels, weight, size);
}
