// Types and shapes of tensors, as engines and .npy files have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sample {

enum class Type { kFp32, kFp16, kUint8 };

struct TensorSpec {
    Type type;
    std::vector<std::int64_t> shape;

    std::size_t bytes() const;
    // "FP16 [1, 32, 64, 64]"
    std::string text() const;
};

inline bool operator==(TensorSpec const& a, TensorSpec const& b) { return a.type == b.type && a.shape == b.shape; }
inline bool operator!=(TensorSpec const& a, TensorSpec const& b) { return !(a == b); }

// By the tensors' names.
using Specs = std::map<std::string, TensorSpec>;

// A tensor on the host, in C order.
struct Array {
    TensorSpec spec;
    std::vector<std::uint8_t> bytes;
};

using Arrays = std::map<std::string, Array>;

}  // namespace sample
