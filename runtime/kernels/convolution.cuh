// Convolution of maps in FP16, channels last, as a matrix product on tensor cores with FP32 sums (implicit GEMM).
//
// A block computes a rectangle of output pixels, `Outputs` channels of it. Per chunk of input channels it copies the
// rectangle with its border to shared memory once, and the weights of all taps; a tap then is an offset of addresses.
// Copies of the next chunks are under way while one is multiplied.
//
// What follows a convolution is done where its sums are: bias, sums with other maps, leaky ReLU, and SPADE's
// x·gamma + beta with its leaky ReLU as a second result. SPADE is applied by the layer that makes x, and not by the
// layer that reads it: then each value is computed once and not once per block and border that reads it, and inputs are
// plain copies, which need no registers.
#ifndef HIDENERF_CONVOLUTION_CUH
#define HIDENERF_CONVOLUTION_CUH

#include "eight_channels.cuh"
#include "shared_tiles.cuh"

namespace hidenerf {

// A map that a layer reads: FP16, `stride` numbers a pixel, of which it reads 8 · vectors channels. enlarged: 1 if the
// layer sees every pixel as 2 × 2 pixels, otherwise 0.
struct InputMap {
    const unsigned short* at;
    int stride, vectors, enlarged;
};

// A map that a layer writes, or adds; at: nullptr for none.
struct OutputMap {
    unsigned short* at;
    int stride, enlarged;
};

// One layer.
//
// first, second: inputs; their channels are summed with weights of their own. With a second kernel of 1 the second is
//     read at the output's pixels.
// in_height, in_width: of the first input as the layer sees it.
// weights: `export.lowering.weights.pack_convolution`: pairs of 8 output channels, steps of 16 input channels (input,
//     16 channels, tap), lanes, 4 words of `multiply_add`'s operand B.
// bias: FP32 [16 · pairs].
// sums: added before the activation.
// leak: slope of the activation below 0; 1 for none.
// output: the result.
// modulated: second result, result·gamma + beta, then its activation.
// gamma, beta: maps of `map_stride` numbers a pixel; constants of the channels if it is 0.
// height, width, vectors: of the result, in pixels and in 8 channels.
struct Convolution {
    InputMap first, second;
    int in_height, in_width;
    const char* weights;
    const float* bias;
    int pairs, steps;
    OutputMap sums[2];
    float leak;
    OutputMap output, modulated;
    const unsigned short *gamma, *beta;
    int map_stride;
    float modulated_leak;
    int height, width, vectors;
};

// Input pixels along a side that `pixels` output pixels read.
HIDENERF_INLINE constexpr int side_of(int pixels, int kernel, int stride) { return (pixels - 1) * stride + kernel; }

// Bytes of a pixel in shared memory: 16 more than its channels, so that rows of an operand lie in different banks.
HIDENERF_INLINE constexpr int pixel_bytes(int channels) { return 2 * channels + 16; }

HIDENERF_INLINE constexpr int most(int a, int b) { return a > b ? a : b; }

// Sizes that a kernel is compiled for.
//
// Kernel, Stride: of the first input's convolution; padding is Kernel / 2.
// SecondKernel: 0 without a second input, 1, or Kernel for channels that are concatenated.
// Height, Width: output pixels of a block. Outputs: output channels of a block.
// Channels, SecondChannels: input channels of a chunk.
// Stages: chunks in shared memory.
// WarpsM, WarpsN, WarpsK: warps that share pixels, output channels, and steps of the sum.
template <int Kernel, int Stride, int SecondKernel, int Height, int Width, int Outputs, int Channels,
          int SecondChannels, int Stages, int WarpsM, int WarpsN, int WarpsK>
struct ConvolutionTile {
    static constexpr int kernel = Kernel, stride = Stride, second_kernel = SecondKernel, height = Height, width = Width;
    static constexpr int outputs = Outputs, channels = Channels, second_channels = SecondChannels, stages = Stages;
    static constexpr int warps_m = WarpsM, warps_n = WarpsN, warps_k = WarpsK;
    static constexpr int threads = 32 * WarpsM * WarpsN * WarpsK, pixels = Height * Width;
    // Blocks of 16 pixels, and pairs of 8 output channels, of a warp.
    static constexpr int rows = pixels / (16 * WarpsM), pairs = Outputs / (16 * WarpsN);
    static_assert(rows * 16 * WarpsM == pixels && pairs * 16 * WarpsN == Outputs, "warps share the tile evenly");
    static_assert(Width % 8 == 0 && Channels % 16 == 0 && SecondChannels % 16 == 0, "whole operands");
    static_assert(SecondKernel == 0 || SecondKernel == 1 || SecondKernel == Kernel, "a known second input");

