#pragma once

#include "launches.hpp"
#include "op.hpp"

namespace hidenerf {

// TriplaneRender: deformation FP32 [B, 3N, R, R], camera FP32 [B, 25], planes per level [B, 3, C, r_l, r_l], weight_1
// [W, L·C + 6·octaves], bias_1 [W], weight_2 [K + 1, W], bias_2 [K + 1] → rendered FP32 [B, K, R, R], alpha FP32
// [B, 1, R, R] and, if the field place is 1, place FP32 [B, 3, R, R]. Sizes must be ones that the library was built
// for; the batch may vary.
class TriplaneRender final : public Op {
public:
    static constexpr OpKind kKind = {
        "TriplaneRender", 2, {{"octaves", 1, 16, false, 0}, {"place", 0, 1, true, 0}}};

    explicit TriplaneRender(int32_t const* values) noexcept : Op(values, 2) {}

    OpKind const& kind() const noexcept override { return kKind; }
    Op* clone() const noexcept override;
    int outputs() const noexcept override { return 2 + value(1); }
    bool takes_shapes(Shape const* shapes, int count) const noexcept override;
    void output_shapes(Shape const* shapes, int count, OutputShape* outputs) const noexcept override;
    std::size_t workspace_bytes(Shape const* shapes, int count) const noexcept override;
    int prepare(Shape const* shapes, int count) noexcept override;
    int enqueue(Run const& run) noexcept override;

private:
    bool is_data(int position, int inputs) const noexcept override;
    bool takes_inputs(int count) const noexcept override;
    // The one for these inputs; nullptr, after saying why, if there is none.
    Renderer const* renderer_for(Shape const* shapes, int count) const noexcept;

    Renderer const* renderer_ = nullptr;
};

}  // namespace hidenerf
