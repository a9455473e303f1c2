#include "align_source_op.hpp"

#include <new>

#include "messages.hpp"

namespace hidenerf {

namespace {

// Inputs.
constexpr int kPlace = 0, kAlpha = 1, kProjection = 2, kSurface = 3, kFaceSight = 4, kPixels = 5, kSmall = 6;
// Outputs.
constexpr int kGuides = 0, kOwnSmall = 1, kOwn = 2, kShown = 3;
// Largest side of a frame, whose pixels and sights kernels count in 32 bits.
constexpr int64_t kLargestImage = 8192;

bool is_doubled(int64_t size, int64_t from) noexcept {
    while (from < size) from *= 2;
    return from == size;
}

std::size_t count_of(Shape const& shape) noexcept {
    std::size_t count = 1;
    for (int i = 1; i < shape.rank; ++i) count *= std::size_t(shape.sizes[i]);
    return count;
}

}  // namespace

Op* AlignSource::clone() const noexcept { return new (std::nothrow) AlignSource(*this); }

bool AlignSource::is_data(int position, int inputs) const noexcept {
    return position < inputs ? position >= first_map() : position - inputs >= first_sampled();
}

bool AlignSource::takes_inputs(int count) const noexcept {
    const bool right = count == first_map() + maps();
    if (!right)
        complain("%s: has %d inputs, not place, alpha, source_projection, source_surface, face_sight, %sand %d maps",
                 name(), count, picture() ? "source_pixels, source_pixels_small, " : "", maps());
    return right;
}

bool AlignSource::takes_map(int input, Shape const& map, int64_t batch, int64_t render_size,
                            int64_t image_size) const noexcept {
    const int64_t side = map.rank == 4 ? map.sizes[3] : 0;
    if (!has_rank(input, map, 4) || !has_shape(input, map, {4, {batch, -1, side, side}})) return false;
    if (map.sizes[1] >= 1 && side <= image_size && is_doubled(side, render_size / 4)) return true;
    complain("%s: input %d has shape %s; a map has channels, and a side of %lld, twice that, and so on up to %lld",
             name(), input, ShapeText(map).text, static_cast<long long>(render_size / 4),
             static_cast<long long>(image_size));
    return false;
}

Aligner const* AlignSource::aligner_for(Shape const* shapes) const noexcept {
    if (!has_rank(kPlace, shapes[kPlace], 4) || !has_rank(kFaceSight, shapes[kFaceSight], 4)) return nullptr;
    const int64_t batch = shapes[kPlace].sizes[0], r = shapes[kPlace].sizes[2], s = shapes[kFaceSight].sizes[2];
    if (r < 1 || s < 1) {
        complain("%s: sizes must be known when the engine is built; only the batch may vary", name());
        return nullptr;
    }
    bool fits = has_shape(kPlace, shapes[kPlace], {4, {-1, 3, r, r}}) &&
                has_shape(kAlpha, shapes[kAlpha], {4, {batch, 1, r, r}}) &&
                has_shape(kProjection, shapes[kProjection], {3, {batch, 3, 4}}) &&
                has_shape(kSurface, shapes[kSurface], {4, {batch, 4, r, r}}) &&
                has_shape(kFaceSight, shapes[kFaceSight], {4, {batch, 4, s, s}});
    if (fits && picture())
        fits = has_shape(kPixels, shapes[kPixels], {4, {batch, 3, s, s}}) &&
               has_shape(kSmall, shapes[kSmall], {4, {batch, 3, r, r}});
    if (!fits) return nullptr;
    if (!is_doubled(s, r) || s > kLargestImage) {
        complain("%s: a frame of %lld pixels is not %lld, twice that, and so on up to %lld", name(),
                 static_cast<long long>(s), static_cast<long long>(r), static_cast<long long>(kLargestImage));
        return nullptr;
    }
    for (int i = first_map(); i < first_map() + maps(); ++i)
        if (!takes_map(i, shapes[i], batch, r, s)) return nullptr;
    Aligner const* aligner = find_aligner(int(r));
    if (aligner == nullptr)
        complain("%s: this library was built for no model with place that renders %lld pixels; build it for this "
                 "model, as docs/plugin.md says",
                 name(), static_cast<long long>(r));
    return aligner;
}

bool AlignSource::takes_shapes(Shape const* shapes, int) const noexcept { return aligner_for(shapes) != nullptr; }

void AlignSource::output_shapes(Shape const* shapes, int, OutputShape* outputs) const noexcept {
    outputs[kGuides] = same_as(kSurface, shapes[kSurface]);
    if (picture()) {
        outputs[kOwnSmall] = same_as(kSmall, shapes[kSmall]);
        outputs[kOwn] = same_as(kPixels, shapes[kPixels]);
        outputs[kShown] = outputs[kOwn];
        outputs[kShown].sizes[1] = {-1, 0, 1};
    }
    for (int i = 0; i < maps(); ++i) outputs[first_sampled() + i] = same_as(first_map() + i, shapes[first_map() + i]);
}

std::size_t AlignSource::workspace_bytes(Shape const* shapes, int) const noexcept {
    Aligner const* aligner = aligner_for(shapes);
    return aligner == nullptr ? 0 : aligner->workspace_bytes(int(shapes[kFaceSight].sizes[2]));
}

int AlignSource::prepare(Shape const* shapes, int) noexcept {
    aligner_ = aligner_for(shapes);
    return loaded(aligner_->load());
}

int AlignSource::enqueue(Run const& run) noexcept {
    const auto size = [&](int input) { return count_of(run.shapes[input]); };
    for (std::size_t item = 0; item < std::size_t(run.shapes[kPlace].sizes[0]); ++item) {
        const auto from = [&](int i) { return static_cast<float const*>(run.from[i]) + item * size(i); };
        const auto to = [&](int i, std::size_t count) { return static_cast<float*>(run.to[i]) + item * count; };
        MapTensors sampled[kMostMaps];
        for (int i = 0; i < maps(); ++i) {
            const int input = first_map() + i;
            const std::size_t bytes = item * size(input) * (run.half ? 2 : 4);
            sampled[i] = {static_cast<char const*>(run.from[input]) + bytes,
                          static_cast<char*>(run.to[first_sampled() + i]) + bytes, int(run.shapes[input].sizes[1]),
                          int(run.shapes[input].sizes[2])};
        }
        const AlignTensors tensors = {
            from(kPlace),
            from(kAlpha),
            from(kProjection),
            from(kSurface),
            from(kFaceSight),
            picture() ? from(kPixels) : nullptr,
            picture() ? from(kSmall) : nullptr,
            to(kGuides, size(kSurface)),
            picture() ? to(kOwnSmall, size(kSmall)) : nullptr,
            picture() ? to(kOwn, size(kPixels)) : nullptr,
            picture() ? to(kShown, size(kPixels) / 3) : nullptr,
            sampled,
            maps(),
            int(run.shapes[kFaceSight].sizes[2]),
            run.half};
        const int status = checked("aligning", aligner_->align(tensors, run.workspace, run.stream));
        if (status != 0) return status;
    }
    return 0;
}

}  // namespace hidenerf
