#include "model_sizes.cuh"
#include "triplane_render.cuh"

using namespace hidenerf;

// Two blocks of 256 threads on a multiprocessor: 128 registers a thread.
constexpr int kBlocks = 2;

extern "C" __global__ void __launch_bounds__(32 * kWarps, kBlocks)
    triplane_render_fp32(const float* deformation, const float* camera, const char* planes, const uint4* mlp,
                         float* rendered, float* alpha, int* flags PLACE_PARAMETER) {
    triplane_render<ModelSizes>(deformation, camera, planes, mlp, rendered, alpha, flags PLACE_ARGUMENT);
}

extern "C" __global__ void __launch_bounds__(32 * kWarps, kBlocks)
    triplane_render_fp16(const float* deformation, const float* camera, const char* planes, const uint4* mlp,
                         unsigned short* rendered, float* alpha, int* flags PLACE_PARAMETER) {
    triplane_render<ModelSizes>(deformation, camera, planes, mlp, rendered, alpha, flags PLACE_ARGUMENT);
}
