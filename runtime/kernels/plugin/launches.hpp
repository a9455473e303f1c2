// The kernels behind plain functions: all that the plugins know of CUDA. Nothing here allocates or waits.
#pragma once

#include <cstddef>

struct CUstream_st;

namespace hidenerf {

// 0 or a cudaError_t.
using Status = int;

char const* status_text(Status status) noexcept;

// R, N, K, L, C, r (finest plane), W, octaves, place of one model (runtime/kernels/sizes.py).
struct RendererSizes {
    int render_size, samples, rendered, levels, channels, finest, width, octaves, place;
};

// Device addresses of one picture's tensors, FP32; planes and weights are FP16 if half. place: of a model with this output.
struct RenderTensors {
    float const* deformation;
    float const* camera;
    void const* const* planes;
    void const *weight_1, *bias_1, *weight_2, *bias_2;
    float* rendered;
    float* alpha;
    float* place;
    bool half;
};

// TriplaneRender compiled for one model. load: brings the kernels onto the GPU, which a stream under capture cannot.
// render: workspace is `workspace_bytes` of device memory, a multiple of 256.
struct Renderer {
    RendererSizes sizes;
    std::size_t workspace_bytes;
    Status (*load)() noexcept;
    Status (*render)(RenderTensors const& tensors, void* workspace, CUstream_st* stream) noexcept;
};

// The one for these sizes; nullptr if the library was built without it.
Renderer const* find_renderer(RendererSizes const& sizes) noexcept;

// volume [B, C, D, H, W], grid FP32 [B, points, 3] → sampled [B, C, points]; volume and sampled are FP16 if half.
struct SampleTensors {
    void const* volume;
    float const* grid;
    void* sampled;
    int batch, channels, depth, height, width;
    long long points;
    bool half;
};

Status load_grid_sampler() noexcept;
Status sample_grid(SampleTensors const& tensors, CUstream_st* stream) noexcept;

}  // namespace hidenerf
