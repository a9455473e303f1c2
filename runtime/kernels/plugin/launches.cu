#include "launches.hpp"

#include <cuda_runtime.h>

#include "align_source.cuh"
#include "grid_sample_3d.cuh"
#include "pack_mlp.cuh"
#include "ray_samples.cuh"
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

template <class Number>
__global__ void __launch_bounds__(kThreads)
    rays_kernel(const float* camera, const Number* features, Number* points, Number* looked_up, SampleSizes sizes) {
    ray_samples(camera, features, points, looked_up, sizes);
}

template <int R, class Number>
__global__ void __launch_bounds__(kThreads)
    project_kernel(const float* place, const float* alpha, const float* rendered, const float* projection,
                   const float* face_sight, float* scratch, Number* stem_input, int channels, int pictured,
                   int image_size) {
    align_project<R>(place, alpha, rendered, projection, face_sight, scratch, stem_input, channels, pictured,
                     image_size);
}

template <int R, class Number>
__global__ void __launch_bounds__(kThreads) see_kernel(const float* surface, float* scratch, Number* guides) {
    align_see<R>(surface, scratch, guides);
}

template <int R, class Number>
__global__ void __launch_bounds__(kThreads) show_kernel(float* scratch, Number* guides) {
    align_show<R>(scratch, guides);
}

template <int R>
__global__ void __launch_bounds__(kThreads)
    sights_kernel(const float* scratch, const float* face_sight, float* sights, int image_size) {
    align_sights<R>(scratch, face_sight, sights, image_size);
}

template <int R, class Number>
__global__ void __launch_bounds__(kThreads) maps_kernel(const MapList list, const float* sights) {
    sample_listed_maps<R, Number>(list, sights);
}

