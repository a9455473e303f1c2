// `Engine`: one plan with its context; tensors are bound by name.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "tensor.hpp"

namespace sample {

// Keeps TensorRT's first error since it was last cleared, for a sentence. TensorRT may call it from any thread.
class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, char const* message) noexcept override;
    void clear();
    // In one line.
    std::string reason();

private:
    std::mutex mutex_;
    std::string first_;
};

// The process's own: TensorRT keeps the first that it is given, to its end.
Logger& logger();

class Engine {
public:
    // name: of its graph. plugin: library that the plan needs and does not carry; empty if none.
    // Errors: a file that is missing, a plan of another version or GPU, a tensor that is not of fixed size.
    Engine(std::string name, std::filesystem::path const& plan, std::filesystem::path const& plugin);

    std::string const& name() const { return name_; }
    Specs const& inputs() const { return inputs_; }
    Specs const& outputs() const { return outputs_; }
    std::size_t working_bytes() const;

    // addresses: on the GPU, of every tensor by its name. memory: of `bytes`, at least `working_bytes()`.
    void bind(std::map<std::string, void*> const& addresses, void* memory, std::size_t bytes);
    // After `bind`.
    void enqueue(cudaStream_t stream);

private:
    [[noreturn]] void fail(std::string const& what) const;

    std::string name_;
    Specs inputs_, outputs_;
    // Each engine has a runtime of its own, because a runtime's registry takes a plugin once and refuses it afterwards.
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace sample
