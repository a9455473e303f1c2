#include "align_source_op.hpp"

#include <new>

#include "messages.hpp"

namespace hidenerf {

namespace {

// Inputs.
constexpr int kPlace = 0, kAlpha = 1, kRendered = 2, kProjection = 3, kSurface = 4, kFaceSight = 5, kPixels = 6,
              kSmall = 7;
// Outputs.
constexpr int kStem = 0, kDetail = 1, kOwn = 2, kShown = 3, kEnlarger = 4;
constexpr int kDetailChannels = 4, kEnlargerChannels = 16;
// Largest side of a frame, whose pixels and sights kernels count in 32 bits.
constexpr int64_t kLargestImage = 8192;
constexpr int kMostRendered = 1024;

// A picture like that of an input, with other channels and another side.
OutputShape picture_of(int input, Shape const& shape, int64_t channels, int64_t side) noexcept {
    OutputShape made = same_as(input, shape);
    made.sizes[1] = {-1, 0, channels};
    made.sizes[2] = made.sizes[3] = {-1, 0, side};
    return made;
}

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
    if (position < inputs) return position >= first_map();
    return !picture() || (position - inputs != kOwn && position - inputs != kShown);
}

bool AlignSource::takes_inputs(int count) const noexcept {
    if (enlarged() && !picture()) {
        complain("%s: enlarged is 1 and picture is not: an enlarger reads the source picture", name());
        return false;
    }
    const bool right = count == first_map() + maps();
    if (!right)
        complain("%s: has %d inputs, not place, alpha, rendered, source_projection, source_surface, face_sight, "
                 "%sabsent and %d maps",
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
                has_shape(kRendered, shapes[kRendered], {4, {batch, -1, r, r}}) &&
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
    if (shapes[kRendered].sizes[1] < 1 || shapes[kRendered].sizes[1] > kMostRendered) {
        complain("%s: input %d has shape %s; a rendered picture has 1 to %d channels", name(), kRendered,
                 ShapeText(shapes[kRendered]).text, kMostRendered);
        return nullptr;
    }
    if (enlarged() && s == r) {
        complain("%s: a frame of an enlarger is larger than %lld pixels", name(), static_cast<long long>(r));
        return nullptr;
    }
    int64_t channels = 0;
    for (int i = first_map(); i < first_map() + maps(); ++i) {
        if (!takes_map(i, shapes[i], batch, r, s)) return nullptr;
        channels += shapes[i].sizes[1];
    }
    if (!has_shape(absent(), shapes[absent()], {1, {channels}})) return nullptr;
    Aligner const* aligner = find_aligner(int(r));
    if (aligner == nullptr)
        complain("%s: this library was built for no model with place that renders %lld pixels; build it for this "
                 "model, as docs/plugin.md says",
                 name(), static_cast<long long>(r));
    return aligner;
}

bool AlignSource::takes_shapes(Shape const* shapes, int) const noexcept { return aligner_for(shapes) != nullptr; }

void AlignSource::output_shapes(Shape const* shapes, int, OutputShape* outputs) const noexcept {
    const int64_t r = shapes[kAlpha].sizes[2], size = shapes[kFaceSight].sizes[2];
    const int stem = aligned_stem_channels(int(shapes[kRendered].sizes[1]), picture());
    outputs[kStem] = picture_of(kAlpha, shapes[kAlpha], stem, r);
    if (picture()) {
        outputs[kDetail] = picture_of(kPixels, shapes[kPixels], kDetailChannels, enlarged() ? size / 2 : size);
        outputs[kOwn] = same_as(kPixels, shapes[kPixels]);
        outputs[kShown] = picture_of(kPixels, shapes[kPixels], 1, size);
    }
    if (enlarged()) outputs[kEnlarger] = picture_of(kPixels, shapes[kPixels], kEnlargerChannels, size / 2);
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
    const std::size_t number_bytes = run.half ? 2 : 4;
    const int rendered = int(run.shapes[kRendered].sizes[1]), image_size = int(run.shapes[kFaceSight].sizes[2]);
    const std::size_t pixels = std::size_t(image_size) * std::size_t(image_size);
    const std::size_t detail_pixels = enlarged() ? pixels / 4 : pixels;
    for (std::size_t item = 0; item < std::size_t(run.shapes[kPlace].sizes[0]); ++item) {
        const auto from = [&](int i) { return static_cast<float const*>(run.from[i]) + item * size(i); };
        const auto to = [&](int i, std::size_t count) { return static_cast<float*>(run.to[i]) + item * count; };
        const auto data_to = [&](int i, std::size_t count) {
            return static_cast<void*>(static_cast<char*>(run.to[i]) + item * count * number_bytes);
        };
        MapTensors sampled[kMostMaps];
        float const* constants = static_cast<float const*>(run.from[absent()]);
        for (int i = 0; i < maps(); ++i) {
            const int input = first_map() + i;
            const int channels = int(run.shapes[input].sizes[1]);
            sampled[i] = {static_cast<char const*>(run.from[input]) + item * size(input) * number_bytes,
                          data_to(first_sampled() + i, size(input)), constants, channels,
                          int(run.shapes[input].sizes[2])};
            constants += channels;
        }
        const std::size_t stem = std::size_t(aligned_stem_channels(rendered, picture())) * size(kAlpha);
        const AlignTensors tensors = {
            from(kPlace),
            from(kAlpha),
            from(kRendered),
            from(kProjection),
            from(kSurface),
            from(kFaceSight),
            picture() ? from(kPixels) : nullptr,
            picture() ? from(kSmall) : nullptr,
            data_to(kStem, stem),
            picture() ? data_to(kDetail, kDetailChannels * detail_pixels) : nullptr,
            picture() ? to(kOwn, 3 * pixels) : nullptr,
            picture() ? to(kShown, pixels) : nullptr,
            enlarged() ? data_to(kEnlarger, kEnlargerChannels * pixels / 4) : nullptr,
            sampled,
            maps(),
            rendered,
            image_size,
            run.half};
        const int status = checked("aligning", aligner_->align(tensors, run.workspace, run.stream));
        if (status != 0) return status;
    }
    return 0;
}

}  // namespace hidenerf
