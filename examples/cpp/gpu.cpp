#include "gpu.hpp"

#include "error.hpp"

namespace sample {

void check(cudaError_t status) {
    if (status == cudaErrorMemoryAllocation) throw Error("The GPU's memory is full; close what else uses it.");
    if (status != cudaSuccess)
        throw Error(std::string("The GPU reports an error (") + cudaGetErrorString(status) + "); run again.");
}

int open_gpu() {
    int major = 0, minor = 0;
    cudaError_t status = cudaSetDevice(0);
    // Makes the GPU's context, which older versions of CUDA leave for later.
    if (status == cudaSuccess) status = cudaFree(nullptr);
    if (status == cudaSuccess) status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (status == cudaSuccess) status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (status != cudaSuccess)
        throw Error(std::string("No NVIDIA GPU is usable (") + cudaGetErrorString(status) +
                    "); run this on the machine that the engines were built on.");
    return 10 * major + minor;
}

DeviceMemory allocate(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes > 0 ? bytes : 1));
    return DeviceMemory(memory);
}

HostMemory allocate_host(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes > 0 ? bytes : 1));
    return HostMemory(memory);
}

Stream make_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return Stream(stream);
}

Event make_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return Event(event);
}

}  // namespace sample
