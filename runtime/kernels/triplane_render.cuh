// hidenerf::TriplaneRender in one launch: deformation, camera, planes and MLP weights → rendered picture and alpha.
// Computes what hidenerf.model.rendering.triplane_render defines.
//
// The planes come merged (pack_planes.cuh): everything between the planes and the first layer's ReLU is linear, so a
// source's planes of all levels, their mean and the first layer's weights make one set of three planes of hidden
// values, sampled at twice the finest level's resolution, on which the sum of all levels is bilinear in every cell.
// A sample then reads 12 taps in place of 12 per level, and the first layer is left with the positional encoding.
#ifndef HIDENERF_TRIPLANE_RENDER_CUH
#define HIDENERF_TRIPLANE_RENDER_CUH

#include "merged_planes.cuh"
#include "ray_march.cuh"

namespace hidenerf {

// Adds one plane's bilinear sample to the hidden values of one row (0 or 1). Loads are 16 bytes; in odd groups the
// halves of 128 bytes are read in the other order, so that eight lanes together touch every bank once; swap_halves
// below puts them right.
template <class S>
__device__ __forceinline__ void add_plane(float hidden[S::hidden_tiles][4], int row, const char* planes, int plane,
                                          float column_position, float row_position, int quad, int odd) {
    using M = MergedPlanes<S>;
    float right, bottom, weights[4];
    const int x = cell_of(column_position, M::points, right), y = cell_of(row_position, M::points, bottom);
    bilinear_weights(right, bottom, weights);
    const unsigned int corner = (unsigned int)((plane * M::points + y) * M::points + x) * M::bytes + 16u * quad;
#pragma unroll
    for (int block = 0; block < S::width / 32; ++block) {
        const unsigned int first = corner + (S::width % 64 == 0 ? 64u * (block ^ odd) : 64u * block);
#pragma unroll
        for (int tap = 0; tap < 4; ++tap) {
            const unsigned int offset = (tap & 1) * M::bytes + (tap >> 1) * M::points * M::bytes;
            const uint4 data = __ldg((const uint4*)(planes + first + offset));
            const unsigned int pairs[4] = {data.x, data.y, data.z, data.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                float* h = hidden[4 * block + j] + 2 * row;
                h[0] += weights[tap] * low_half(pairs[j]);
                h[1] += weights[tap] * high_half(pairs[j]);
            }
        }
    }
}

template <class S>
__device__ __forceinline__ void swap_halves(float hidden[S::hidden_tiles][4], int odd) {
    if (S::width % 64 != 0) return;
#pragma unroll
    for (int tile = 0; tile < S::hidden_tiles; ++tile) {
        if (tile & 4) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float a = hidden[tile][i], b = hidden[tile + 4][i];
            hidden[tile][i] = odd ? b : a;
            hidden[tile + 4][i] = odd ? a : b;
        }
    }
}

// deformation [3N, R, R], camera [25], planes: MergedPlanes, mlp: packed operands (packing.py) → rendered [K, R, R],
// alpha [R, R] and, if S::place, place [3, R, R]: the canonical points p + Δ, composited as colours are. A component of Δ
// that is not finite puts the sample outside the planes of that axis, counts as 0 in `place`, and sets
// kNonFiniteDeformation in *flags. One block per tile of kTileWidth × kTileHeight pixels, 32·kWarps threads.
template <class S, class Out>
__device__ __forceinline__ void triplane_render(const float* deformation, const float* camera, const char* planes,
                                                const uint4* mlp, Out* rendered, float* alpha, int* flags,
                                                float* place = nullptr) {
    using M = MergedPlanes<S>;
    constexpr int words = S::encoding_words + S::second_words + S::bias_words;
    __shared__ uint4 operands[words];
    copy_words(operands, mlp, words);
    __syncthreads();
    const uint4* second = operands + S::encoding_words;
    const float* bias = (const float*)(second + S::second_words);

    const Lane lane;
    const int warp = threadIdx.x >> 5;
    const int column = blockIdx.x * kTileWidth + (warp & 1) * kRays + lane.ray;
    const int row = blockIdx.y * kTileHeight + (warp >> 1);
    const RayAxis ray(ray_through(camera, column, row, S::render_size, S::samples), lane.axis);
    const bool hits = ray.length > 0.0f && column < S::render_size && row < S::render_size;
    const int odd = lane.group & 1;

    Compositor<S> picture;
    bool finite = true;
    float next[2];
    for (int i = 0; i < 2; ++i)
        next[i] = load_deformation<S>(deformation, lane.axis, lane.sample + 2 * i, column, row);
    for (int step = 0; step < S::samples; step += kStep) {
        if (__all_sync(kEveryLane, !hits || picture.depth > kOpaqueDepth)) break;
        const int sample = step + lane.sample;
        float observed[2], canonical[2], position[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            observed[i] = ray.point(sample + 2 * i);
            finite = finite && is_finite(next[i]);
            position[i] = M::position(observed[i] + next[i]);
            canonical[i] = canonical_coordinate(observed[i] + next[i], observed[i]);
            next[i] = load_deformation<S>(deformation, lane.axis, sample + 2 * i + kStep, column, row);
        }
        float hidden[S::hidden_tiles][4] = {};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int quads = (threadIdx.x & 31) & ~3;
            const float x = __shfl_sync(kEveryLane, position[i], quads);
            const float y = __shfl_sync(kEveryLane, position[i], quads + 1);
            const float z = __shfl_sync(kEveryLane, position[i], quads + 2);
            add_plane<S>(hidden, i, planes, 0, x, y, lane.quad, odd);
            add_plane<S>(hidden, i, planes, 1, x, z, lane.quad, odd);
            add_plane<S>(hidden, i, planes, 2, y, z, lane.quad, odd);
        }
        swap_halves<S>(hidden, odd);
        unsigned int encoding[S::encoding_products][4];
        encode<S>(encoding, lane.quad, observed);
        add_encoding<S>(hidden, encoding, operands);
        picture.add(hidden, second, bias, lane, sample, ray.length, canonical);
    }
    picture.store(rendered, alpha, place, lane, column, row);
    if (!finite) atomicOr(flags, kNonFiniteDeformation);
}

}  // namespace hidenerf

#endif
