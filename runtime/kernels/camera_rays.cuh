// Rays of a camera through the world box [-1, 1]³: the same formulas as hidenerf.model.geometry, in FP32.
#ifndef HIDENERF_CAMERA_RAYS_CUH
#define HIDENERF_CAMERA_RAYS_CUH

#include "numbers.cuh"

namespace hidenerf {

constexpr float kNearest = 1e-3f;

// The part of one ray inside the box, cut into equal intervals of `length`; 0 if the ray misses the box.
struct Ray {
    float origin[3];
    float direction[3];
    float near;
    float length;

    // Midpoint of interval `sample`, along `axis`.
    HIDENERF_INLINE float point(int axis, int sample) const {
        return origin[axis] + direction[axis] * (near + length * (float(sample) + 0.5f));
    }
};

// The ray through the centre of pixel (column, row) of a size × size picture. camera: 25 floats, cam2world 4×4 with
// OpenCV axes, then intrinsics 3×3 normalised by the picture's size. A camera with a non-finite entry sees nothing.
HIDENERF_INLINE Ray ray_through(const float* camera, int column, int row, int size, int samples) {
    const float* intrinsics = camera + 16;
    const float y = ((float(row) + 0.5f) / float(size) - intrinsics[5]) / intrinsics[4];
    const float x = ((float(column) + 0.5f) / float(size) - intrinsics[2] - intrinsics[1] * y) / intrinsics[0];
    Ray ray;
    float squares = 0.0f;
    for (int axis = 0; axis < 3; ++axis) {
        ray.origin[axis] = camera[4 * axis + 3];
        ray.direction[axis] = camera[4 * axis] * x + camera[4 * axis + 1] * y + camera[4 * axis + 2];
        squares += ray.direction[axis] * ray.direction[axis];
    }
    const float norm = sqrtf(squares);
    float near = kNearest, far = kLargest;
    for (int axis = 0; axis < 3; ++axis) {
        ray.direction[axis] /= norm;
        const float along = ray.direction[axis];
        const float inverse = 1.0f / (fabsf(along) < 1e-6f ? 1e-6f : along);
        const float low = (-1.0f - ray.origin[axis]) * inverse, high = (1.0f - ray.origin[axis]) * inverse;
        near = fmaxf(near, fminf(low, high));
        far = fminf(far, fmaxf(low, high));
    }
    float sum = norm;
    for (int axis = 0; axis < 3; ++axis) sum += ray.origin[axis] + ray.direction[axis];
    ray.near = near;
    ray.length = is_finite(sum) && far > near ? (far - near) / float(samples) : 0.0f;
    return ray;
}

}  // namespace hidenerf

#endif
