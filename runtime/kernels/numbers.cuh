// Number formats and elementary functions. Everything here also compiles for the host, where tests check it.
#ifndef HIDENERF_NUMBERS_CUH
#define HIDENERF_NUMBERS_CUH

#ifdef __CUDACC__
#define HIDENERF_INLINE __host__ __device__ __forceinline__
#else
#define HIDENERF_INLINE inline
#endif

#if !defined(__CUDACC_RTC__)
#include <cmath>
#include <cstring>
#endif

namespace hidenerf {

constexpr float kLargest = 3.4028234663852886e38f;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kPi = 3.14159265358979f;

HIDENERF_INLINE unsigned int float_bits(float value) {
#ifdef __CUDA_ARCH__
    return __float_as_uint(value);
#else
    unsigned int bits;
    memcpy(&bits, &value, 4);
    return bits;
#endif
}

HIDENERF_INLINE float float_from_bits(unsigned int bits) {
#ifdef __CUDA_ARCH__
    return __uint_as_float(bits);
#else
    float value;
    memcpy(&value, &bits, 4);
    return value;
#endif
}

HIDENERF_INLINE bool is_finite(float value) { return fabsf(value) <= kLargest; }

// The low half of `pair` as FP32.
HIDENERF_INLINE float low_half(unsigned int pair) {
#ifdef __CUDA_ARCH__
    float value;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(value) : "r"(pair));
    return value;
#else
    const unsigned int exponent = (pair >> 10) & 31u, mantissa = pair & 1023u;
    const float sign = (pair & 0x8000u) ? -1.0f : 1.0f;
    if (exponent == 0) return sign * float(mantissa) * 5.9604644775390625e-8f;
    return float_from_bits(((pair & 0x8000u) << 16) | ((exponent == 31 ? 255u : exponent + 112u) << 23) | (mantissa << 13));
#endif
}

HIDENERF_INLINE float high_half(unsigned int pair) {
#ifdef __CUDA_ARCH__
    float value;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high; }" : "=f"(value) : "r"(pair));
    return value;
#else
    return low_half(pair >> 16);
#endif
}

// A number of a tensor, FP32 or the bits of FP16, as FP32.
HIDENERF_INLINE float as_float(float number) { return number; }
HIDENERF_INLINE float as_float(unsigned short number) { return low_half(number); }

// FP32 → FP16 bits, to nearest even.
HIDENERF_INLINE unsigned short half_bits(float value) {
#ifdef __CUDA_ARCH__
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    const unsigned int bits = float_bits(value), sign = (bits >> 16) & 0x8000u;
    const float size = fabsf(value);
    if (!(size == size)) return (unsigned short)(sign | 0x7e00u);
    if (size >= 65520.0f) return (unsigned short)(sign | 0x7c00u);
    if (size < 6.103515625e-5f) return (unsigned short)(sign | (unsigned int)nearbyintf(size * 16777216.0f));
    unsigned int rounded = float_bits(size) - (112u << 23);
    rounded += 0xfffu + ((rounded >> 13) & 1u);
    return (unsigned short)(sign | (rounded >> 13));
#endif
}

// Two FP32 → FP16 pair, `low` in the low half.
HIDENERF_INLINE unsigned int pack_halves(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    unsigned int pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return (unsigned int)half_bits(low) | ((unsigned int)half_bits(high) << 16);
#endif
}

// The same of max(0, ·).
HIDENERF_INLINE unsigned int pack_halves_relu(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    unsigned int pair;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return pack_halves(fmaxf(low, 0.0f), fmaxf(high, 0.0f));
#endif
}

HIDENERF_INLINE float exp2_fast(float x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

HIDENERF_INLINE float log2_fast(float x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return log2f(x);
#endif
}

HIDENERF_INLINE float reciprocal_fast(float x) {
#ifdef __CUDA_ARCH__
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

HIDENERF_INLINE float sigmoid(float x) { return reciprocal_fast(1.0f + exp2_fast(-kLog2E * x)); }

// Error below 1e-6.
HIDENERF_INLINE float tanh_fast(float x) { return 1.0f - 2.0f * reciprocal_fast(1.0f + exp2_fast(2.0f * kLog2E * x)); }

// ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|): no overflow at either end.
HIDENERF_INLINE float softplus(float x) {
    return fmaxf(x, 0.0f) + log2_fast(1.0f + exp2_fast(-kLog2E * fabsf(x))) * (1.0f / kLog2E);
}

// Error below 2^-20 for |x| ≤ 1; five doublings of the angle leave it below FP16's rounding.
HIDENERF_INLINE void sine_cosine_of_pi(float x, float& sine, float& cosine) {
    const float angle = kPi * x;
#ifdef __CUDA_ARCH__
    asm("sin.approx.ftz.f32 %0, %1;" : "=f"(sine) : "f"(angle));
    asm("cos.approx.ftz.f32 %0, %1;" : "=f"(cosine) : "f"(angle));
#else
    sine = sinf(angle);
    cosine = cosf(angle);
#endif
}

}  // namespace hidenerf

#endif
