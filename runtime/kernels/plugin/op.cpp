#include "op.hpp"

#include <cstdio>

#include "launches.hpp"
#include "messages.hpp"

namespace hidenerf {

namespace {

char const* type_name(Type type) noexcept {
    switch (type) {
        case Type::kFp32: return "FP32";
        case Type::kFp16: return "FP16";
        case Type::kInt8: return "INT8";
        case Type::kBf16: return "BF16";
        case Type::kFp8: return "FP8";
        case Type::kOther: break;
    }
    return "another type";
}

}  // namespace

ShapeText::ShapeText(Shape const& shape) noexcept {
    int used = std::snprintf(text, sizeof text, "[");
    for (int i = 0; i < shape.rank; ++i) {
        char const* comma = i == 0 ? "" : ", ";
        char* at = text + used;
        const std::size_t left = sizeof text - std::size_t(used);
        used += shape.sizes[i] < 0
                    ? std::snprintf(at, left, "%s?", comma)
                    : std::snprintf(at, left, "%s%lld", comma, static_cast<long long>(shape.sizes[i]));
        if (used > int(sizeof text) - 24) break;
    }
    std::snprintf(text + used, sizeof text - std::size_t(used), "]");
}

OutputShape same_as(int input, Shape const& shape) noexcept {
    OutputShape same;
    same.rank = shape.rank;
    for (int i = 0; i < shape.rank; ++i) same.sizes[i] = {input, i, 0};
    return same;
}

Op::Op(int32_t const* values, int count) noexcept {
    for (int i = 0; i < count; ++i) values_[i] = values[i];
}

int Op::checked(char const* doing, int status) const noexcept {
    if (status != 0) complain("%s: CUDA fails while %s: %s", name(), doing, status_text(status));
    return status;
}

bool Op::has_rank(int input, Shape const& shape, int rank) const noexcept {
    if (shape.rank != rank) complain("%s: input %d has %d dimensions, not %d", name(), input, shape.rank, rank);
    return shape.rank == rank;
}

bool Op::has_shape(int input, Shape const& shape, Shape const& wanted) const noexcept {
    bool fits = shape.rank == wanted.rank;
    for (int i = 0; fits && i < wanted.rank; ++i)
        fits = wanted.sizes[i] < 0 || shape.sizes[i] == wanted.sizes[i];
    if (!fits)
        complain("%s: input %d has shape %s, not %s", name(), input, ShapeText(shape).text, ShapeText(wanted).text);
    return fits;
}

bool Op::takes_counts(int inputs, int outputs) const noexcept {
    if (inputs > kMostInputs) {
        complain("%s: has %d inputs, and this plugin takes up to %d", name(), inputs, kMostInputs);
        return false;
    }
    if (outputs != this->outputs()) {
        complain("%s: has %d outputs, not %d", name(), outputs, this->outputs());
        return false;
    }
    return takes_inputs(inputs);
}

int Op::first_data(int inputs) const noexcept {
    int first = 0;
    while (!is_data(first, inputs)) ++first;
    return first;
}

bool Op::takes_type(int position, int inputs, Type type, Type data) const noexcept {
    if (!is_data(position, inputs)) return type == Type::kFp32;
    return type == data && (data == Type::kFp32 || data == Type::kFp16);
}

bool Op::output_types(Type const* inputs, int count, Type* outputs) const noexcept {
    const Type data = inputs[first_data(count)];
    for (int i = 0; i < count; ++i) {
        if (takes_type(i, count, inputs[i], data)) continue;
        complain("%s: input %d is %s; coordinates are FP32, and all other inputs FP32 or all FP16", name(), i,
                 type_name(inputs[i]));
        return false;
    }
    for (int i = 0; i < this->outputs(); ++i) outputs[i] = output_type(i, count, data);
    return true;
}

Type Op::output_type(int output, int inputs, Type data) const noexcept {
    return is_data(inputs + output, inputs) ? data : Type::kFp32;
}

}  // namespace hidenerf
