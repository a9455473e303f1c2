#include "engine.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "error.hpp"
#include "tensorrt_versions.hpp"

namespace sample {
namespace {

constexpr char kBuildAgain[] = "build the engines again with: hidenerf-export BUNDLE --backend tensorrt";

std::vector<char> content_of(std::filesystem::path const& path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
    if (content.empty()) throw Error(path.string() + ": missing or empty; " + kBuildAgain);
    return content;
}

TensorSpec spec_of(nvinfer1::ICudaEngine const& engine, char const* tensor, std::string const& plan) {
    TensorSpec spec{};
    switch (engine.getTensorDataType(tensor)) {
        case nvinfer1::DataType::kFLOAT: spec.type = Type::kFp32; break;
        case nvinfer1::DataType::kHALF: spec.type = Type::kFp16; break;
        case nvinfer1::DataType::kUINT8: spec.type = Type::kUint8; break;
        default: throw Error(plan + ": the tensor " + tensor + " is not FP32, FP16 or UINT8; " + kBuildAgain);
    }
    const nvinfer1::Dims sizes = engine.getTensorShape(tensor);
    spec.shape.assign(sizes.d, sizes.d + std::max(sizes.nbDims, 0));
    if (std::any_of(spec.shape.begin(), spec.shape.end(), [](std::int64_t size) { return size < 0; }))
        throw Error(plan + ": the tensor " + tensor + " is not of fixed size; " + kBuildAgain);
    return spec;
}

}  // namespace

void Logger::log(Severity severity, char const* message) noexcept {
    if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
    try {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (first_.empty()) first_ = message;
    } catch (...) {
        // Without memory there is no reason.
    }
}

void Logger::clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    first_.clear();
}

std::string Logger::reason() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string line = first_.empty() ? "it gives no reason" : first_;
    std::replace(line.begin(), line.end(), '\n', ' ');
    return line;
}

Logger& logger() {
    // Never destroyed, since TensorRT may still use it when the process ends.
    static Logger* const one = new Logger;
    return *one;
}

Engine::Engine(std::string name, std::filesystem::path const& plan, std::filesystem::path const& plugin)
    : name_(std::move(name)) {
    const std::vector<char> content = content_of(plan);
    logger().clear();
    runtime_.reset(nvinfer1::createInferRuntime(logger()));
    if (runtime_ == nullptr) throw Error("TensorRT does not start (" + logger().reason() + ").");
    // A plan may carry the plugin's library, which is code: load only plans that you trust.
    runtime_->setEngineHostCodeAllowed(true);
    if (!plugin.empty() && runtime_->getPluginRegistry().loadLibrary(plugin.c_str()) == nullptr)
        throw Error(plugin.string() + ": TensorRT does not load this plugin (" + logger().reason() +
                    "); build it for this TensorRT as docs/plugin.md says.");
    engine_.reset(runtime_->deserializeCudaEngine(content.data(), content.size()));
    if (engine_ == nullptr)
        throw Error(plan.string() + ": TensorRT " + tensorrt_version() + " does not load it (" + logger().reason() +
                    "); " + kBuildAgain);
    for (int i = 0; i < engine_->getNbIOTensors(); ++i) {
        char const* tensor = engine_->getIOTensorName(i);
        const bool input = engine_->getTensorIOMode(tensor) == nvinfer1::TensorIOMode::kINPUT;
        (input ? inputs_ : outputs_).emplace(tensor, spec_of(*engine_, tensor, plan.string()));
    }
}

std::size_t Engine::working_bytes() const { return sample::working_bytes(*engine_); }

void Engine::bind(std::map<std::string, void*> const& addresses, void* memory, std::size_t bytes) {
    logger().clear();
    context_ = make_context(*engine_);
    if (context_ == nullptr) fail("makes no context");
    give_memory(*context_, memory, bytes);
    for (Specs const* tensors : {&inputs_, &outputs_})
        for (auto const& [tensor, spec] : *tensors)
            if (!context_->setTensorAddress(tensor.c_str(), addresses.at(tensor))) fail("refuses the tensor " + tensor);
}

void Engine::enqueue(cudaStream_t stream) {
    logger().clear();
    if (!context_->enqueueV3(stream)) fail("does not run");
}

void Engine::fail(std::string const& what) const {
    throw Error("The engine " + name_ + " " + what + " on this GPU (" + logger().reason() + "); " + kBuildAgain);
}

}  // namespace sample
