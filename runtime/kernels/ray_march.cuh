// What both TriplaneRender kernels share: how a warp is laid over rays and samples, the positional encoding and the
// second layer of the MLP as tensor core operands, and compositing.
//
// A warp marches over four neighbouring rays (4 × 1 pixels), four samples of each at a time: the sixteen rows of a
// matrix product. Row 4·s + r is sample s of ray r, so with quad = lane % 4 and group = lane / 4 (mma.cuh) all that a
// lane holds belongs to ray group % 4, and its rows `group` and `group + 8` are samples group / 4 and group / 4 + 2.
// Lanes with quad 0, 1, 2 compute axis x, y, z of their two samples; quad 3 carries the bias.
#ifndef HIDENERF_RAY_MARCH_CUH
#define HIDENERF_RAY_MARCH_CUH

#include "bilinear.cuh"
#include "camera_rays.cuh"
#include "mma.cuh"

namespace hidenerf {

constexpr int kRays = 4;
constexpr int kStep = 4;
constexpr int kWarps = 8;
// A block's warps cover kTileWidth × kTileHeight pixels.
constexpr int kTileWidth = 2 * kRays;
constexpr int kTileHeight = kWarps / 2;
constexpr unsigned int kEveryLane = 0xffffffffu;

constexpr float kDensityScale = 10.0f;
// A ray ends where less than this part of the light is left: colours and alpha lose at most as much.
constexpr float kOpaque = 1e-3f;
constexpr float kOpaqueDepth = 6.907755278982137f;  // -ln(kOpaque)
// Four samples of four rays whose weights are all below this keep their colours uncomputed.
constexpr float kInvisible = 1e-6f;

// Bits of the word `flags` that kernels set.
constexpr int kNonFiniteDeformation = 1;
constexpr int kPlanesOutOfRange = 2;

// Sizes of one model. rendered: K channels; width: hidden units, padded to a multiple of 32; place: whether the canonical
// points are composited, too.
template <int R, int N, int K, int L, int C, int r, int W, int O, int P = 0>
struct Sizes {
    static constexpr int render_size = R, samples = N, rendered = K, levels = L, channels = C, finest = r;
    static constexpr int width = (W + 31) / 32 * 32;
    static constexpr int octaves = O;
    static constexpr bool place = P != 0;
    // Columns of the second layer: K, zeros, density in the last one.
    static constexpr int outputs = (K + 1 + 15) / 16 * 16;
    // Each lane holds four entries of the encoding per product, and 2·octaves of one axis in all.
    static constexpr int encoding_products = (O + 1) / 2;
    static constexpr int hidden_tiles = width / 8;
    static constexpr int output_tiles = outputs / 8;
    // 16-byte words of the packed operands.
    static constexpr int encoding_words = encoding_products * hidden_tiles / 2 * 32;
    static constexpr int second_words = hidden_tiles / 2 * output_tiles / 2 * 32;
    static constexpr int bias_words = outputs / 4;
};

struct Lane {
    int quad, group, ray, sample, axis;

    __device__ __forceinline__ Lane() {
        const int lane = threadIdx.x & 31;
        quad = lane & 3;
        group = lane >> 2;
        ray = group & 3;
        sample = group >> 2;
        axis = quad < 3 ? quad : 2;
    }
};

__device__ __forceinline__ int select(int axis, int x, int y, int z) { return axis == 0 ? x : axis == 1 ? y : z; }
__device__ __forceinline__ float select(int axis, float x, float y, float z) {
    return axis == 0 ? x : axis == 1 ? y : z;
}

// One axis of one ray: what a lane needs of its ray.
struct RayAxis {
    float origin, direction, near, length;

    __device__ __forceinline__ RayAxis(const Ray& ray, int axis)
        : origin(select(axis, ray.origin[0], ray.origin[1], ray.origin[2])),
          direction(select(axis, ray.direction[0], ray.direction[1], ray.direction[2])),
          near(ray.near),
          length(ray.length) {}

