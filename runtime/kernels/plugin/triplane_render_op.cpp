#include "triplane_render_op.hpp"

#include <initializer_list>
#include <new>

#include "messages.hpp"

namespace hidenerf {

namespace {

constexpr int kCoordinates = 2;  // deformation, camera
constexpr int kWeights = 4;
constexpr int kCameraFloats = 25;

struct Rank {
    int input, rank;
};

}  // namespace

Op* TriplaneRender::clone() const noexcept { return new (std::nothrow) TriplaneRender(*this); }

bool TriplaneRender::is_data(int position, int inputs) const noexcept {
    return position >= kCoordinates && position < inputs;
}

bool TriplaneRender::takes_inputs(int count) const noexcept {
    const bool enough = count > kCoordinates + kWeights;
    if (!enough)
        complain("%s: has %d inputs, not deformation, camera, planes of each level, weight_1, bias_1, weight_2, bias_2",
                 name(), count);
    return enough;
}

Renderer const* TriplaneRender::renderer_for(Shape const* shapes, int count) const noexcept {
    const int levels = count - kCoordinates - kWeights, octaves = value(0), place = value(1);
    Shape const &deformation = shapes[0], *planes = shapes + kCoordinates, *weights = planes + levels;
    const int first = kCoordinates + levels;
    for (const auto [input, rank] : {Rank{0, 4}, {kCoordinates, 5}, {first - 1, 5}, {first, 2}, {first + 2, 2}})
        if (!has_rank(input, shapes[input], rank)) return nullptr;
    const RendererSizes sizes = {int(deformation.sizes[2]),
                                 int(deformation.sizes[1] / 3),
                                 int(weights[2].sizes[0] - 1),
                                 levels,
                                 int(planes[0].sizes[2]),
                                 int(planes[levels - 1].sizes[3]),
                                 int(weights[0].sizes[0]),
                                 octaves,
                                 place};
    for (const int size :
         {sizes.render_size, sizes.samples, sizes.rendered, sizes.channels, sizes.finest, sizes.width})
        if (size < 1) {
            complain("%s: sizes must be known when the engine is built; only the batch may vary", name());
            return nullptr;
        }
    const int64_t batch = deformation.sizes[0], features = int64_t(levels) * sizes.channels + 6 * octaves;
    const int64_t n = sizes.samples, r = sizes.render_size, w = sizes.width, k = sizes.rendered;
    bool fits = has_shape(0, deformation, {4, {-1, 3 * n, r, r}}) &&
                has_shape(1, shapes[1], {2, {batch, kCameraFloats}});
    for (int level = 0; fits && level < levels; ++level) {
        const int64_t size = sizes.finest >> (levels - 1 - level);
        fits = has_shape(kCoordinates + level, planes[level], {5, {batch, 3, sizes.channels, size, size}});
    }
    fits = fits && has_shape(first, weights[0], {2, {w, features}}) && has_shape(first + 1, weights[1], {1, {w}}) &&
           has_shape(first + 2, weights[2], {2, {k + 1, w}}) && has_shape(first + 3, weights[3], {1, {k + 1}});
    if (!fits) return nullptr;
    Renderer const* renderer = find_renderer(sizes);
    if (renderer == nullptr)
        complain("%s: this library was not built for this model; build it with "
                 "-DHIDENERF_RENDERERS=%d,%d,%d,%d,%d,%d,%d,%d%s",
                 name(), sizes.render_size, sizes.samples, sizes.rendered, sizes.levels, sizes.channels, sizes.finest,
                 sizes.width, sizes.octaves, sizes.place != 0 ? ",1" : "");
    return renderer;
}

bool TriplaneRender::takes_shapes(Shape const* shapes, int count) const noexcept {
    return renderer_for(shapes, count) != nullptr;
}

void TriplaneRender::output_shapes(Shape const* shapes, int count, OutputShape* outputs) const noexcept {
    const OutputSize channels[3] = {{count - 1, 0, -1}, {-1, 0, 1}, {-1, 0, 3}};
    for (int i = 0; i < this->outputs(); ++i) {
        outputs[i] = same_as(0, shapes[0]);
        outputs[i].sizes[1] = channels[i];
    }
}

std::size_t TriplaneRender::workspace_bytes(Shape const* shapes, int count) const noexcept {
    Renderer const* renderer = renderer_for(shapes, count);
    return renderer == nullptr ? 0 : renderer->workspace_bytes;
}

int TriplaneRender::prepare(Shape const* shapes, int count) noexcept {
    renderer_ = renderer_for(shapes, count);
    return loaded(renderer_->load());
}

int TriplaneRender::enqueue(Run const& run) noexcept {
    RendererSizes const& s = renderer_->sizes;
    const std::size_t pixels = std::size_t(s.render_size) * std::size_t(s.render_size);
    void const* const* weights = run.from + kCoordinates + s.levels;
    for (std::size_t item = 0; item < std::size_t(run.shapes[0].sizes[0]); ++item) {
        void const* planes[kMostInputs];
        for (int level = 0; level < s.levels; ++level) {
            const std::size_t size = std::size_t(s.finest >> (s.levels - 1 - level));
            const std::size_t bytes = 3 * std::size_t(s.channels) * size * size * (run.half ? 2 : 4);
            planes[level] = static_cast<char const*>(run.from[kCoordinates + level]) + item * bytes;
        }
        const RenderTensors tensors = {
            static_cast<float const*>(run.from[0]) + item * 3 * std::size_t(s.samples) * pixels,
            static_cast<float const*>(run.from[1]) + item * kCameraFloats,
            planes,
            weights[0],
            weights[1],
            weights[2],
            weights[3],
            static_cast<float*>(run.to[0]) + item * std::size_t(s.rendered) * pixels,
            static_cast<float*>(run.to[1]) + item * pixels,
            s.place != 0 ? static_cast<float*>(run.to[2]) + item * 3 * pixels : nullptr,
            run.half};
        const int status = checked("rendering", renderer_->render(tensors, run.workspace, run.stream));
        if (status != 0) return status;
    }
    return 0;
}

}  // namespace hidenerf
