// The sizes that the caller of the compiler names with -D.
#ifndef HIDENERF_MODEL_SIZES_CUH
#define HIDENERF_MODEL_SIZES_CUH

#include "ray_march.cuh"

namespace hidenerf {

using ModelSizes = Sizes<RENDER_SIZE, SAMPLES, RENDERED, LEVELS, CHANNELS, FINEST, WIDTH, OCTAVES, PLACE>;

// The last parameter of a TriplaneRender kernel, for models with the output `place` alone.
#if PLACE
#define PLACE_PARAMETER , float* place
#define PLACE_ARGUMENT , place
#else
#define PLACE_PARAMETER
#define PLACE_ARGUMENT
#endif

// One pointer per level out of the kernels' four arguments.
template <class Levels, class T>
__device__ __forceinline__ Levels of_levels(T p0, T p1, T p2, T p3) {
    static_assert(LEVELS >= 1 && LEVELS <= 4, "one to four levels");
    const T all[4] = {p0, p1, p2, p3};
    Levels levels;
#pragma unroll
    for (int l = 0; l < LEVELS; ++l) levels.planes[l] = all[l];
    return levels;
}

}  // namespace hidenerf

#endif
