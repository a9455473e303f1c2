// hidenerf::TriplaneRender from the planes of each level as they are: the first version, kept to compare with.
#ifndef HIDENERF_TRIPLANE_RENDER_DIRECT_CUH
#define HIDENERF_TRIPLANE_RENDER_DIRECT_CUH

#include "ray_march.cuh"

namespace hidenerf {

template <int levels>
struct BorderedLevels {
    const char* planes[levels];
};

// One level's features of one row: the quad's channels of the sum over planes; bordered [3, size + 2, size + 2, C].
template <class S>
__device__ __forceinline__ void sample_level(float sum[S::channels / 4], const char* bordered, int size, const float p[3],
                                             int quad) {
    const int side = size + 2;
    float position[3];
#pragma unroll
    for (int axis = 0; axis < 3; ++axis)
        position[axis] = clamp_to_line(((p[axis] + 1.0f) * float(size) + 1.0f) * 0.5f, side);
#pragma unroll
    for (int plane = 0; plane < 3; ++plane) {
        float right, bottom, weights[4];
        const int x = cell_of(position[plane == 2 ? 1 : 0], side, right);
        const int y = cell_of(position[plane == 0 ? 1 : 2], side, bottom);
        bilinear_weights(right, bottom, weights);
        const unsigned int corner =
            ((unsigned int)((plane * side + y) * side + x) * S::channels + quad * (S::channels / 4)) * 2u;
#pragma unroll
        for (int tap = 0; tap < 4; ++tap) {
            const char* at = bordered + corner + ((tap & 1) + (tap >> 1) * side) * S::channels * 2u;
            unsigned int pairs[S::channels / 8];
            if (S::channels % 32 == 0) {
#pragma unroll
                for (int word = 0; word < S::channels / 32; ++word) {
                    const uint4 data = __ldg((const uint4*)at + word);
                    pairs[4 * word] = data.x;
                    pairs[4 * word + 1] = data.y;
                    pairs[4 * word + 2] = data.z;
                    pairs[4 * word + 3] = data.w;
                }
            } else {
#pragma unroll
                for (int word = 0; word < S::channels / 16; ++word) {
                    const uint2 data = __ldg((const uint2*)at + word);
                    pairs[2 * word] = data.x;
                    pairs[2 * word + 1] = data.y;
                }
            }
#pragma unroll
            for (int pair = 0; pair < S::channels / 8; ++pair) {
                sum[2 * pair] += weights[tap] * low_half(pairs[pair]);
                sum[2 * pair + 1] += weights[tap] * high_half(pairs[pair]);
            }
        }
    }
}

// As triplane_render, but `planes` are bordered levels (pack_planes.cuh: channels_last), and mlp begins with the first
// layer's operand for the levels' features. C must be a multiple of 16.
template <class S, class Out>
__device__ __forceinline__ void triplane_render_direct(const float* deformation, const float* camera,
                                                       const BorderedLevels<S::levels>& planes, const uint4* mlp,
                                                       Out* rendered, float* alpha, int* flags,
                                                       float* place = nullptr) {
    constexpr int products = S::channels / 16;
    constexpr int feature_words = S::levels * products * S::hidden_tiles / 2 * 32;
    constexpr int words = feature_words + S::encoding_words + S::second_words + S::bias_words;
    __shared__ uint4 operands[words];
    copy_words(operands, mlp, words);
    __syncthreads();
    const uint4* encoding_operand = operands + feature_words;
    const uint4* second = encoding_operand + S::encoding_words;
    const float* bias = (const float*)(second + S::second_words);

    const Lane lane;
    const int warp = threadIdx.x >> 5;
    const int column = blockIdx.x * kTileWidth + (warp & 1) * kRays + lane.ray;
    const int row = blockIdx.y * kTileHeight + (warp >> 1);
    const Ray ray = ray_through(camera, column, row, S::render_size, S::samples);
    const bool hits = ray.length > 0.0f && column < S::render_size && row < S::render_size;

    Compositor<S> picture;
    bool finite = true;
    for (int step = 0; step < S::samples; step += kStep) {
        if (__all_sync(kEveryLane, !hits || picture.depth > kOpaqueDepth)) break;
        float observed[2], canonical[2], moved[2][3];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int sample = step + lane.sample + 2 * i;
#pragma unroll
            for (int axis = 0; axis < 3; ++axis) {
                const float delta = load_deformation<S>(deformation, axis, sample, column, row);
                finite = finite && is_finite(delta);
                moved[i][axis] = ray.point(axis, sample) + delta;
            }
            observed[i] = RayAxis(ray, lane.axis).point(sample);
            canonical[i] = canonical_coordinate(select(lane.axis, moved[i][0], moved[i][1], moved[i][2]), observed[i]);
        }
        float hidden[S::hidden_tiles][4] = {};
#pragma unroll
        for (int level = 0; level < S::levels; ++level) {
            const int size = S::finest >> (S::levels - 1 - level);
            float features[2][S::channels / 4] = {};
#pragma unroll
            for (int i = 0; i < 2; ++i)
                sample_level<S>(features[i], planes.planes[level], size, moved[i], lane.quad);
#pragma unroll
            for (int product = 0; product < products; ++product) {
                unsigned int a[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float* f = features[i & 1] + 4 * product + 2 * (i >> 1);
                    a[i] = pack_halves(f[0], f[1]);
                }
#pragma unroll
                for (int tile = 0; tile < S::hidden_tiles; tile += 2) {
                    const int word = ((level * products + product) * S::hidden_tiles / 2 + tile / 2) * 32;
                    const uint4 b = operands[word + (threadIdx.x & 31)];
                    multiply_add(hidden[tile], a, b.x, b.y);
                    multiply_add(hidden[tile + 1], a, b.z, b.w);
                }
            }
        }
        unsigned int encoding[S::encoding_products][4];
        encode<S>(encoding, lane.quad, observed);
        add_encoding<S>(hidden, encoding, encoding_operand);
        picture.add(hidden, second, bias, lane, step + lane.sample, ray.length, canonical);
    }
    picture.store(rendered, alpha, place, lane, column, row);
    if (!finite) atomicOr(flags, kNonFiniteDeformation);
}

}  // namespace hidenerf

#endif
