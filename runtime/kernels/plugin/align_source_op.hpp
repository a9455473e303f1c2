#pragma once

#include "launches.hpp"
#include "op.hpp"

namespace hidenerf {

// AlignSource: place [B, 3, R, R], alpha [B, 1, R, R], projection [B, 3, 4], surface [B, 4, R, R], face_sight
// [B, 4, S, S]; if the field picture is 1, pixels [B, 3, S, S] and their means [B, 3, R, R]; all FP32. Then as many
// maps [B, C, h, h] as the field maps says, h being R/4 or twice that, and so on up to S.
// → guides [B, 4, R, R]; if picture is 1, own_small [B, 3, R, R], own [B, 3, S, S] and shown [B, 1, S, S]; all FP32.
// Then the maps in the frame, shaped as they are.
// The library must have been built for a model with place and this R; the batch may vary.
class AlignSource final : public Op {
public:
    static constexpr OpKind kKind = {"AlignSource", 2, {{"maps", 1, kMostMaps, false, 0}, {"picture", 0, 1, true, 0}}};

    explicit AlignSource(int32_t const* values) noexcept : Op(values, 2) {}

    OpKind const& kind() const noexcept override { return kKind; }
    Op* clone() const noexcept override;
    int outputs() const noexcept override { return first_sampled() + maps(); }
    bool takes_shapes(Shape const* shapes, int count) const noexcept override;
    void output_shapes(Shape const* shapes, int count, OutputShape* outputs) const noexcept override;
    std::size_t workspace_bytes(Shape const* shapes, int count) const noexcept override;
    int prepare(Shape const* shapes, int count) noexcept override;
    int enqueue(Run const& run) noexcept override;

private:
    bool is_data(int position, int inputs) const noexcept override;
    bool takes_inputs(int count) const noexcept override;
    int maps() const noexcept { return value(0); }
    bool picture() const noexcept { return value(1) != 0; }
    // Of the inputs, and of the outputs.
    int first_map() const noexcept { return picture() ? 7 : 5; }
    int first_sampled() const noexcept { return picture() ? 4 : 1; }
    // Says it if a map has not the shape of one.
    bool takes_map(int input, Shape const& map, int64_t batch, int64_t render_size, int64_t image_size) const noexcept;
    // The one for these inputs; nullptr, after saying why, if there is none.
    Aligner const* aligner_for(Shape const* shapes) const noexcept;

    Aligner const* aligner_ = nullptr;
};

}  // namespace hidenerf
