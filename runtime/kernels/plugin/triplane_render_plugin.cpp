#include "triplane_render_plugin.hpp"

#include <cstdio>
#include <initializer_list>
#include <new>

#include "messages.hpp"

namespace hidenerf {

using namespace nvinfer1;

namespace {

constexpr int kCoordinates = 2;  // deformation, camera
constexpr int kWeights = 4;
constexpr int kFields = 25;

struct Rank {
    int input, rank;
};

// Says it if an input has not this shape; -1 in `wanted` or as the batch of `shape` fits anything.
bool has_shape(int input, Dims const& shape, std::initializer_list<int64_t> wanted) noexcept {
    Dims right{};
    for (const int64_t size : wanted) right.d[right.nbDims++] = size;
    bool fits = shape.nbDims == right.nbDims;
    for (int i = 0; fits && i < right.nbDims; ++i) fits = right.d[i] < 0 || shape.d[i] == right.d[i];
    if (!fits)
        complain("%s: input %d has shape %s, not %s", TriplaneRender::kName, input, ShapeText(shape).text,
                 ShapeText(right).text);
    return fits;
}

}  // namespace

// Without place the one field is serialised and the timing cache's key is as it was before there was place.
TriplaneRender::TriplaneRender(int octaves, bool place) noexcept
    : octaves_(octaves),
      place_(place),
      field_{{kOctaves, &octaves_, PluginFieldType::kINT32, 1}, {kPlace, &place_, PluginFieldType::kINT32, 1}},
      fields_{1 + place_, field_} {
    std::snprintf(timing_cache_id_, sizeof timing_cache_id_, "octaves %d%s", octaves, place ? ", place" : "");
}

TriplaneRender::TriplaneRender(TriplaneRender const& other) noexcept
    : TriplaneRender(other.octaves_, other.place_ != 0) {
    renderer_ = other.renderer_;
}

IPluginV3* TriplaneRender::clone() noexcept { return new (std::nothrow) TriplaneRender(*this); }

bool TriplaneRender::is_data(int position, int inputs) const noexcept {
    return position >= kCoordinates && position < inputs;
}

bool TriplaneRender::takes_inputs(int count) const noexcept {
    const bool enough = count > kCoordinates + kWeights;
    if (!enough)
        complain("%s: has %d inputs, not deformation, camera, planes of each level, weight_1, bias_1, weight_2, bias_2",
                 kName, count);
    return enough;
}

Renderer const* TriplaneRender::renderer_for(Dims const* shapes, int count) const noexcept {
    const int levels = count - kCoordinates - kWeights;
    Dims const &deformation = shapes[0], *planes = shapes + kCoordinates, *weights = planes + levels;
    const int first = kCoordinates + levels;
    for (const auto [input, rank] : {Rank{0, 4}, {kCoordinates, 5}, {first - 1, 5}, {first, 2}, {first + 2, 2}})
        if (shapes[input].nbDims != rank) {
            complain("%s: input %d has %d dimensions, not %d", kName, input, shapes[input].nbDims, rank);
            return nullptr;
        }
    const RendererSizes sizes = {int(deformation.d[2]),
                                 int(deformation.d[1] / 3),
                                 int(weights[2].d[0] - 1),
                                 levels,
                                 int(planes[0].d[2]),
                                 int(planes[levels - 1].d[3]),
                                 int(weights[0].d[0]),
                                 octaves_,
                                 place_};
    for (const int size : {sizes.render_size, sizes.samples, sizes.rendered, sizes.channels, sizes.finest, sizes.width})
        if (size < 1) {
            complain("%s: sizes must be known when the engine is built; only the batch may vary", kName);
            return nullptr;
        }
    const int64_t batch = deformation.d[0], features = int64_t(levels) * sizes.channels + 6 * octaves_;
    bool fits = has_shape(0, deformation, {-1, 3 * sizes.samples, sizes.render_size, sizes.render_size}) &&
                has_shape(1, shapes[1], {batch, kFields});
    for (int level = 0; fits && level < levels; ++level) {
        const int size = sizes.finest >> (levels - 1 - level);
        fits = has_shape(kCoordinates + level, planes[level], {batch, 3, sizes.channels, size, size});
    }
    fits = fits && has_shape(first, weights[0], {sizes.width, features}) &&
           has_shape(first + 1, weights[1], {sizes.width}) &&
           has_shape(first + 2, weights[2], {sizes.rendered + 1, sizes.width}) &&
           has_shape(first + 3, weights[3], {sizes.rendered + 1});
    if (!fits) return nullptr;
    Renderer const* renderer = find_renderer(sizes);
    if (renderer == nullptr)
        complain("%s: this library was not built for this model; build it with "
                 "-DHIDENERF_RENDERERS=%d,%d,%d,%d,%d,%d,%d,%d%s",
                 kName, sizes.render_size, sizes.samples, sizes.rendered, sizes.levels, sizes.channels, sizes.finest,
                 sizes.width, sizes.octaves, sizes.place != 0 ? ",1" : "");
    return renderer;
}

bool TriplaneRender::takes_shapes(Dims const* shapes, int count) const noexcept {
    return renderer_for(shapes, count) != nullptr;
}

void TriplaneRender::set_output_shapes(DimsExprs const* inputs, int count, DimsExprs* outputs,
                                       IExprBuilder& builder) const noexcept {
    DimsExprs const& deformation = inputs[0];
    for (int i = 0; i < getNbOutputs(); ++i) {
        outputs[i] = deformation;
        outputs[i].d[1] = builder.constant(i < 2 ? 1 : 3);
    }
    outputs[0].d[1] = builder.operation(DimensionOperation::kSUB, *inputs[count - 1].d[0], *builder.constant(1));
}

std::size_t TriplaneRender::getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
                                             DynamicPluginTensorDesc const*, int32_t) const noexcept {
    Dims shapes[kMostInputs];
    for (int i = 0; i < nbInputs; ++i) shapes[i] = inputs[i].max;
    // Asked of what configurePlugin took.
    Renderer const* renderer = renderer_for(shapes, nbInputs);
    return renderer == nullptr ? 0 : renderer->workspace_bytes;
}