    static constexpr bool pointwise_second = SecondKernel == 1 && Kernel > 1;
    static constexpr int steps = most(Channels / 16 * Kernel * Kernel, pointwise_second ? SecondChannels / 16 : 0);
    static constexpr int input_size =
        most(side_of(Height, Kernel, Stride) * side_of(Width, Kernel, Stride) * pixel_bytes(Channels),
             pointwise_second ? pixels * pixel_bytes(SecondChannels) : 0);
    static constexpr int weight_size = Outputs / 16 * steps * 512;
    static constexpr int stage_size = input_size + weight_size;
    // FP32 sums of a pixel: 8 more than its outputs, for the banks.
    static constexpr int sum_stride = Outputs + 8;
    static constexpr int shared_bytes = most(Stages * stage_size, 4 * WarpsK * pixels * sum_stride);
};

// A chunk of input channels of a block.
//
// second: of the second input. first: its first channel, in 8 channels. step, steps: of the weights.
struct Chunk {
    bool second;
    int first, step, steps;
};

template <class T>
__device__ __forceinline__ Chunk chunk_of(const Convolution& layer, int index) {
    constexpr int taps = T::kernel * T::kernel;
    const int first_blocks = (layer.first.vectors + 1) / 2, of_first = (first_blocks * 16 + T::channels - 1) / T::channels;
    if (T::second_kernel == 0 || index < of_first) {
        const int block = index * (T::channels / 16), left = first_blocks - block;
        return {false, 2 * block, block * taps, (left < T::channels / 16 ? left : T::channels / 16) * taps};
    }
    constexpr int channels = T::pointwise_second ? T::second_channels : T::channels;
    constexpr int second_taps = T::pointwise_second ? 1 : taps;
    const int block = (index - of_first) * (channels / 16), left = (layer.second.vectors + 1) / 2 - block;
    return {true, 2 * block, first_blocks * taps + block * second_taps,
            (left < channels / 16 ? left : channels / 16) * second_taps};
}

template <class T>
__device__ __forceinline__ int chunks_of(const Convolution& layer) {
    constexpr int channels = T::pointwise_second ? T::second_channels : T::channels;
    const int first = (layer.first.vectors * 8 + T::channels - 1) / T::channels;
    return T::second_kernel == 0 ? first : first + (layer.second.vectors * 8 + channels - 1) / channels;
}

// A thread's share of copying the pixels that a tile reads: the same pixels and channels of every chunk.
//
// places: rows (upper half) and columns of its pixels in the map; negative for those outside of it.
template <class T, int Kernel, int Stride, int Channels>
struct InputCopy {
    static constexpr int across = side_of(T::width, Kernel, Stride), pixels = across * side_of(T::height, Kernel, Stride);
    static constexpr int vectors = Channels / 8, at_once = T::threads / vectors;
    static constexpr int count = (pixels + at_once - 1) / at_once;
    static_assert(T::threads % vectors == 0, "a thread copies the same channels of all of its pixels");
    int places[count];

    // row, column: of the tile's first pixel, which may lie outside of the map. height, width: of the map as the layer
    // sees it.
    __device__ __forceinline__ void prepare(int row, int column, int height, int width) {
#pragma unroll
        for (int i = 0; i < count; ++i) {
            const int pixel = threadIdx.x / vectors + i * at_once, y = row + pixel / across, x = column + pixel % across;
            const bool there = (unsigned int)y < (unsigned int)height && (unsigned int)x < (unsigned int)width;
            places[i] = there ? y << 16 | x : -1;
        }
    }

