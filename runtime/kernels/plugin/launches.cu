#include "launches.hpp"

#include <cuda_runtime.h>

#include "grid_sample_3d.cuh"
#include "pack_mlp.cuh"
#include "triplane_render_direct.cuh"

namespace hidenerf {
namespace {

constexpr unsigned int kThreads = 256;
constexpr long long kMostBlocks = 1 << 16;

template <int R, int N, int K, int L, int C, int r, int W, int O, int P = 0>
struct Model : Sizes<R, N, K, L, C, r, W, O, P> {
    static_assert(P == 0 || P == 1, "place is 0 or 1");
    static constexpr int units = W;
    static constexpr RendererSizes sizes = {R, N, K, L, C, r, W, O, P};
};

template <class S, class In>
__global__ void __launch_bounds__(kThreads) pack_mlp_kernel(Mlp<In> mlp, unsigned int* operands, int* flags) {
    pack_mlp<S, S::units>(mlp, operands, flags);
}

template <class In>
__global__ void __launch_bounds__(kThreads)
    channels_last_kernel(const In* planes, unsigned short* bordered, int channels, int size, int* flags) {
    channels_last(planes, bordered, channels, size, flags);
}

template <class S>
__global__ void __launch_bounds__(32 * kWarps, 1)
    render_kernel(const float* deformation, const float* camera, BorderedLevels<S::levels> planes, const uint4* mlp,
                  float* rendered, float* alpha, int* flags, float* place) {
    triplane_render_direct<S>(deformation, camera, planes, mlp, rendered, alpha, flags, place);
}

template <class Number>
__global__ void __launch_bounds__(kThreads)
    sample_kernel(const Number* volume, const float* grid, Number* sampled, VolumeShape shape, long long points) {
    grid_sample_3d(volume, grid, sampled, shape, points, false, false);
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, unsigned int threads, cudaStream_t stream,
                   Arguments... arguments) {
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

dim3 blocks_for(long long threads) {
    const long long blocks = (threads + kThreads - 1) / kThreads;
    return dim3((unsigned int)(blocks < kMostBlocks ? blocks : kMostBlocks));
}

// The first failure of all; the rest is not done.
template <class... Steps>
Status first_failure(Steps... steps) {
    cudaError_t status = cudaSuccess;
    const bool passed = ((status = steps(), status == cudaSuccess) && ...);
    return passed ? 0 : int(status);
}

template <class Kernel>
cudaError_t load_kernel(Kernel* kernel) {
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, kernel);
}

constexpr std::size_t whole(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

// flags, then the MLP's operands, then each level's bordered planes.
template <class S>
struct Workspace {
    static constexpr std::size_t operand_bytes = 4 * MlpOperands<S, S::units>::words;

    static constexpr int size(int level) { return S::finest >> (S::levels - 1 - level); }

    static constexpr std::size_t level(int index) {
        std::size_t at = 256 + whole(operand_bytes);
        for (int l = 0; l < index; ++l) at += whole(std::size_t(6) * S::channels * (size(l) + 2) * (size(l) + 2));
        return at;
    }

    static constexpr std::size_t bytes = level(S::levels);
};

template <class S>
Status load_renderer() noexcept {
    return first_failure([] { return load_kernel(pack_mlp_kernel<S, float>); },
                         [] { return load_kernel(pack_mlp_kernel<S, unsigned short>); },
                         [] { return load_kernel(channels_last_kernel<float>); },
                         [] { return load_kernel(channels_last_kernel<unsigned short>); },
                         [] { return load_kernel(render_kernel<S>); });
}

template <class S, class In>
Status render_from(RenderTensors const& t, char* workspace, cudaStream_t stream) {
    using W = Workspace<S>;
    int* flags = (int*)workspace;
    unsigned int* operands = (unsigned int*)(workspace + 256);
    BorderedLevels<S::levels> bordered;
    for (int level = 0; level < S::levels; ++level) bordered.planes[level] = workspace + W::level(level);
    const Mlp<In> mlp = {(const In*)t.weight_1, (const In*)t.bias_1, (const In*)t.weight_2, (const In*)t.bias_2};

    const auto border = [&] {
        for (int level = 0; level < S::levels; ++level) {
            const int size = W::size(level);
            const cudaError_t status =
                launch(channels_last_kernel<In>, blocks_for(3ll * S::channels * (size + 2) * (size + 2)), kThreads,
                       stream, (const In*)t.planes[level], (unsigned short*)bordered.planes[level], S::channels, size,
                       flags);
            if (status != cudaSuccess) return status;
        }
        return cudaSuccess;
    };
    const auto render = [&] {
        const dim3 tiles((S::render_size + kTileWidth - 1) / kTileWidth,
                         (S::render_size + kTileHeight - 1) / kTileHeight);
        return launch(render_kernel<S>, tiles, 32 * kWarps, stream, t.deformation, t.camera, bordered,
                      (const uint4*)operands, t.rendered, t.alpha, flags, t.place);
    };
    return first_failure([&] { return cudaMemsetAsync(flags, 0, sizeof(int), stream); },
                         [&] {
                             return launch(pack_mlp_kernel<S, In>, blocks_for(W::operand_bytes / 4), kThreads, stream,
                                           mlp, operands, flags);
                         },
                         border, render);
}

template <class S>
Status render(RenderTensors const& tensors, void* workspace, CUstream_st* stream) noexcept {
    return tensors.half ? render_from<S, unsigned short>(tensors, (char*)workspace, stream)
                        : render_from<S, float>(tensors, (char*)workspace, stream);
}

template <class S>
constexpr Renderer renderer_of() {
    static_assert(S::levels >= 1 && S::samples >= 1 && S::rendered >= 1 && S::octaves >= 1, "every size is positive");
    static_assert(S::channels % 16 == 0, "TriplaneRender takes planes of a multiple of 16 channels");
    static_assert(Workspace<S>::operand_bytes <= 48 * 1024, "the MLP's operands exceed 48 KB of shared memory");
    return {S::sizes, Workspace<S>::bytes, load_renderer<S>, render<S>};
}

// One line a model, written by CMake.
#define HIDENERF_RENDERER(...) renderer_of<Model<__VA_ARGS__>>(),
constexpr Renderer kRenderers[] = {
#include "renderers.inc"
};
#undef HIDENERF_RENDERER

bool same(RendererSizes const& a, RendererSizes const& b) {
    return a.render_size == b.render_size && a.samples == b.samples && a.rendered == b.rendered &&
           a.levels == b.levels && a.channels == b.channels && a.finest == b.finest && a.width == b.width &&
           a.octaves == b.octaves && a.place == b.place;
}

template <class Number>
Status sample(SampleTensors const& t, cudaStream_t stream) {
    const VolumeShape shape = {t.batch, t.channels, t.depth, t.height, t.width};
    return int(launch(sample_kernel<Number>, blocks_for(t.points * t.batch), kThreads, stream,
                      (const Number*)t.volume, t.grid, (Number*)t.sampled, shape, t.points));
}

}  // namespace

char const* status_text(Status status) noexcept { return cudaGetErrorString(cudaError_t(status)); }

Renderer const* find_renderer(RendererSizes const& sizes) noexcept {
    for (Renderer const& renderer : kRenderers)
        if (same(renderer.sizes, sizes)) return &renderer;
    return nullptr;
}

Status load_grid_sampler() noexcept {
    return first_failure([] { return load_kernel(sample_kernel<float>); },
                         [] { return load_kernel(sample_kernel<unsigned short>); });
}

Status sample_grid(SampleTensors const& tensors, CUstream_st* stream) noexcept {
    if (tensors.points * tensors.batch == 0) return 0;
    return tensors.half ? sample<unsigned short>(tensors, stream) : sample<float>(tensors, stream);
}

}  // namespace hidenerf
