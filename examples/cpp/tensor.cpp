#include "tensor.hpp"

namespace sample {
namespace {

std::size_t size_of(Type type) {
    switch (type) {
        case Type::kFp32: return 4;
        case Type::kFp16: return 2;
        case Type::kUint8: return 1;
    }
    return 0;
}

char const* name_of(Type type) {
    switch (type) {
        case Type::kFp32: return "FP32";
        case Type::kFp16: return "FP16";
        case Type::kUint8: return "UINT8";
    }
    return "";
}

}  // namespace

std::size_t TensorSpec::bytes() const {
    std::size_t count = size_of(type);
    for (std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    return count;
}

std::string TensorSpec::text() const {
    std::string sizes;
    for (std::int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
    return std::string(name_of(type)) + " [" + sizes + "]";
}

}  // namespace sample
