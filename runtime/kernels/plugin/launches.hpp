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

constexpr int kMostMaps = 48;

// A map of the source [channels, size, size] and its samples in the frame, FP32, or FP16 if half. absent: FP32
// [channels], what they are where the source shows nothing.
struct MapTensors {
    void const* source;
    void* sampled;
    float const* absent;
    int channels, size;
};

// Device addresses of one picture's tensors, FP32; maps and inputs of layers are FP16 if half. picture, small, own,
// shown, detail_input: nullptr for a model without the source picture; enlarger_input: for one without enlarger.
// channels: of the rendered picture. image_size: S.
struct AlignTensors {
    float const *place, *alpha, *rendered, *projection, *surface, *face_sight, *picture, *small;
    void *stem_input, *detail_input;
    float *own, *shown;
    void* enlarger_input;
    MapTensors const* maps;
    int count, channels, image_size;
    bool half;
};

// Channels of the stem input for so many of the rendered picture.
int aligned_stem_channels(int rendered, bool picture) noexcept;

// AlignSource compiled for one R; load and workspace as of a Renderer.
struct Aligner {
    int render_size;
    std::size_t (*workspace_bytes)(int image_size) noexcept;
    Status (*load)() noexcept;
    Status (*align)(AlignTensors const& tensors, void* workspace, CUstream_st* stream) noexcept;
};

// The one for this R; nullptr if the library was built for no model with place that has it.
Aligner const* find_aligner(int render_size) noexcept;

// volume [B, C, D, H, W], grid FP32 [B, points, 3] → sampled [B, C, points]; volume and sampled are FP16 if half.
struct SampleTensors {
    void const* volume;
    float const* grid;
    void* sampled;
    int batch, channels, depth, height, width;
    long long points;
    bool half;
};

// Device addresses of one picture's tensors: camera FP32 [25]; features [channels, size, size], points
// [3·samples, size, size] and looked_up [channels·samples/stride, size, size] are FP16 if half, and FP32 otherwise.
struct RayTensors {
    float const* camera;
    void const* features;
    void *points, *looked_up;
    int size, samples, stride, channels;
    bool half;
};

Status load_ray_sampler() noexcept;
Status sample_rays(RayTensors const& tensors, CUstream_st* stream) noexcept;

Status load_grid_sampler() noexcept;
Status sample_grid(SampleTensors const& tensors, CUstream_st* stream) noexcept;

}  // namespace hidenerf
