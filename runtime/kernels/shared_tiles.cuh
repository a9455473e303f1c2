// Tiles of FP16 in shared memory: filled by asynchronous copies of 16 bytes, read as operands of `multiply_add`.
#ifndef HIDENERF_SHARED_TILES_CUH
#define HIDENERF_SHARED_TILES_CUH

#include "mma.cuh"

namespace hidenerf {

// The block's shared memory of `bytes` bytes, under `name`. A launch says its size.
#ifdef __CUDACC__
#define HIDENERF_SHARED(name, bytes) extern __shared__ __align__(16) char name[]
#else
#define HIDENERF_SHARED(name, bytes) alignas(16) static char name[bytes]
#endif

#ifdef __CUDA_ARCH__
__device__ __forceinline__ unsigned int shared_address(const void* at) {
    return (unsigned int)__cvta_generic_to_shared(at);
}
#endif

// 16 bytes of global memory → shared memory; zeros if not `there`, when `from` is not read. Before SM 80 it waits.
__device__ __forceinline__ void copy_16(char* to, const char* from, bool there) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
#else
    *(uint4*)to = there ? __ldg((const uint4*)from) : make_uint4(0, 0, 0, 0);
#endif
}

// Ends a group of copies. `wait_for_copies<n>` waits until at most the last n groups of this thread are under way.
__device__ __forceinline__ void end_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int Groups>
__device__ __forceinline__ void wait_for_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
#endif
}

// Operand A of `multiply_add`. row: where this lane's part of a row lies, 8 numbers; row lane % 16 of A, from column
// 8 · (lane / 16) on.
__device__ __forceinline__ void load_rows(unsigned int a[4], const char* row) {
#ifdef __CUDA_ARCH__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(shared_address(row))
                 : "memory");
#elif !defined(__CUDACC__)
    emulated_load_rows(a, row);
#endif
}

}  // namespace hidenerf

#endif
