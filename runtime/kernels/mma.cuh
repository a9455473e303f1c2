// One warp's matrix product on tensor cores: D[16, 8] = A[16, 16] · B[16, 8] + D, FP16 inputs, FP32 accumulation.
//
// With quad = lane % 4 and group = lane / 4, a lane holds
//   A: rows group (a[0], a[2]) and group + 8 (a[1], a[3]), columns 2·quad + {0, 1} (a[0], a[1]), 8 more (a[2], a[3]);
//   B: rows 2·quad + {0, 1} (b[0]) and 8 more (b[1]), column group;
//   D: row group (d[0], d[1]) and group + 8 (d[2], d[3]), columns 2·quad + {0, 1}.
#ifndef HIDENERF_MMA_CUH
#define HIDENERF_MMA_CUH

#include "numbers.cuh"

namespace hidenerf {

__device__ __forceinline__ void multiply_add(float d[4], const unsigned int a[4], unsigned int b0, unsigned int b1) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#elif defined(__CUDA_ARCH__)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#elif !defined(__CUDACC__)
    emulated_multiply_add(d, a, b0, b1);
#endif
}

}  // namespace hidenerf

#endif
