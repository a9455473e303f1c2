#pragma once

#include "launches.hpp"
#include "op.hpp"

namespace hidenerf {

// AlignSource: place [B, 3, R, R], alpha [B, 1, R, R], rendered [B, K, R, R], projection [B, 3, 4], surface
// [B, 4, R, R], face_sight [B, 4, S, S]; if the field picture is 1, pixels [B, 3, S, S] and their means [B, 3, R, R]; absent, as many
// numbers as all maps have channels; all FP32. Then as many maps [B, C, h, h] as the field maps says, h being R/4 or
// twice that, and so on up to S.
// → stem_input [B, a multiple of 8, R, R]; if picture is 1, detail_input [B, 4, s, s], and FP32 own [B, 3, S, S] and
// shown [B, 1, S, S]; if the field enlarged is 1, enlarger_input [B, 16, S/2, S/2], and s is S/2, not S. Then the maps in
// the frame, shaped as they are.
// The library must have been built for a model with place and this R; the batch may vary.
class AlignSource final : public Op {
public:
    static constexpr OpKind kKind = {
        "AlignSource", 3, {{"maps", 1, kMostMaps, false, 0}, {"picture", 0, 1, true, 0}, {"enlarged", 0, 1, true, 0}}};

    explicit AlignSource(int32_t const* values) noexcept : Op(values, 3) {}

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
    bool enlarged() const noexcept { return value(2) != 0; }
    // Of the inputs, and of the outputs.
    int first_map() const noexcept { return absent() + 1; }
    int first_sampled() const noexcept { return 1 + (picture() ? 3 : 0) + (enlarged() ? 1 : 0); }
    // Of the inputs.
    int absent() const noexcept { return picture() ? 8 : 6; }
    // Says it if a map has not the shape of one.
    bool takes_map(int input, Shape const& map, int64_t batch, int64_t render_size, int64_t image_size) const noexcept;
    // The one for these inputs; nullptr, after saying why, if there is none.
    Aligner const* aligner_for(Shape const* shapes) const noexcept;

    Aligner const* aligner_ = nullptr;
};

}  // namespace hidenerf