    __device__ __forceinline__ float point(int sample) const {
        return origin + direction * (near + length * (float(sample) + 0.5f));
    }
};

// Rows of A for products 0 … encoding_products - 1: entry e of a lane's axis is sin (e even) or cos of 2^(e/2)·π·p, in
// the order of mma.cuh; the operand's rows are packed to match (packing.py). Quad 3's angle is 0, so that its cosines
// are 1: two of them carry the bias.
template <class S>
__device__ __forceinline__ void encode(unsigned int a[S::encoding_products][4], int quad, const float point[2]) {
    for (int row = 0; row < 2; ++row) {
        float sine, cosine;
        sine_cosine_of_pi(point[row], sine, cosine);
        if (quad == 3) {
            sine = 0.0f;
            cosine = 1.0f;
        }
#pragma unroll
        for (int octave = 0; octave < 2 * S::encoding_products; ++octave) {
            a[octave / 2][(octave & 1) * 2 + row] = octave < S::octaves || quad == 3 ? pack_halves(sine, cosine) : 0u;
            const float doubled = 2.0f * sine * cosine;
            cosine = 1.0f - 2.0f * sine * sine;
            sine = doubled;
        }
    }
}

// hidden += A · (first layer's rows of the encoding).
template <class S>
__device__ __forceinline__ void add_encoding(
    float hidden[S::hidden_tiles][4], const unsigned int a[S::encoding_products][4], const uint4* weights) {
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int product = 0; product < S::encoding_products; ++product) {
#pragma unroll
        for (int tile = 0; tile < S::hidden_tiles; tile += 2) {
            const uint4 b = weights[(product * S::hidden_tiles / 2 + tile / 2) * 32 + lane];
            multiply_add(hidden[tile], a[product], b.x, b.y);
            multiply_add(hidden[tile + 1], a[product], b.z, b.w);
        }
    }
}

// Two column tiles of ReLU(hidden) · (second layer): out += …
template <class S>
__device__ __forceinline__ void second_layer(
    float out[2][4], const unsigned int a[S::hidden_tiles / 2][4], const uint4* weights, int tile) {
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int product = 0; product < S::hidden_tiles / 2; ++product) {
        const uint4 b = weights[(product * S::output_tiles / 2 + tile / 2) * 32 + lane];
        multiply_add(out[0], a[product], b.x, b.y);
        multiply_add(out[1], a[product], b.z, b.w);
    }
}

// One coordinate of a sample's canonical point as `place` takes it. moved: p + Δ; where this is not finite, Δ counts as 0.
// observed: p, within the box; it may be NaN where the ray misses the box, and fmaxf gives -1 then.
__device__ __forceinline__ float canonical_coordinate(float moved, float observed) {
    return is_finite(moved) ? moved : fminf(fmaxf(observed, -1.0f), 1.0f);
}

// The state of a lane's ray: optical depth so far, and the lane's columns of the picture, summed over its own samples.
// place: the same sum of the canonical points' coordinates along the lane's axis, if S::place.
template <class S>
struct Compositor {
    float depth = 0.0f;
    float colour[S::output_tiles][2] = {};
    float place = 0.0f;

    // Hidden values before ReLU of this step's samples → composited. sample: of the lane's first row. canonical: of the
    // lane's two samples along its axis, read if S::place.
    __device__ __forceinline__ void add(const float hidden[S::hidden_tiles][4], const uint4* second, const float* bias,
                                        const Lane& lane, int sample, float length, const float canonical[2]) {
        unsigned int a[S::hidden_tiles / 2][4];
#pragma unroll
        for (int product = 0; product < S::hidden_tiles / 2; ++product) {
            const float* low = hidden[2 * product];
            const float* high = hidden[2 * product + 1];
            a[product][0] = pack_halves_relu(low[0], low[1]);
            a[product][1] = pack_halves_relu(low[2], low[3]);
            a[product][2] = pack_halves_relu(high[0], high[1]);
            a[product][3] = pack_halves_relu(high[2], high[3]);
        }
        float weight[2] = {0.0f, 0.0f};
        // The last tiles first: they hold the density, which says whether the others are wanted.
#pragma unroll
        for (int tile = S::output_tiles - 2; tile >= 0; tile -= 2) {
            float out[2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float* b = bias + (tile + i) * 8 + 2 * lane.quad;
                out[i][0] = out[i][2] = b[0];
                out[i][1] = out[i][3] = b[1];
            }
            second_layer<S>(out, a, second, tile);
            if (tile == S::output_tiles - 2) {
                weigh(out[1][1], out[1][3], sample, length, weight);
                // Before the return below: as in alpha, weights of every size count.
                if (S::place) place += weight[0] * canonical[0] + weight[1] * canonical[1];
                if (!__any_sync(kEveryLane, fmaxf(weight[0], weight[1]) >= kInvisible)) return;
            }
#pragma unroll
            for (int i = 0; i < 2; ++i)
                for (int column = 0; column < 2; ++column)
                    colour[tile + i][column] += weight[0] * sigmoid(out[i][column]) + weight[1] * sigmoid(out[i][2 + column]);
        }
    }

