// In place of CUDA's runtime: device memory is the host's, and work runs when it is enqueued, or is recorded while a
// stream is captured. HIDENERF_HOST_GPU=none stands for a machine without a GPU, =full for a GPU without memory.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorNoDevice = 100, cudaErrorUnknown = 999 };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct HostStream {};
struct HostEvent {};
struct HostGraph {
    std::vector<std::function<void()>> work;
};
using cudaStream_t = HostStream*;
using cudaEvent_t = HostEvent*;
using cudaGraph_t = HostGraph*;
using cudaGraphExec_t = HostGraph*;

namespace host_gpu {

inline HostGraph* recording = nullptr;

inline bool is(char const* state) {
    char const* given = std::getenv("HIDENERF_HOST_GPU");
    return given != nullptr && std::strcmp(given, state) == 0;
}

inline cudaError_t enqueue(std::function<void()> work) {
    if (recording != nullptr)
        recording->work.push_back(std::move(work));
    else
        work();
    return cudaSuccess;
}

}  // namespace host_gpu

inline char const* cudaGetErrorString(cudaError_t status) {
    return status == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "unknown error";
}
inline cudaError_t cudaSetDevice(int) { return host_gpu::is("none") ? cudaErrorNoDevice : cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 8 : 7;
    return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    if (host_gpu::is("full") || host_gpu::recording != nullptr) return cudaErrorMemoryAllocation;
    *memory = std::malloc(bytes);
    return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    return host_gpu::enqueue([=] { std::memcpy(to, from, bytes); });
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new HostStream;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return host_gpu::recording == nullptr ? cudaSuccess : cudaErrorUnknown;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = new HostEvent;
    return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
    host_gpu::recording = new HostGraph;
    return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
    *graph = std::exchange(host_gpu::recording, nullptr);
    return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = new HostGraph(*graph);
    return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return cudaGraphDestroy(graph); }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
    for (auto const& work : graph->work) work();
    return cudaSuccess;
}
