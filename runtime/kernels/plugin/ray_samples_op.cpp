#include "ray_samples_op.hpp"

#include <climits>
#include <new>

#include "launches.hpp"
#include "messages.hpp"

namespace hidenerf {

namespace {

constexpr int kCamera = 0, kFeatures = 1;
constexpr int64_t kCameraFloats = 25;
// Largest side of the picture of rays, and most features: the kernel counts in 32 bits.
constexpr int64_t kLargest = 8192, kMostChannels = 1024;

}  // namespace

Op* RaySamples::clone() const noexcept { return new (std::nothrow) RaySamples(*this); }

bool RaySamples::is_data(int position, int) const noexcept { return position != kCamera; }

bool RaySamples::takes_inputs(int count) const noexcept {
    if (samples() % stride() != 0) {
        complain("%s: stride is %d, which does not divide the %d samples", name(), stride(), samples());
        return false;
    }
    if (count != 2) complain("%s: has %d inputs, not camera and features", name(), count);
    return count == 2;
}

bool RaySamples::takes_shapes(Shape const* shapes, int) const noexcept {
    Shape const& features = shapes[kFeatures];
    if (!has_rank(kFeatures, features, 4)) return false;
    const int64_t channels = features.sizes[1], size = features.sizes[2];
    if (channels < 1 || size < 1) {
        complain("%s: sizes must be known when the engine is built; only the batch may vary", name());
        return false;
    }
    if (!has_shape(kFeatures, features, {4, {-1, channels, size, size}}) ||
        !has_shape(kCamera, shapes[kCamera], {2, {features.sizes[0], kCameraFloats}}))
        return false;
    const bool small = size <= kLargest && channels <= kMostChannels;
    const int64_t looked_up = channels * (samples() / stride()), points = 3 * samples();
    if (small && (looked_up > points ? looked_up : points) * size * size <= INT_MAX) return true;
    complain("%s: features %s with %d samples make more than 2^31 numbers", name(), ShapeText(features).text,
             samples());
    return false;
}

void RaySamples::output_shapes(Shape const* shapes, int, OutputShape* outputs) const noexcept {
    const int64_t channels[2] = {3 * samples(), shapes[kFeatures].sizes[1] * (samples() / stride())};
    for (int i = 0; i < 2; ++i) {
        outputs[i] = same_as(kFeatures, shapes[kFeatures]);
        outputs[i].sizes[1] = {-1, 0, channels[i]};
    }
}

int RaySamples::prepare(Shape const*, int) noexcept { return loaded(load_ray_sampler()); }

int RaySamples::enqueue(Run const& run) noexcept {
    int64_t const* features = run.shapes[kFeatures].sizes;
    const std::size_t pixels = std::size_t(features[2]) * std::size_t(features[3]), number_bytes = run.half ? 2 : 4;
    const int channels = int(features[1]), looked_up = channels * (samples() / stride());
    for (std::size_t item = 0; item < std::size_t(features[0]); ++item) {
        const auto to = [&](int output, int count) {
            return static_cast<char*>(run.to[output]) + item * std::size_t(count) * pixels * number_bytes;
        };
        const RayTensors tensors = {
            static_cast<float const*>(run.from[kCamera]) + item * std::size_t(kCameraFloats),
            static_cast<char const*>(run.from[kFeatures]) + item * std::size_t(channels) * pixels * number_bytes,
            to(0, 3 * samples()),
            to(1, looked_up),
            int(features[2]),
            samples(),
            stride(),
            channels,
            run.half};
        const int status = checked("sampling rays", sample_rays(tensors, run.stream));
        if (status != 0) return status;
    }
    return 0;
}

}  // namespace hidenerf
