// All that TensorRT 8.6 spells otherwise than 10.1 and newer, and 11. Nothing else here asks for the version.
#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace sample {

// Of the library that is loaded, such as "10.12.0".
inline std::string tensorrt_version() {
    const int number = getInferLibVersion();
    // 8.6.1 is 8601, 10.12.0 is 101200.
    const int of_major = NV_TENSORRT_MAJOR < 10 ? 1000 : 10000;
    return std::to_string(number / of_major) + "." + std::to_string(number % of_major / 100) + "." +
           std::to_string(number % 100);
}

// Bytes of working memory that a context needs.
inline std::size_t working_bytes(nvinfer1::ICudaEngine const& engine) {
#if NV_TENSORRT_MAJOR < 10
    return engine.getDeviceMemorySize();
#else
    return static_cast<std::size_t>(engine.getDeviceMemorySizeV2());
#endif
}

// A context without working memory; null where TensorRT fails.
inline std::unique_ptr<nvinfer1::IExecutionContext> make_context(nvinfer1::ICudaEngine& engine) {
#if NV_TENSORRT_MAJOR < 10
    return std::unique_ptr<nvinfer1::IExecutionContext>(engine.createExecutionContextWithoutDeviceMemory());
#else
    return std::unique_ptr<nvinfer1::IExecutionContext>(
        engine.createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
#endif
}

inline void give_memory(nvinfer1::IExecutionContext& context, void* memory, std::size_t bytes) {
#if NV_TENSORRT_MAJOR < 10
    static_cast<void>(bytes);
    context.setDeviceMemory(memory);
#else
    context.setDeviceMemoryV2(memory, static_cast<std::int64_t>(bytes));
#endif
}

}  // namespace sample