template <int R, class Number>
__global__ void __launch_bounds__(kThreads)
    pictures_kernel(const float* picture, const float* small, const float* sights, const OwnPixels<Number> to,
                    int size) {
    sample_pictures<R, Number>(picture, small, sights, to, size);
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

// As source_aligner.py has them.
constexpr unsigned int kPixelThreads = 128;
constexpr int kChannelsAThread = 8, kPixelsAChannel = 2048;

constexpr int blocks_of(int threads, unsigned int block) { return (threads + int(block) - 1) / int(block); }

// Pictures of the steps, then the sights of all sizes.
template <int R>
std::size_t align_workspace(int image_size) noexcept {
    const std::size_t sights = 4 * std::size_t(image_size) * std::size_t(image_size) - (R / 4) * (R / 4);
    return whole(sizeof(float) * (std::size_t(kPictures) * R * R + sights));
}

template <int R, class Number>
Status load_aligner_of() noexcept {
    return first_failure([] { return load_kernel(project_kernel<R, Number>); },
                         [] { return load_kernel(see_kernel<R, Number>); },
                         [] { return load_kernel(show_kernel<R, Number>); },
                         [] { return load_kernel(sights_kernel<R>); },
                         [] { return load_kernel(maps_kernel<R, Number>); },
                         [] { return load_kernel(pictures_kernel<R, Number>); });
}

template <int R>
Status load_aligner() noexcept {
    const Status status = load_aligner_of<R, float>();
    return status != 0 ? status : load_aligner_of<R, unsigned short>();
}

static_assert(kMostMaps == kMostListedMaps, "a launch lists all maps of a node");

// The maps as the launch's argument, and how many blocks they take.
int list_maps(AlignTensors const& t, MapList& list) {
    int blocks = 0;
    list.count = t.count;
    for (int i = 0; i < t.count; ++i) {
        MapTensors const& map = t.maps[i];
        const int pixels = map.size * map.size, most = pixels / kPixelsAChannel;
        list.maps[i] = {(unsigned long long)map.source, (unsigned long long)map.sampled,
                        (unsigned long long)map.absent, map.channels, map.size};
        list.first[i] = blocks;
        list.at_once[i] = most < 1 ? 1 : most < kChannelsAThread ? most : kChannelsAThread;
        blocks += (map.channels + list.at_once[i] - 1) / list.at_once[i] * blocks_of(pixels, kPixelThreads);
    }
    return blocks;
}

template <int R, class Number>
Status align_as(AlignTensors const& t, void* workspace, CUstream_st* stream) noexcept {
    float *scratch = (float*)workspace, *sights = scratch + kPictures * R * R;
    Number* stem_input = (Number*)t.stem_input;
    Number* guides = stem_input + (t.channels + 1) * R * R;
    const int size = t.image_size, pixels = R * R, pictured = t.picture != nullptr;
    MapList list = {};
    const int map_blocks = list_maps(t, list);
    const auto pictures = [&] {
        if (!pictured) return cudaSuccess;
        const int side = t.enlarger_input == nullptr ? size : size / 2;
        const OwnPixels<Number> to = {t.own, t.shown, (Number*)t.detail_input, (Number*)t.enlarger_input,
                                      guides + kGuides * pixels};
        return launch(pictures_kernel<R, Number>, dim3(blocks_of(side * side + pixels, kPixelThreads)), kPixelThreads,
                      stream, t.picture, t.small, sights, to, size);
    };
    return first_failure(
        [&] {
            // A block per row, and a thread per mean of the face sight and per value that is copied or 0.
            const int zeros = stem_channels(t.channels, pictured) - stem_used(t.channels, pictured);
            const int blocks = R + blocks_of((kFaceSight + t.channels + 1 + zeros) * pixels, kThreads);
            return launch(project_kernel<R, Number>, dim3(blocks), kThreads, stream, t.place, t.alpha, t.rendered,
                          t.projection, t.face_sight, scratch, stem_input, t.channels, pictured, size);
        },
        [&] { return launch(see_kernel<R, Number>, dim3(R), kThreads, stream, t.surface, scratch, guides); },
        [&] {
            return launch(show_kernel<R, Number>, dim3(blocks_of(pixels, kPixelThreads)), kPixelThreads, stream,
                          scratch, guides);
        },
        [&] {
            const int all = (4 * size * size - (R / 4) * (R / 4)) / 3;
            return launch(sights_kernel<R>, dim3(blocks_of(all, kPixelThreads)), kPixelThreads, stream, scratch,
                          t.face_sight, sights, size);
        },
        [&] { return launch(maps_kernel<R, Number>, dim3(map_blocks), kPixelThreads, stream, list, sights); },
        pictures);
}

template <int R>
Status align(AlignTensors const& t, void* workspace, CUstream_st* stream) noexcept {
    return t.half ? align_as<R, unsigned short>(t, workspace, stream) : align_as<R, float>(t, workspace, stream);
}

// Models without place have none, and those whose smallest map would not have whole pixels.
template <class S>
constexpr Aligner aligner_of() {
    if constexpr (S::place && S::render_size % 4 == 0)
        return {S::render_size, align_workspace<S::render_size>, load_aligner<S::render_size>, align<S::render_size>};
    return {0, nullptr, nullptr, nullptr};
}

// One line a model, written by CMake.
#define HIDENERF_RENDERER(...) renderer_of<Model<__VA_ARGS__>>(),
constexpr Renderer kRenderers[] = {
#include "renderers.inc"
};
#undef HIDENERF_RENDERER
#define HIDENERF_RENDERER(...) aligner_of<Model<__VA_ARGS__>>(),
constexpr Aligner kAligners[] = {
#include "renderers.inc"
};
#undef HIDENERF_RENDERER

bool same(RendererSizes const& a, RendererSizes const& b) {
    return a.render_size == b.render_size && a.samples == b.samples && a.rendered == b.rendered &&
           a.levels == b.levels && a.channels == b.channels && a.finest == b.finest && a.width == b.width &&
           a.octaves == b.octaves && a.place == b.place;
}

// As ray_sampler.py has them.
template <class Number>
Status sample_rays_of(RayTensors const& t, cudaStream_t stream) {
    const dim3 grid(blocks_of(t.size * t.size, kPixelThreads), blocks_of(t.samples, kSamplesAThread));
    return int(launch(rays_kernel<Number>, grid, kPixelThreads, stream, t.camera, (const Number*)t.features,
                      (Number*)t.points, (Number*)t.looked_up,
                      SampleSizes{t.size, t.samples, t.stride, t.channels}));
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

Aligner const* find_aligner(int render_size) noexcept {
    for (Aligner const& aligner : kAligners)
        if (render_size > 0 && aligner.render_size == render_size) return &aligner;
    return nullptr;
}

int aligned_stem_channels(int rendered, bool picture) noexcept { return stem_channels(rendered, picture ? 1 : 0); }

Status load_ray_sampler() noexcept {
    return first_failure([] { return load_kernel(rays_kernel<float>); },
                         [] { return load_kernel(rays_kernel<unsigned short>); });
}

Status sample_rays(RayTensors const& tensors, CUstream_st* stream) noexcept {
    return tensors.half ? sample_rays_of<unsigned short>(tensors, stream) : sample_rays_of<float>(tensors, stream);
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
