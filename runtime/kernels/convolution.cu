#include "convolution.cuh"
#include "frame_pixels.cuh"

using namespace hidenerf;

using Tile = ConvolutionTile<KERNEL, STRIDE, SECOND_KERNEL, TILE_HEIGHT, TILE_WIDTH, TILE_OUTPUTS, TILE_CHANNELS,
                             SECOND_CHANNELS, STAGES, WARPS_M, WARPS_N, WARPS_K>;
static_assert(Tile::shared_bytes == SHARED_BYTES, "as runtime/kernels/convolution_tiles.py counts them");

// The fields of `Convolution` in their order, so that they lie in the launch's own memory. 512 threads of a multiprocessor
// leave each 128 registers.
#define LAYER_PARAMETERS                                                                                               \
    const unsigned short *first, int first_stride, int first_vectors, int first_enlarged,                             \
        const unsigned short *second, int second_stride, int second_vectors, int second_enlarged, int in_height,      \
        int in_width, const char *weights, const float *bias, int pairs, int steps, unsigned short *sum,              \
        int sum_stride, int sum_enlarged, unsigned short *other_sum, int other_sum_stride, int other_sum_enlarged,    \
        float leak, unsigned short *output, int output_stride, unsigned short *modulated, int modulated_stride,       \
        int modulated_enlarged, const unsigned short *gamma, const unsigned short *beta, int map_stride,              \
        float modulated_leak, int height, int width, int vectors
#define LAYER                                                                                                          \
    {                                                                                                                  \
        {first, first_stride, first_vectors, first_enlarged}, {second, second_stride, second_vectors, second_enlarged}, \
            in_height, in_width, weights, bias, pairs, steps,                                                          \
            {{sum, sum_stride, sum_enlarged}, {other_sum, other_sum_stride, other_sum_enlarged}}, leak,                \
            {output, output_stride, 0}, {modulated, modulated_stride, modulated_enlarged}, gamma, beta, map_stride,    \
            modulated_leak, height, width, vectors                                                                     \
    }

extern "C" __global__ void __launch_bounds__(Tile::threads, 512 / Tile::threads) convolution(LAYER_PARAMETERS) {
    const Convolution layer = LAYER;
    convolve<Tile>(layer, [&](Eight& values, int row, int column, int vector) {
        finish(layer, values, row, column, vector);
    });
}

// The refiner's head, whose result becomes the frame's pixels; then the fields of `FrameParts` but for the head's.
extern "C" __global__ void __launch_bounds__(Tile::threads, 512 / Tile::threads)
    convolution_to_frame(LAYER_PARAMETERS, const float* rendered, const float* alpha, int rendered_side, int doublings,
                         const float* own, const float* shown, unsigned char* frame, float* frame_alpha) {
    const Convolution layer = LAYER;
    const FrameParts parts = {rendered, alpha, rendered_side, doublings, nullptr, 0,    0,
                              nullptr,  0,     own,           shown,     frame,   frame_alpha, width};
    convolve<Tile>(layer, [&](Eight& values, int row, int column, int) { frame_pixel(parts, row, column, values.values); });
}

// LED's head, whose result becomes planes.
extern "C" __global__ void __launch_bounds__(Tile::threads, 512 / Tile::threads)
    convolution_to_planes(LAYER_PARAMETERS, float* planes, int channels, float scale) {
    const Convolution layer = LAYER;
    convolve<Tile>(layer, [&](Eight& values, int row, int column, int vector) {
        tanh_planes(layer, values, row, column, vector, planes, channels, scale);
    });
}
