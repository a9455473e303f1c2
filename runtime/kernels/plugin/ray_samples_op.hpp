#pragma once

#include "op.hpp"

namespace hidenerf {

// RaySamples: camera FP32 [B, 25], features [B, K, R, R] → points [B, 3N, R, R], looked_up [B, K·N/stride, R, R]; N is
// the field samples, and the field stride divides it. The batch may vary.
class RaySamples final : public Op {
public:
    static constexpr OpKind kKind = {
        "RaySamples", 2, {{"samples", 1, 1024, false, 0}, {"stride", 1, 1024, false, 0}}};

    explicit RaySamples(int32_t const* values) noexcept : Op(values, 2) {}

    OpKind const& kind() const noexcept override { return kKind; }
    Op* clone() const noexcept override;
    int outputs() const noexcept override { return 2; }
    bool takes_shapes(Shape const* shapes, int count) const noexcept override;
    void output_shapes(Shape const* shapes, int count, OutputShape* outputs) const noexcept override;
    std::size_t workspace_bytes(Shape const*, int) const noexcept override { return 0; }
    int prepare(Shape const* shapes, int count) noexcept override;
    int enqueue(Run const& run) noexcept override;

private:
    bool is_data(int position, int inputs) const noexcept override;
    bool takes_inputs(int count) const noexcept override;
    int samples() const noexcept { return value(0); }
    int stride() const noexcept { return value(1); }
};

}  // namespace hidenerf
