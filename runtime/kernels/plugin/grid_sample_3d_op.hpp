#pragma once

#include "op.hpp"

namespace hidenerf {

// GridSample3d: volume [B, C, D, H, W], grid FP32 [B, d, h, w, 3] → sampled [B, C, d, h, w]; no fields.
class GridSample3d final : public Op {
public:
    static constexpr OpKind kKind = {"GridSample3d", 0, {}};

    GridSample3d() noexcept : Op(nullptr, 0) {}

    OpKind const& kind() const noexcept override { return kKind; }
    Op* clone() const noexcept override;
    int outputs() const noexcept override { return 1; }
    bool takes_shapes(Shape const* shapes, int count) const noexcept override;
    void output_shapes(Shape const* shapes, int count, OutputShape* outputs) const noexcept override;
    std::size_t workspace_bytes(Shape const*, int) const noexcept override { return 0; }
    int prepare(Shape const* shapes, int count) noexcept override;
    int enqueue(Run const& run) noexcept override;

private:
    bool is_data(int position, int inputs) const noexcept override;
    bool takes_inputs(int count) const noexcept override;
};

}  // namespace hidenerf
