// What is used of CUDA, owned by objects that free it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

namespace sample {

// Errors: what CUDA reports, as one sentence.
void check(cudaError_t status);

// Takes the first GPU. Returns its compute capability as a number, 87 for 8.7. Errors: there is no usable GPU.
int open_gpu();

struct Free {
    void operator()(void* memory) const noexcept { cudaFree(memory); }
};
struct FreeHost {
    void operator()(void* memory) const noexcept { cudaFreeHost(memory); }
};
struct DestroyStream {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
    void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
struct DestroyGraph {
    void operator()(cudaGraph_t graph) const noexcept { cudaGraphDestroy(graph); }
};
struct DestroyGraphExec {
    void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
};

using DeviceMemory = std::unique_ptr<void, Free>;
// Page-locked, which copies asynchronously.
using HostMemory = std::unique_ptr<void, FreeHost>;
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;
using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraphExec>;

DeviceMemory allocate(std::size_t bytes);
HostMemory allocate_host(std::size_t bytes);
Stream make_stream();
Event make_event();

// Captures what `work` enqueues on `stream`, without running it, as one CUDA graph. `work` has run before, so that
// nothing is left to allocate or to load.
template <typename Work>
GraphExec capture(cudaStream_t stream, Work work) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
        work();
    } catch (...) {
        cudaStreamEndCapture(stream, &graph);
        if (graph != nullptr) cudaGraphDestroy(graph);
        throw;
    }
    check(cudaStreamEndCapture(stream, &graph));
    const std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, DestroyGraph> captured(graph);
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiateWithFlags(&executable, graph, 0));
    return GraphExec(executable);
}

}  // namespace sample
