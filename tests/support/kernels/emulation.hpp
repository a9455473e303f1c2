// CUDA's words for a C++ compiler without CUDA: a block's threads are fibers on one thread, switched at barriers, warp
// shuffles, votes and matrix products. Included before a kernel's header. No races are found this way, only arithmetic.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct Index3 {
    int x, y, z;
};
struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned int x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }

static Index3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr int kStack = 256 * 1024;
constexpr int kWords = 16;

struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false;
    bool at_block_barrier = false;
    int collectives = 0;
    unsigned int words[2][kWords];
};

inline std::vector<Thread> threads;
inline ucontext_t scheduler;
inline int running;
inline std::function<void()> body;

inline void yield() { swapcontext(&threads[running].context, &scheduler); }

inline void enter() {
    body();
    threads[running].done = true;
    yield();
}

// Every lane of the warp gives `count` words; returns once all have, with a way to read any lane's words. Two sets of
// words are used in turn, so a lane that has gone on cannot overwrite what another has still to read.
inline int exchange(const unsigned int* words, int count) {
    Thread& self = threads[running];
    const int turn = self.collectives++ & 1, expected = self.collectives, first = running & ~31;
    std::copy(words, words + count, self.words[turn]);
    for (;;) {
        bool all = true;
        for (int lane = 0; lane < 32; ++lane) {
            if (threads[first + lane].done && threads[first + lane].collectives < expected) {
                std::fprintf(stderr, "a lane left before a warp-wide operation\n");
                std::abort();
            }
            all = all && threads[first + lane].collectives >= expected;
        }
        if (all) return turn;
        yield();
    }
}

inline unsigned int word_of(int lane, int turn, int index) { return threads[(running & ~31) + lane].words[turn][index]; }

inline void launch(Index3 grid, int block, const std::function<void()>& kernel) {
    gridDim = grid;
    blockDim = {block, 1, 1};
    body = kernel;
    threads.resize(block);
    for (int z = 0; z < grid.z; ++z)
        for (int y = 0; y < grid.y; ++y)
            for (int x = 0; x < grid.x; ++x) {
                for (Thread& thread : threads) {
                    thread.stack.resize(kStack);
                    thread.done = thread.at_block_barrier = false;
                    thread.collectives = 0;
                    getcontext(&thread.context);
                    thread.context.uc_stack.ss_sp = thread.stack.data();
                    thread.context.uc_stack.ss_size = kStack;
                    thread.context.uc_link = nullptr;
                    makecontext(&thread.context, enter, 0);
                }
                for (bool alive = true; alive;) {
                    alive = false;
                    bool all_wait = true;
                    for (running = 0; running < block; ++running) {
                        Thread& thread = threads[running];
                        if (thread.done) continue;
                        alive = true;
                        if (thread.at_block_barrier) continue;
                        threadIdx = {running, 0, 0};
                        blockIdx = {x, y, z};
                        swapcontext(&scheduler, &thread.context);
                        all_wait = all_wait && (thread.at_block_barrier || thread.done);
                    }
                    if (all_wait)
                        for (Thread& thread : threads) thread.at_block_barrier = false;
                }
            }
}

// Launches a kernel whose arguments are given as to the driver: an array of their addresses.
template <class... Types, std::size_t... Places>
void launch_kernel(Index3 grid, int block, void (*kernel)(Types...), void** arguments, std::index_sequence<Places...>) {
    launch(grid, block, [&] { kernel(*(Types*)arguments[Places]...); });
}

template <class... Types>
void launch_kernel(Index3 grid, int block, void (*kernel)(Types...), void** arguments) {
    launch_kernel(grid, block, kernel, arguments, std::index_sequence_for<Types...>());
}

}  // namespace emulation

inline void __syncthreads() {
    emulation::threads[emulation::running].at_block_barrier = true;
    emulation::yield();
}

inline float __shfl_sync(unsigned int, float value, int lane) {
    unsigned int word;
    std::memcpy(&word, &value, 4);
    const int turn = emulation::exchange(&word, 1);
    word = emulation::word_of(lane & 31, turn, 0);
    std::memcpy(&value, &word, 4);
    return value;
}

inline float __shfl_xor_sync(unsigned int mask, float value, int bits) {
    return __shfl_sync(mask, value, (emulation::running & 31) ^ bits);
}

inline bool __any_sync(unsigned int, bool value) {
    const unsigned int word = value;
    const int turn = emulation::exchange(&word, 1);
    for (int lane = 0; lane < 32; ++lane)
        if (emulation::word_of(lane, turn, 0)) return true;
    return false;
}

inline bool __all_sync(unsigned int mask, bool value) { return !__any_sync(mask, !value); }

template <class T>
inline T __ldg(const T* from) {
    return *from;
}

inline void atomicOr(int* word, int bits) { *word |= bits; }

template <class T>
inline T atomicMax(T* word, T value) {
    const T old = *word;
    *word = std::max(old, value);
    return old;
}

namespace hidenerf {

inline float low_half(unsigned int pair);
inline float high_half(unsigned int pair);

// mma.cuh's product, element by element from its description of who holds what.
inline void emulated_multiply_add(float d[4], const unsigned int a[4], unsigned int b0, unsigned int b1) {
    const unsigned int words[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const int turn = emulation::exchange(words, 6), lane = emulation::running & 31;
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (int k = 0; k < 16; ++k) {
            const int quad = k % 8 / 2, part = k / 8;
            const unsigned int x = emulation::word_of(4 * (row % 8) + quad, turn, 2 * part + row / 8);
            const unsigned int y = emulation::word_of(4 * column + quad, turn, 4 + part);
            d[i] += (k % 2 ? high_half(x) * high_half(y) : low_half(x) * low_half(y));
        }
    }
}

// shared_tiles.cuh's operand A, from its description of which lane names which row.
inline void emulated_load_rows(unsigned int a[4], const char* row) {
    unsigned int words[2];
    std::memcpy(words, &row, 8);
    const int turn = emulation::exchange(words, 2), lane = emulation::running & 31;
    for (int matrix = 0; matrix < 4; ++matrix) {
        const unsigned int address[2] = {emulation::word_of(8 * matrix + lane / 4, turn, 0),
                                         emulation::word_of(8 * matrix + lane / 4, turn, 1)};
        const char* from;
        std::memcpy(&from, address, 8);
        std::memcpy(&a[matrix], from + lane % 4 * 4, 4);
    }
}

}  // namespace hidenerf
