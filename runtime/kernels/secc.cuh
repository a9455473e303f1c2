// SECC on the GPU: the face's vertices from an expression, a z-buffer, and NCC colours of what is nearest (Eq. 3 as
// read in DESIGN §8). The same picture as hidenerf.runtime.secc, which draws it with OpenCV: pixel centres at i + 0.5,
// a pixel on an edge belongs to the triangle, both sides are drawn, colours are linear in the triangle. The same for the
// face sight (hidenerf.runtime.face_sight), of vertices that a camera projects.
#ifndef HIDENERF_SECC_CUH
#define HIDENERF_SECC_CUH

#include "numbers.cuh"

namespace hidenerf {

// A triangle on the screen of the world box [-1, 1]²: x right, y down, in pixels.
struct ScreenTriangle {
    int corner[3];
    float x[3], y[3], z[3];
    float inverse_area;  // 0 for a degenerate triangle
};

HIDENERF_INLINE ScreenTriangle screen_triangle(const float* vertices, const int* corners, int size) {
    ScreenTriangle t;
    for (int i = 0; i < 3; ++i) {
        t.corner[i] = corners[i];
        const float* v = vertices + 3 * corners[i];
        t.x[i] = (1.0f + v[0]) * 0.5f * float(size);
        t.y[i] = (1.0f - v[1]) * 0.5f * float(size);
        t.z[i] = v[2];
    }
    const float area = (t.x[0] - t.x[2]) * (t.y[1] - t.y[2]) - (t.y[0] - t.y[2]) * (t.x[1] - t.x[2]);
    // NaN fails the comparison.
    t.inverse_area = fabsf(area) >= 1e-6f ? 1.0f / area : 0.0f;
    return t;
}

// Barycentric coordinates of a pixel's centre; false where it is outside.
HIDENERF_INLINE bool weights_at(const ScreenTriangle& t, int column, int row, float weight[3]) {
    const float x = float(column) + 0.5f - t.x[2], y = float(row) + 0.5f - t.y[2];
    weight[0] = (x * (t.y[1] - t.y[2]) - y * (t.x[1] - t.x[2])) * t.inverse_area;
    weight[1] = (y * (t.x[0] - t.x[2]) - x * (t.y[0] - t.y[2])) * t.inverse_area;
    weight[2] = 1.0f - weight[0] - weight[1];
    return weight[0] >= 0.0f && weight[1] >= 0.0f && weight[2] >= 0.0f;
}

// Larger for a larger z, and for equal z for the smaller triangle; never 0, which is background.
HIDENERF_INLINE unsigned long long depth_key(float z, int triangle) {
    const unsigned int bits = float_bits(z);
    const unsigned int ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ((unsigned long long)ordered << 32) | (0xffffffffu - (unsigned int)triangle);
}

// neutral [V, 3], expression basis [E, V, 3], coefficients [E] → vertices [V, 3]. A thread per number.
__device__ __forceinline__ void face_vertices(const float* neutral, const float* basis, const float* coefficients,
                                              float* vertices, int numbers, int expressions) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= numbers) return;
    float sum = neutral[i];
    for (int e = 0; e < expressions; ++e) sum += coefficients[e] * basis[e * numbers + i];
    vertices[i] = sum;
}

// vertices [V, 3], camera [25] → screen [V, 3], see `screen_vertices` of hidenerf.runtime.face_sight. A thread per vertex.
__device__ __forceinline__ void screen_vertices(const float* vertices, const float* camera, float* screen, int count) {
    const int vertex = blockIdx.x * blockDim.x + threadIdx.x;
    if (vertex >= count) return;
    const float* point = vertices + 3 * vertex;
    const float* intrinsics = camera + 16;
    float in_camera[3] = {}, forward = 0.0f, image[3];
    for (int axis = 0; axis < 3; ++axis) {
        for (int k = 0; k < 3; ++k) in_camera[k] += camera[4 * axis + k] * (point[axis] - camera[4 * axis + 3]);
        forward += camera[4 * axis + 2] * point[axis];
    }
    for (int k = 0; k < 3; ++k)
        image[k] = intrinsics[3 * k] * in_camera[0] + intrinsics[3 * k + 1] * in_camera[1] +
                   intrinsics[3 * k + 2] * in_camera[2];
    screen[3 * vertex] = 2.0f * image[0] / image[2] - 1.0f;
    screen[3 * vertex + 1] = 1.0f - 2.0f * image[1] / image[2];
    screen[3 * vertex + 2] = -forward;
}

// vertices [V, 3], triangles [F, 3] → keys [size, size], which must hold zeros. A thread per triangle.
__device__ __forceinline__ void rasterise(const float* vertices, const int* triangles, unsigned long long* keys,
                                          int count, int size) {
    const int triangle = blockIdx.x * blockDim.x + threadIdx.x;
    if (triangle >= count) return;
    const ScreenTriangle t = screen_triangle(vertices, triangles + 3 * triangle, size);
    if (t.inverse_area == 0.0f) return;
    const float limit = float(size - 1);
    const int left = int(fmaxf(fminf(fminf(t.x[0], t.x[1]), t.x[2]) - 0.5f, 0.0f));
    const int top = int(fmaxf(fminf(fminf(t.y[0], t.y[1]), t.y[2]) - 0.5f, 0.0f));
    const int right = int(fminf(fmaxf(fmaxf(t.x[0], t.x[1]), t.x[2]), limit));
    const int bottom = int(fminf(fmaxf(fmaxf(t.y[0], t.y[1]), t.y[2]), limit));
    for (int row = top; row <= bottom; ++row)
        for (int column = left; column <= right; ++column) {
            float w[3];
            if (weights_at(t, column, row, w))
                atomicMax(keys + row * size + column,
                          depth_key(w[0] * t.z[0] + w[1] * t.z[1] + w[2] * t.z[2], triangle));
        }
}

// keys [size, size] → picture [channels, size, size]: colours [V, channels], background 0; keys are zeros again. The
// first three channels are in [0, 1], others in [-1, 1]. weight: the channel that all others are multiplied by; -1 for
// none. A thread per pixel.
__device__ __forceinline__ void shade(const float* vertices, const int* triangles, const float* colours,
                                      unsigned long long* keys, float* picture, int channels, int weight, int size) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= size * size) return;
    const unsigned long long key = keys[pixel];
    keys[pixel] = 0;
    float w[3] = {0.0f, 0.0f, 0.0f};
    int corner[3] = {0, 0, 0};
    if (key != 0) {
        const int triangle = int(0xffffffffu - (unsigned int)key);
        const ScreenTriangle t = screen_triangle(vertices, triangles + 3 * triangle, size);
        weights_at(t, pixel % size, pixel / size, w);
        for (int i = 0; i < 3; ++i) corner[i] = t.corner[i];
    }
    auto colour = [&](int c) {
        float sum = 0.0f;
        for (int i = 0; i < 3; ++i) sum += w[i] * colours[channels * corner[i] + c];
        return fminf(fmaxf(sum, c < 3 ? 0.0f : -1.0f), 1.0f);
    };
    const float factor = weight < 0 ? 1.0f : colour(weight);
    for (int c = 0; c < channels; ++c)
        picture[c * size * size + pixel] = c == weight ? factor : factor * colour(c);
}

}  // namespace hidenerf

#endif
