#include "grid_sample_3d.cuh"

using namespace hidenerf;

extern "C" __global__ void __launch_bounds__(256)
    grid_sample_3d_fp32(const float* volume, const float* grid, float* sampled, int batch, int channels, int depth,
                        int height, int width, long long points, int border, int align_corners) {
    grid_sample_3d(volume, grid, sampled, {batch, channels, depth, height, width}, points, border, align_corners);
}

extern "C" __global__ void __launch_bounds__(256)
    grid_sample_3d_fp16(const unsigned short* volume, const float* grid, unsigned short* sampled, int batch,
                        int channels, int depth, int height, int width, long long points, int border,
                        int align_corners) {
    grid_sample_3d(volume, grid, sampled, {batch, channels, depth, height, width}, points, border, align_corners);
}
