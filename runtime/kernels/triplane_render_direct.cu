#include "model_sizes.cuh"
#include "triplane_render_direct.cuh"

using namespace hidenerf;

extern "C" __global__ void __launch_bounds__(32 * kWarps, 1)
    triplane_render_direct_fp32(const float* deformation, const float* camera, const char* p0, const char* p1,
                                const char* p2, const char* p3, const uint4* mlp, float* rendered, float* alpha,
                                int* flags PLACE_PARAMETER) {
    const auto planes = of_levels<BorderedLevels<LEVELS>>(p0, p1, p2, p3);
    triplane_render_direct<ModelSizes>(deformation, camera, planes, mlp, rendered, alpha, flags PLACE_ARGUMENT);
}
