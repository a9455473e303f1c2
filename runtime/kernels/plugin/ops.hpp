// The ops by name, and how one is made of a node's fields.
#pragma once

#include "op.hpp"

namespace hidenerf {

constexpr int kOps = 4;

OpKind const& op_kind(int index) noexcept;

// A field as TensorRT gives it; value: nullptr unless it is one 32-bit integer.
struct GivenField {
    char const* name;
    int32_t const* value;
};

// nullptr after saying what is wrong with the fields.
Op* make_op(int index, GivenField const* given, int count) noexcept;

}  // namespace hidenerf
