// The layout of a source's merged planes: FP16 [3, points, points, width], hidden values before ReLU, without bias.
//
// Along each axis the points stand at half the finest level's spacing. A level of half, a quarter, … the resolution
// has its cell boundaries at half-integers of the finest level's indices, so every level is linear between points.
// The first and the last point are where the coarsest level's zero padding ends, so they hold zeros.
#ifndef HIDENERF_MERGED_PLANES_CUH
#define HIDENERF_MERGED_PLANES_CUH

#include "bilinear.cuh"

namespace hidenerf {

template <class S>
struct MergedPlanes {
    static constexpr int ratio = 1 << (S::levels - 1);
    static constexpr int points = 2 * (S::finest + ratio) + 1;
    static constexpr unsigned int bytes = 2u * S::width;

    // World coordinate → position among the points; coordinates outside, and NaN, end on an end.
    static HIDENERF_INLINE float position(float coordinate) {
        return clamp_to_line(coordinate * float(S::finest) + float(S::finest + ratio), points);
    }

    // Where a point stands among the texels of a level of this size; outside (-1, size) the level is zero.
    static HIDENERF_INLINE float texel(int point, int size) {
        const float coordinate = (float(point) - float(S::finest + ratio)) / float(S::finest);
        return ((coordinate + 1.0f) * float(size) - 1.0f) * 0.5f;
    }

    // The hidden unit stored at a place of a point: 16 bytes hold what one lane of mma.cuh's layout adds to.
    static HIDENERF_INLINE int unit(int place) {
        const int block = place / 32, quad = place / 8 % 4, tile = place / 2 % 4, column = place % 2;
        return (4 * block + tile) * 8 + 2 * quad + column;
    }
};

}  // namespace hidenerf

#endif
