// The CUDA runtime's words that launches.cu uses, for a C++ compiler without CUDA: device memory is the host's, and a
// launch is over when it returns.
#pragma once

#include "../../kernels/emulation.hpp"

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0 };

struct dim3 {
    unsigned int x, y, z;
    dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    cudaStream_t stream;
};

struct cudaFuncAttributes {};

template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel*) {
    return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* at, int value, std::size_t bytes, cudaStream_t) {
    std::memset(at, value, bytes);
    return cudaSuccess;
}

inline char const* cudaGetErrorString(cudaError_t) { return "no error"; }

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
    const dim3& grid = config->gridDim;
    emulation::launch({int(grid.x), int(grid.y), int(grid.z)}, int(config->blockDim.x),
                      [&] { kernel(Parameters(arguments)...); });
    return cudaSuccess;
}
