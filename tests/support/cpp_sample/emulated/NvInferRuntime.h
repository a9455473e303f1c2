// In place of TensorRT's runtime, spelt as NV_TENSORRT_MAJOR says: a plan is text, with a line for each tensor, "in" or
// "out", name, type and sizes, and perhaps "needs-plugin" or "fails". An engine's outputs are a checksum of its inputs,
// which tests/support/cpp_sample/build.py computes too.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#ifndef NV_TENSORRT_MAJOR
#define NV_TENSORRT_MAJOR 10
#endif

inline int getInferLibVersion() { return NV_TENSORRT_MAJOR < 10 ? 8602 : 101200; }

namespace nvinfer1 {

enum class DataType { kFLOAT, kHALF, kUINT8, kINT32 };
enum class TensorIOMode { kNONE, kINPUT, kOUTPUT };
enum class ExecutionContextAllocationStrategy { kSTATIC, kUSER_MANAGED };

struct Dims {
    std::int32_t nbDims = 0;
    std::int64_t d[8] = {};
};

class ILogger {
public:
    enum class Severity { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
    virtual void log(Severity severity, char const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

struct HostTensor {
    std::string name;
    bool input = false;
    DataType type = DataType::kFLOAT;
    Dims sizes;

    std::size_t elements() const {
        std::size_t count = 1;
        for (int i = 0; i < sizes.nbDims; ++i) count *= static_cast<std::size_t>(sizes.d[i]);
        return count;
    }
    std::size_t bytes() const { return elements() * (type == DataType::kHALF ? 2 : type == DataType::kUINT8 ? 1 : 4); }
};

class IExecutionContext {
public:
    IExecutionContext(std::vector<HostTensor> tensors, ILogger& logger, bool fails)
        : tensors_(std::move(tensors)), logger_(logger), fails_(fails) {}

#if NV_TENSORRT_MAJOR < 10
    void setDeviceMemory(void* memory) noexcept { memory_ = memory; }
#else
    void setDeviceMemoryV2(void* memory, std::int64_t) noexcept { memory_ = memory; }
#endif
    bool setTensorAddress(char const* tensor, void* address) noexcept {
        addresses_[tensor] = address;
        return true;
    }
    bool enqueueV3(cudaStream_t) noexcept {
        if (fails_ || memory_ == nullptr || addresses_.size() != tensors_.size()) {
            logger_.log(ILogger::Severity::kERROR, "an illegal\naddress");
            return false;
        }
        return host_gpu::enqueue([this] { run(); }) == cudaSuccess;
    }

private:
    void run() const {
        std::uint32_t sum = 2166136261u;
        for (HostTensor const& tensor : tensors_) {
            if (!tensor.input) continue;
            auto const* bytes = static_cast<std::uint8_t const*>(addresses_.at(tensor.name));
            for (std::size_t i = 0; i < tensor.bytes(); ++i) sum = (sum ^ bytes[i]) * 16777619u;
        }
        for (HostTensor const& tensor : tensors_) {
            if (tensor.input) continue;
            for (char letter : tensor.name) sum = (sum ^ static_cast<std::uint8_t>(letter)) * 16777619u;
            for (std::size_t i = 0; i < tensor.elements(); ++i) {
                void* const to = addresses_.at(tensor.name);
                const auto value = static_cast<std::uint8_t>(sum + 31 * i);
                if (tensor.type == DataType::kUINT8) static_cast<std::uint8_t*>(to)[i] = value;
                if (tensor.type == DataType::kHALF) static_cast<std::uint16_t*>(to)[i] = value;
                if (tensor.type == DataType::kFLOAT) static_cast<float*>(to)[i] = static_cast<float>(value) / 255.0f;
            }
        }
    }

    std::vector<HostTensor> tensors_;
    ILogger& logger_;
    bool fails_;
    void* memory_ = nullptr;
    std::map<std::string, void*> addresses_;
};

class ICudaEngine {
public:
    ICudaEngine(std::vector<HostTensor> tensors, ILogger& logger, bool fails)
        : tensors_(std::move(tensors)), logger_(logger), fails_(fails) {}

    std::int32_t getNbIOTensors() const noexcept { return static_cast<std::int32_t>(tensors_.size()); }
    char const* getIOTensorName(std::int32_t index) const noexcept {
        return tensors_[static_cast<std::size_t>(index)].name.c_str();
    }
    DataType getTensorDataType(char const* tensor) const noexcept { return of(tensor).type; }
    Dims getTensorShape(char const* tensor) const noexcept { return of(tensor).sizes; }
    TensorIOMode getTensorIOMode(char const* tensor) const noexcept {
        return of(tensor).input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
#if NV_TENSORRT_MAJOR < 10
    std::size_t getDeviceMemorySize() const noexcept { return 64; }
    IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept {
        return new IExecutionContext(tensors_, logger_, fails_);
    }
#else
    std::int64_t getDeviceMemorySizeV2() const noexcept { return 64; }
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept {
        return new IExecutionContext(tensors_, logger_, fails_);
    }
#endif

private:
    HostTensor const& of(std::string const& name) const {
        for (HostTensor const& tensor : tensors_)
            if (tensor.name == name) return tensor;
        std::abort();
    }

    std::vector<HostTensor> tensors_;
    ILogger& logger_;
    bool fails_;
};

class IPluginRegistry {
public:
    void* loadLibrary(char const* path) noexcept {
        const std::string name(path);
        loaded = name.size() > 3 && name.compare(name.size() - 3, 3, ".so") == 0;
        return loaded ? this : nullptr;
    }
    bool loaded = false;
};

class IRuntime {
public:
    explicit IRuntime(ILogger& logger) : logger_(logger) {}

    void setEngineHostCodeAllowed(bool) noexcept {}
    IPluginRegistry& getPluginRegistry() noexcept { return registry_; }
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
        std::istringstream lines(std::string(static_cast<char const*>(blob), size));
        const std::map<std::string, DataType> types = {{"float32", DataType::kFLOAT},
                                                       {"float16", DataType::kHALF},
                                                       {"uint8", DataType::kUINT8},
                                                       {"int32", DataType::kINT32}};
        std::vector<HostTensor> tensors;
        bool fails = false;
        for (std::string line; std::getline(lines, line);) {
            std::istringstream words(line);
            std::string kind, type;
            HostTensor tensor;
            words >> kind >> tensor.name >> type;
            if (kind == "needs-plugin" && !registry_.loaded) return refuse("no creator of TriplaneRender");
            fails = fails || kind == "fails";
            if (kind == "needs-plugin" || kind == "fails") continue;
            if ((kind != "in" && kind != "out") || types.count(type) == 0) return refuse("not a plan");
            tensor.input = kind == "in";
            tensor.type = types.at(type);
            while (words >> tensor.sizes.d[tensor.sizes.nbDims]) ++tensor.sizes.nbDims;
            tensors.push_back(std::move(tensor));
        }
        return new ICudaEngine(std::move(tensors), logger_, fails);
    }

private:
    ICudaEngine* refuse(char const* why) noexcept {
        logger_.log(ILogger::Severity::kERROR, why);
        return nullptr;
    }

    ILogger& logger_;
    IPluginRegistry registry_;
};

inline IRuntime* createInferRuntime(ILogger& logger) noexcept { return new IRuntime(logger); }

}  // namespace nvinfer1
