#include "convolution.cuh"

using namespace hidenerf;

using Tile = ConvolutionTile<KERNEL, STRIDE, SECOND_KERNEL, TILE_HEIGHT, TILE_WIDTH, TILE_OUTPUTS, TILE_CHANNELS,
                             SECOND_CHANNELS, STAGES, WARPS_M, WARPS_N, WARPS_K>;
static_assert(Tile::shared_bytes == SHARED_BYTES, "as runtime/kernels/convolution_tiles.py counts them");

// The fields of `Convolution` in their order, so that they lie in the launch's own memory. 512 threads of a multiprocessor
// leave each 128 registers.
extern "C" __global__ void __launch_bounds__(Tile::threads, 512 / Tile::threads)
    convolution(const unsigned short* first, int first_stride, int first_vectors, int first_enlarged,
                const unsigned short* second, int second_stride, int second_vectors, int second_enlarged, int in_height,
                int in_width, const char* weights, const float* bias, int pairs, int steps, unsigned short* sum,
                int sum_stride, int sum_enlarged, unsigned short* other_sum, int other_sum_stride,
                int other_sum_enlarged, float leak, unsigned short* output, int output_stride,
                unsigned short* modulated, int modulated_stride, int modulated_enlarged, const unsigned short* gamma,
                const unsigned short* beta, int map_stride, float modulated_leak, int height, int width, int vectors) {
    convolve<Tile>({{first, first_stride, first_vectors, first_enlarged},
                    {second, second_stride, second_vectors, second_enlarged},
                    in_height,
                    in_width,
                    weights,
                    bias,
                    pairs,
                    steps,
                    {{sum, sum_stride, sum_enlarged}, {other_sum, other_sum_stride, other_sum_enlarged}},
                    leak,
                    {output, output_stride, 0},
                    {modulated, modulated_stride, modulated_enlarged},
                    gamma,
                    beta,
                    map_stride,
                    modulated_leak,
                    height,
                    width,
                    vectors});
}
