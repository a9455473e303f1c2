// Cells and weights of linear interpolation on a line of points 0, 1, …, points - 1.
#ifndef HIDENERF_BILINEAR_CUH
#define HIDENERF_BILINEAR_CUH

#include "numbers.cuh"

namespace hidenerf {

// Clamped to the line's ends; NaN counts as 0. Where the ends hold zeros, so does everything beyond them, which is
// zero padding without a test for each tap.
HIDENERF_INLINE float clamp_to_line(float position, int points) {
    return fminf(fmaxf(position, 0.0f), float(points - 1));
}

// position in [0, points - 1] → the cell's lower end in [0, points - 2] and the fraction in [0, 1].
HIDENERF_INLINE int cell_of(float position, int points, float& fraction) {
#ifdef __CUDA_ARCH__
    // Adding 2^23 leaves the floor in the mantissa, without a slow conversion.
    const int floor = int(__float_as_uint(__fadd_rd(position, 8388608.0f)) - 0x4b000000u);
    const int cell = floor < points - 2 ? floor : points - 2;
    fraction = position - (__uint_as_float(0x4b000000u + (unsigned int)cell) - 8388608.0f);
#else
    const int floor = int(position);
    const int cell = floor < points - 2 ? floor : points - 2;
    fraction = position - float(cell);
#endif
    return cell;
}

// Weights of a cell's corners: (left, top), (right, top), (left, bottom), (right, bottom).
HIDENERF_INLINE void bilinear_weights(float right, float bottom, float weights[4]) {
    weights[3] = right * bottom;
    weights[2] = bottom - weights[3];
    weights[1] = right - weights[3];
    weights[0] = (1.0f - right) - weights[2];
}

}  // namespace hidenerf

#endif