    // Raw densities in quad 3's lanes → the weights of a lane's two samples; `depth` moves on by four samples.
    __device__ __forceinline__ void weigh(float raw0, float raw1, int sample, float length, float weight[2]) {
        const int lane = threadIdx.x & 31;
        raw0 = __shfl_sync(kEveryLane, raw0, lane | 3);
        raw1 = __shfl_sync(kEveryLane, raw1, lane | 3);
        const float scale = kDensityScale * length;
        const float own0 = sample < S::samples ? scale * softplus(raw0) : 0.0f;
        const float own1 = sample + 2 < S::samples ? scale * softplus(raw1) : 0.0f;
        // The lane 16 away holds the ray's other two samples of this step: 1 and 3, or 0 and 2.
        const float other0 = __shfl_xor_sync(kEveryLane, own0, 16);
        const float other1 = __shfl_xor_sync(kEveryLane, own1, 16);
        const float middle = depth + (own0 + other0);
        const float before0 = lane < 16 ? depth : depth + other0;
        const float before1 = lane < 16 ? middle : middle + other1;
        depth = middle + (own1 + other1);
        weight[0] = exp2_fast(-kLog2E * before0) * (1.0f - exp2_fast(-kLog2E * own0));
        weight[1] = exp2_fast(-kLog2E * before1) * (1.0f - exp2_fast(-kLog2E * own1));
    }

    // To rendered [K, R, R], alpha [R, R] and, if S::place, points [3, R, R]; the ray's samples are spread over lanes 16
    // apart.
    template <class Out>
    __device__ __forceinline__ void store(Out* rendered, float* alpha, float* points, const Lane& lane, int column,
                                          int row) {
        const bool inside = column < S::render_size && row < S::render_size;
        const int pixel = row * S::render_size + column;
#pragma unroll
        for (int tile = 0; tile < S::output_tiles; ++tile) {
            for (int i = 0; i < 2; ++i) {
                const float sum = colour[tile][i] + __shfl_xor_sync(kEveryLane, colour[tile][i], 16);
                const int channel = 8 * tile + 2 * lane.quad + i;
                if (inside && channel < S::rendered && lane.sample == (tile & 1))
                    store_number(rendered + channel * S::render_size * S::render_size + pixel, sum);
            }
        }
        if (inside && lane.quad == 0 && lane.sample == 0) alpha[pixel] = 1.0f - exp2_fast(-kLog2E * depth);
        if (S::place) {
            const float sum = place + __shfl_xor_sync(kEveryLane, place, 16);
            if (inside && lane.quad < 3 && lane.sample == 0)
                points[lane.quad * S::render_size * S::render_size + pixel] = sum;
        }
    }

    __device__ static __forceinline__ void store_number(float* to, float value) { *to = value; }
    __device__ static __forceinline__ void store_number(unsigned short* to, float value) { *to = half_bits(value); }
};

// The lane's component of Δ of one sample, 0 past the last sample or off the picture; deformation [3N, R, R].
template <class S>
__device__ __forceinline__ float load_deformation(const float* deformation, int axis, int sample, int column, int row) {
    if (sample >= S::samples || column >= S::render_size || row >= S::render_size) return 0.0f;
    return __ldg(deformation + ((3 * sample + axis) * S::render_size + row) * S::render_size + column);
}

__device__ __forceinline__ void copy_words(uint4* to, const uint4* from, int count) {
    for (int i = threadIdx.x; i < count; i += kWarps * 32) to[i] = __ldg(from + i);
}

}  // namespace hidenerf

#endif
