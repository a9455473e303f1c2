// The refiner's last step: from the head's changes and the rendered picture to the frame's bytes and its alpha.
#ifndef HIDENERF_FRAME_PIXELS_CUH
#define HIDENERF_FRAME_PIXELS_CUH

#include "numbers.cuh"

namespace hidenerf {

// Along one axis, the three neighbouring pixels that a pixel of an enlarged picture is a mean of. Those outside of the
// picture have weight 0.
struct Neighbours {
    int first;
    float weight[3];
};

// Of pixel `at` in a picture that is doubled bilinearly `doublings` times, from `size` pixels on (half-pixel centres,
// edges continued). A pixel lies nearest to the one that contains it, with 3/4, then to this one's neighbour.
HIDENERF_INLINE Neighbours neighbours_of(int at, int doublings, int size) {
    Neighbours found = {at - 1, {0.0f, 1.0f, 0.0f}};
    for (int doubling = 1; doubling <= doublings; ++doubling) {
        const int last = (size << (doublings - doubling)) - 1;
        Neighbours next = {(at >> doubling) - 1, {0.0f, 0.0f, 0.0f}};
        for (int j = 0; j < 3; ++j) {
            const int pixel = found.first + j, near = pixel >> 1;
            int other = near + (pixel & 1 ? 1 : -1);
            other = other < 0 ? 0 : other > last ? last : other;
            for (int i = 0; i < 3; ++i) {
                if (next.first + i == near) next.weight[i] += 0.75f * found.weight[j];
                if (next.first + i == other) next.weight[i] += 0.25f * found.weight[j];
            }
        }
        found = next;
    }
    return found;
}

// What a frame is made of; FP32 but for the maps of the head, which are FP16 with channels last, `stride` a pixel.
//
// rendered [3, R, R], alpha [R, R]: of the rendered picture, doubled `doublings` times to the frame's side.
// head [side, side, 5]: changes of colours and alpha, and how much of the source's own pixels to keep, a logit.
// head_doublings: how often it is doubled to the frame's side, 0 or 1.
// change: with an enlarger [side, side, 20], changes of the doubled head: channel 4c + 2 row + column; else nullptr.
// own [3, S, S], shown [S, S]: the source's own pixels and how surely they are seen; else nullptr.
// frame: bytes [S, S, 3]. frame_alpha [S, S].
struct FrameParts {
    const float *rendered, *alpha;
    int rendered_side, doublings;
    const unsigned short* head;
    int head_stride, head_doublings;
    const unsigned short* change;
    int change_stride;
    const float *own, *shown;
    unsigned char* frame;
    float* frame_alpha;
    int side;
};

HIDENERF_INLINE float between_0_and_1(float value) { return fminf(fmaxf(value, 0.0f), 1.0f); }

// The head's channels at a pixel of the frame.
__device__ __forceinline__ void head_at(const FrameParts& parts, int row, int column, float values[5]) {
    const int side = parts.side >> parts.head_doublings;
    const Neighbours down = neighbours_of(row, parts.head_doublings, side),
                     across = neighbours_of(column, parts.head_doublings, side);
    for (int c = 0; c < 5; ++c) values[c] = 0.0f;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
#pragma unroll
        for (int j = 0; j < 3; ++j) {
            const float weight = down.weight[i] * across.weight[j];
            if (weight == 0.0f) continue;
            const int pixel = (down.first + i) * side + across.first + j;
            const uint4 packed = __ldg((const uint4*)(parts.head + pixel * parts.head_stride));
            values[0] += weight * low_half(packed.x);
            values[1] += weight * high_half(packed.x);
            values[2] += weight * low_half(packed.y);
            values[3] += weight * high_half(packed.y);
            values[4] += weight * low_half(packed.z);
        }
    }
}

// A frame's pixel from the head's channels at it.
__device__ __forceinline__ void frame_pixel(const FrameParts& parts, int row, int column, float values[5]) {
    const int size = parts.rendered_side, pixel = row * parts.side + column, pixels = parts.side * parts.side;
    const Neighbours down = neighbours_of(row, parts.doublings, size), across = neighbours_of(column, parts.doublings, size);
#pragma unroll
    for (int i = 0; i < 3; ++i) {
#pragma unroll
        for (int j = 0; j < 3; ++j) {
            const float weight = down.weight[i] * across.weight[j];
            if (weight == 0.0f) continue;
            const int at = (down.first + i) * size + across.first + j;
            for (int c = 0; c < 3; ++c) values[c] += weight * __ldg(parts.rendered + c * size * size + at);
            values[3] += weight * __ldg(parts.alpha + at);
        }
    }
    if (parts.change != nullptr) {
        const unsigned short* change = parts.change + (row / 2 * (parts.side / 2) + column / 2) * parts.change_stride;
        for (int c = 0; c < 5; ++c) values[c] += as_float(__ldg(change + 4 * c + row % 2 * 2 + column % 2));
    }
    const float kept = parts.own == nullptr ? 0.0f : __ldg(parts.shown + pixel) * sigmoid(values[4]);
    for (int c = 0; c < 3; ++c) {
        float colour = values[c];
        if (parts.own != nullptr) colour += kept * (__ldg(parts.own + c * pixels + pixel) - colour);
        parts.frame[3 * pixel + c] = (unsigned char)rintf(255.0f * between_0_and_1(colour));
    }
    parts.frame_alpha[pixel] = between_0_and_1(values[3]);
}

// A thread per pixel of the frame.
__device__ __forceinline__ void frame_pixels(const FrameParts& parts) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= parts.side * parts.side) return;
    const int row = pixel / parts.side, column = pixel % parts.side;
    float values[5];
    head_at(parts, row, column, values);
    frame_pixel(parts, row, column, values);
}

}  // namespace hidenerf

#endif