int TriplaneRender::prepare(Dims const* shapes, int count) noexcept {
    renderer_ = renderer_for(shapes, count);
    return renderer_->load();
}

int32_t TriplaneRender::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const*, void const* const* inputs,
                                void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
    if (renderer_ == nullptr) {
        complain("%s: enqueue before onShapeChange", kName);
        return 1;
    }
    RendererSizes const& s = renderer_->sizes;
    const std::size_t pixels = std::size_t(s.render_size) * std::size_t(s.render_size);
    const bool half = inputDesc[kCoordinates].type == DataType::kHALF;
    void const* const* weights = inputs + kCoordinates + s.levels;
    for (std::size_t item = 0; item < std::size_t(inputDesc[0].dims.d[0]); ++item) {
        void const* planes[kMostInputs];
        for (int level = 0; level < s.levels; ++level) {
            const std::size_t size = std::size_t(s.finest >> (s.levels - 1 - level));
            const std::size_t bytes = 3 * std::size_t(s.channels) * size * size * (half ? 2 : 4);
            planes[level] = static_cast<char const*>(inputs[kCoordinates + level]) + item * bytes;
        }
        const RenderTensors tensors = {
            static_cast<float const*>(inputs[0]) + item * 3 * std::size_t(s.samples) * pixels,
            static_cast<float const*>(inputs[1]) + item * kFields,
            planes,
            weights[0],
            weights[1],
            weights[2],
            weights[3],
            static_cast<float*>(outputs[0]) + item * std::size_t(s.rendered) * pixels,
            static_cast<float*>(outputs[1]) + item * pixels,
            place_ != 0 ? static_cast<float*>(outputs[2]) + item * 3 * pixels : nullptr,
            half};
        const int status = checked(*this, "rendering", renderer_->render(tensors, workspace, stream));
        if (status != 0) return status;
    }
    return 0;
}

}  // namespace hidenerf