    // first: of the chunk's channels, in eight channels.
    __device__ __forceinline__ void copy(char* to, const InputMap& input, int first, int width) const {
        const int vector = threadIdx.x % vectors, pixel = threadIdx.x / vectors;
        const bool channels_there = first + vector < input.vectors;
        const unsigned short* from = input.at + 8 * (first + vector);
#pragma unroll
        for (int i = 0; i < count; ++i) {
            if ((i + 1) * at_once > pixels && pixel + i * at_once >= pixels) continue;
            const bool there = channels_there && places[i] >= 0;
            const int y = places[i] >> 16 >> input.enlarged, x = (places[i] & 0xffff) >> input.enlarged;
            const int at = (y * (width >> input.enlarged) + x) * input.stride;
            copy_16(to + (pixel + i * at_once) * pixel_bytes(Channels) + 16 * vector,
                    (const char*)(there ? from + at : input.at), there);
        }
    }
};

// Copies a chunk's weights.
template <class T>
__device__ __forceinline__ void copy_weights(char* to, const Convolution& layer, const Chunk& chunk, int pair) {
    const char* from = layer.weights + 512 * (pair * layer.steps + chunk.step) + 16 * threadIdx.x;
    to += 16 * threadIdx.x;
#pragma unroll
    for (int i = 0; i < T::outputs / 16; ++i) {
        if (pair + i < layer.pairs) {
#pragma unroll
            for (int part = 0; part < 32 * T::steps; part += T::threads) {
                if (part + threadIdx.x < 32 * chunk.steps) copy_16(to + 16 * part, from + 16 * part, true);
            }
        }
        to += 512 * T::steps;
        from += 512 * layer.steps;
    }
}

// Adds one step of 16 channels and a tap: pixels of a warp times its weights.
template <class T>
__device__ __forceinline__ void multiply_step(float (&sums)[T::rows][2 * T::pairs][4], const char* input,
                                              const int (&rows)[T::rows], const char* weights) {
    unsigned int a[T::rows][4];
    uint4 b[T::pairs];
#pragma unroll
    for (int i = 0; i < T::rows; ++i) load_rows(a[i], input + rows[i]);
#pragma unroll
    for (int j = 0; j < T::pairs; ++j) b[j] = *(const uint4*)(weights + 512 * T::steps * j);
#pragma unroll
    for (int i = 0; i < T::rows; ++i) {
#pragma unroll
        for (int j = 0; j < T::pairs; ++j) {
            multiply_add(sums[i][2 * j], a[i], b[j].x, b[j].y);
            multiply_add(sums[i][2 * j + 1], a[i], b[j].z, b[j].w);
        }
    }
}

// Adds a chunk. warp_k: which steps are this warp's.
template <class T, int Kernel, int Stride, int Channels>
__device__ __forceinline__ void multiply_chunk(float (&sums)[T::rows][2 * T::pairs][4], const char* input,
                                               const char* weights, int steps, int warp_m, int warp_k, int lane) {
    constexpr int across = side_of(T::width, Kernel, Stride), bytes = pixel_bytes(Channels);
    constexpr int taps = Kernel * Kernel;
    int rows[T::rows];
#pragma unroll
    for (int i = 0; i < T::rows; ++i) {
        const int pixel = 16 * (warp_m * T::rows + i) + lane % 16;
        rows[i] = (pixel / T::width * across + pixel % T::width) * Stride * bytes + 16 * (lane / 16);
    }
    if (T::warps_k == 1) {
        for (int block = 0; block * taps < steps; ++block) {
#pragma unroll
            for (int tap = 0; tap < taps; ++tap)
                multiply_step<T>(sums, input + 32 * block + (tap / Kernel * across + tap % Kernel) * bytes, rows,
                                 weights + 512 * (block * taps + tap));
        }
    } else {
        for (int step = warp_k; step < steps; step += T::warps_k) {
            const int block = step / taps, tap = step % taps;
            multiply_step<T>(sums, input + 32 * block + (tap / Kernel * across + tap % Kernel) * bytes, rows,
                             weights + 512 * step);
        }
    }
}

__device__ __forceinline__ void leaky(Eight& of, float leak) {
#pragma unroll
    for (int c = 0; c < 8; ++c) of.values[c] = of.values[c] < 0.0f ? of.values[c] * leak : of.values[c];
}

// The address of eight channels, for reading and writing 16 bytes. width: of the map as the layer sees it.
template <class Map>
__device__ __forceinline__ uint4* eight_at(const Map& map, int y, int x, int vector, int width) {
    const int pixel = (y >> map.enlarged) * (width >> map.enlarged) + (x >> map.enlarged);
    return (uint4*)(map.at + pixel * map.stride + 8 * vector);
}

// x·gamma + beta and its activation, of one pixel's eight channels.
__device__ __forceinline__ uint4 modulated(const Eight& x, const uint4& gamma, const uint4& beta, float leak) {
    const Eight scale = unpacked(gamma), offset = unpacked(beta);
    Eight result;
#pragma unroll
    for (int c = 0; c < 8; ++c) result.values[c] = x.values[c] * scale.values[c] + offset.values[c];
    leaky(result, leak);
    return packed(result);
}

// What follows the sums, of one pixel's eight channels.
__device__ __forceinline__ void finish(const Convolution& layer, Eight& x, int y, int column, int vector) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        if (layer.sums[i].at == nullptr) continue;
        const Eight other = unpacked(*eight_at(layer.sums[i], y, column, vector, layer.width));
#pragma unroll
        for (int c = 0; c < 8; ++c) x.values[c] += other.values[c];
    }
    leaky(x, layer.leak);
    if (layer.output.at != nullptr) *eight_at(layer.output, y, column, vector, layer.width) = packed(x);
    if (layer.modulated.at == nullptr) return;
    const int stride = layer.map_stride, first = 8 * vector;
    if (!layer.modulated.enlarged) {
        const int at = (y * layer.width + column) * stride + first;
        const uint4 gamma = __ldg((const uint4*)(layer.gamma + at)), beta = __ldg((const uint4*)(layer.beta + at));
        *(uint4*)(layer.modulated.at + (y * layer.width + column) * layer.modulated.stride + first) =
            modulated(x, gamma, beta, layer.modulated_leak);
        return;
    }
    // Each pixel is four of the second result. All loads come before their first use.
    uint4 gamma[4], beta[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int at = ((2 * y + i / 2) * 2 * layer.width + 2 * column + i % 2) * stride + first;
        gamma[i] = __ldg((const uint4*)(layer.gamma + at));
        beta[i] = __ldg((const uint4*)(layer.beta + at));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int pixel = (2 * y + i / 2) * 2 * layer.width + 2 * column + i % 2;
        *(uint4*)(layer.modulated.at + pixel * layer.modulated.stride + first) =
            modulated(x, gamma[i], beta[i], layer.modulated_leak);
    }
}

// The result of a layer of `channels` channels as planes, scale·tanh(x): one pixel's eight channels. Lanes of a warp lie
// along the tile's rows, so that eight of them write 32 bytes of a plane.
__device__ __forceinline__ void tanh_planes(const Convolution& layer, const Eight& x, int y, int column, int vector,
                                            float* planes, int channels, float scale) {
    float* to = planes + (8 * vector * layer.height + y) * layer.width + column;
#pragma unroll
    for (int c = 0; c < 8; ++c)
        if (8 * vector + c < channels) to[c * layer.height * layer.width] = scale * tanh_fast(x.values[c]);
}

// A block per rectangle of output pixels (x) and `outputs` channels (y). last: called with the sums of each pixel's
// eight channels, and bias.
template <class T, class Last>
__device__ __forceinline__ void convolve(const Convolution& layer, const Last& last) {
    HIDENERF_SHARED(shared, T::shared_bytes);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_m = warp % T::warps_m, warp_n = warp / T::warps_m % T::warps_n, warp_k = warp / (T::warps_m * T::warps_n);
    const int across = (layer.width + T::width - 1) / T::width;
    const int row = blockIdx.x / across * T::height, column = blockIdx.x % across * T::width;
    const int pair = blockIdx.y * (T::outputs / 16), chunks = chunks_of<T>(layer);

    InputCopy<T, T::kernel, T::stride, T::channels> wide;
    wide.prepare(row * T::stride - T::kernel / 2, column * T::stride - T::kernel / 2, layer.in_height, layer.in_width);
    InputCopy<T, 1, 1, T::pointwise_second ? T::second_channels : 16> pointwise;
    if (T::pointwise_second) pointwise.prepare(row, column, layer.height, layer.width);

    const auto stage = [&](int index) { return shared + index % T::stages * T::stage_size; };
    const auto copy_inputs = [&](int index) {
        const Chunk chunk = chunk_of<T>(layer, index);
        if (T::pointwise_second && chunk.second) {
            pointwise.copy(stage(index), layer.second, chunk.first, layer.width);
        } else {
            // A copy, because the address of a parameter would bring all of them to local memory.
            const InputMap input = T::second_kernel > 1 && chunk.second ? layer.second : layer.first;
            wide.copy(stage(index), input, chunk.first, layer.in_width);
        }
    };
    const auto copy_operands = [&](int index) {
        copy_weights<T>(stage(index) + T::input_size, layer, chunk_of<T>(layer, index), pair);
    };

    float sums[T::rows][2 * T::pairs][4] = {};
    // All weights before the inputs: in the other order a measured tile spills.
    for (int index = 0; index < T::stages - 1; ++index)
        if (index < chunks) copy_operands(index);
    for (int index = 0; index < T::stages - 1; ++index) {
        if (index < chunks) copy_inputs(index);
        end_copies();
    }
    for (int index = 0; index < chunks; ++index) {
        wait_for_copies<T::stages - 2>();
        __syncthreads();
        const int next = index + T::stages - 1;
        if (next < chunks) {
            copy_inputs(next);
            copy_operands(next);
        }
        end_copies();
        const char* input = stage(index);
        const char* weights = input + T::input_size + 512 * T::steps * T::pairs * warp_n + 16 * lane;
        const Chunk chunk = chunk_of<T>(layer, index);
        if (T::pointwise_second && chunk.second)
            multiply_chunk<T, 1, 1, T::second_channels>(sums, input, weights, chunk.steps, warp_m, warp_k, lane);
        else
            multiply_chunk<T, T::kernel, T::stride, T::channels>(sums, input, weights, chunk.steps, warp_m, warp_k, lane);
    }

    // Through shared memory, from the order of the product to pixels with their channels side by side.
    __syncthreads();
    float* all = (float*)shared;
#pragma unroll
    for (int i = 0; i < T::rows; ++i) {
#pragma unroll
        for (int j = 0; j < 2 * T::pairs; ++j) {
            const int pixel = 16 * (warp_m * T::rows + i) + lane / 4, channel = 8 * (2 * T::pairs * warp_n + j) + lane % 4 * 2;
            float* to = all + (warp_k * T::pixels + pixel) * T::sum_stride + channel;
            *(float2*)to = make_float2(sums[i][j][0], sums[i][j][1]);
            *(float2*)(to + 8 * T::sum_stride) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
    }
    __syncthreads();
    constexpr int vectors = T::outputs / 8;
    for (int i = threadIdx.x; i < T::pixels * vectors; i += T::threads) {
        const int pixel = i / vectors, y = row + pixel / T::width, x = column + pixel % T::width;
        const int vector = blockIdx.y * vectors + i % vectors;
        if (y >= layer.height || x >= layer.width || vector >= layer.vectors) continue;
        Eight values;
#pragma unroll
        for (int c = 0; c < 8; ++c) values.values[c] = __ldg(layer.bias + 8 * vector + c);
#pragma unroll
        for (int k = 0; k < T::warps_k; ++k) {
            const float* from = all + (k * T::pixels + pixel) * T::sum_stride + i % vectors * 8;
#pragma unroll
            for (int c = 0; c < 8; ++c) values.values[c] += from[c];
        }
        last(values, y, x, vector);
    }
}

}  // namespace hidenerf

#endif
