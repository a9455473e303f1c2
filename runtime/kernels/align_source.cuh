// What a frame takes of its source (hidenerf.model.alignment and `in_frame` of hidenerf.model.refinement): where the
// source picture shows what the rays met, how surely, and the source's maps and picture sampled there. FP32 arithmetic;
// maps are FP16 or FP32. R: side of the rendered picture, S: of the frame.
#ifndef HIDENERF_ALIGN_SOURCE_CUH
#define HIDENERF_ALIGN_SOURCE_CUH

#include "bilinear.cuh"

namespace hidenerf {

// As in hidenerf.model.alignment.
constexpr float kTolerance = 0.08f, kSoftness = 0.03f, kLargestExcess = 0.5f;
constexpr float kLeastAlpha = 1e-3f, kLeastDepth = 1e-3f, kLeastWeight = 1e-6f;
constexpr int kSurface = 4;
constexpr int kBoxes = 3;
constexpr float kBoxFactor[kBoxes] = {0.05f, 0.005f, 0.0005f};

HIDENERF_INLINE float clamped(float value, float low, float high) { return fminf(fmaxf(value, low), high); }
HIDENERF_INLINE float centre_of(int pixel, int size) { return (float(pixel) + 0.5f) * (2.0f / float(size)) - 1.0f; }
HIDENERF_INLINE void store(float value, float* to) { *to = value; }
HIDENERF_INLINE void store(float value, unsigned short* to) { *to = half_bits(value); }

// Sum over the box of 2 · reach + 1 pixels around a pixel, divided by the box's area; beyond the picture there is 0.
HIDENERF_INLINE float box_mean(const float* values, int row, int column, int size, int reach) {
    const int top = row - reach < 0 ? 0 : row - reach, bottom = row + reach < size ? row + reach : size - 1;
    const int left = column - reach < 0 ? 0 : column - reach, right = column + reach < size ? column + reach : size - 1;
    float sum = 0.0f;
    for (int y = top; y <= bottom; ++y)
        for (int x = left; x <= right; ++x) sum += values[y * size + x];
    return sum / float((2 * reach + 1) * (2 * reach + 1));
}

// `continued`: values that are stored times their weights.
HIDENERF_INLINE float continued(const float* weighted, const float* weight, int pixel, int size, const int* reach) {
    float total = weighted[pixel], weights = weight[pixel];
    for (int i = 0; i < kBoxes; ++i) {
        total += kBoxFactor[i] * box_mean(weighted, pixel / size, pixel % size, size, reach[i]);
        weights += kBoxFactor[i] * box_mean(weight, pixel / size, pixel % size, size, reach[i]);
    }
    return total / (weights + kLeastWeight);
}

// place [3, R, R] and alpha [R, R] of a frame, projection [3, 4] → head times how far each point moved [2, R, R], head
// [R, R], depth [R, R]. A thread per pixel.
__device__ __forceinline__ void align_project(const float* place, const float* alpha, const float* projection,
                                              float* moved, float* head, float* depth, int size) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x, pixels = size * size;
    if (pixel >= pixels) return;
    float image[3];
    for (int k = 0; k < 3; ++k) {
        const float* row = projection + 4 * k;
        image[k] = row[0] * place[pixel] + row[1] * place[pixels + pixel] + row[2] * place[2 * pixels + pixel] +
                   row[3] * alpha[pixel];
    }
    const float inside = clamped(alpha[pixel], 0.0f, 1.0f), ahead = fmaxf(image[2], kLeastDepth);
    const float here[2] = {centre_of(pixel % size, size), centre_of(pixel / size, size)};
    for (int k = 0; k < 2; ++k)
        moved[k * pixels + pixel] = inside * (clamped(image[k] / ahead, -2.0f, 2.0f) - here[k]);
    head[pixel] = inside;
    depth[pixel] = image[2] / fmaxf(alpha[pixel], kLeastAlpha);
}

// → moved [2, R, R] continued, head times how surely each point is seen [R, R], and guides [1:4, R, R]. surface
// [4, R, R]: see `SourceView`. A thread per pixel.
__device__ __forceinline__ void align_see(const float* weighted, const float* head, const float* depth,
                                          const float* surface, float* moved, float* seen, float* guides, int size,
                                          const int* reach) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x, pixels = size * size;
    if (pixel >= pixels) return;
    float right = continued(weighted, head, pixel, size, reach);
    float down = continued(weighted + pixels, head, pixel, size, reach);
    // Bilinear, with zeros beyond the picture.
    const float x = (right + centre_of(pixel % size, size) + 1.0f) * 0.5f * float(size) - 0.5f;
    const float y = (down + centre_of(pixel / size, size) + 1.0f) * 0.5f * float(size) - 0.5f;
    const float left = floorf(x), top = floorf(y);
    float found[kSurface] = {};
    for (int corner = 0; corner < 4; ++corner) {
        const float column = left + float(corner & 1), row = top + float(corner >> 1);
        if (!(column >= 0.0f && column < float(size) && row >= 0.0f && row < float(size))) continue;
        const float weight = (1.0f - fabsf(x - column)) * (1.0f - fabsf(y - row));
        for (int k = 0; k < kSurface; ++k) found[k] += weight * surface[k * pixels + int(row) * size + int(column)];
    }
    moved[pixel] = right -= found[2];
    moved[pixels + pixel] = down -= found[3];
    const float excess = depth[pixel] - found[0], covered = found[1];
    const float facing = 1.0f / (1.0f + expf(-(kTolerance - excess) / kSoftness));
    seen[pixel] = head[pixel] * facing * clamped(2.0f * covered, 0.0f, 1.0f);
    const float far = clamped(excess, -kLargestExcess, kLargestExcess) / kLargestExcess;
    guides[pixels + pixel] = head[pixel] * clamped(covered, 0.0f, 1.0f) * far;
    guides[2 * pixels + pixel] = head[pixel] * right;
    guides[3 * pixels + pixel] = head[pixel] * down;
}

// → shown [R, R] and guides [0:1, R, R]. band: reach of the band beyond the head. A thread per pixel.
__device__ __forceinline__ void align_show(const float* seen, const float* head, float* shown, float* guides, int size,
                                           const int* reach, int band) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= size * size) return;
    const float near = clamped(4.0f * box_mean(head, pixel / size, pixel % size, size, band), 0.0f, 1.0f);
    guides[pixel] = shown[pixel] = near * continued(seen, head, pixel, size, reach);
}

// A position in a picture as its four neighbours and their weights.
struct Corners {
    int pixel[4];
    float weight[4];
};

// x, y: in pixels, pixel centres at whole numbers; beyond the picture the edge's values. size: at least 2.
HIDENERF_INLINE Corners corners_of(float x, float y, int size) {
    Corners at;
    float across, along;
    const int left = cell_of(clamp_to_line(x, size), size, across), top = cell_of(clamp_to_line(y, size), size, along);
    for (int i = 0; i < 4; ++i) at.pixel[i] = (top + (i >> 1)) * size + left + (i & 1);
    bilinear_weights(across, along, at.weight);
    return at;
}

template <class Number>
HIDENERF_INLINE float sample_at(const Number* map, const Corners& at) {
    float sum = 0.0f;
    for (int i = 0; i < 4; ++i) sum += at.weight[i] * as_float(map[at.pixel[i]]);
    return sum;
}

// Where a pixel of a picture of `size` pixels is sampled in one of the same size, see `Alignment.at`.
struct SourcePixel {
    Corners at;
    float shown;
};

// moved [2, R, R] and shown [R, R] at another size: bilinear where it is larger, means where it is smaller.
HIDENERF_INLINE SourcePixel source_pixel(const float* moved, const float* shown, int row, int column, int size,
                                         int render_size) {
    float found[3] = {0.0f, 0.0f, 0.0f};
    const int pixels = render_size * render_size;
    const float* fields[3] = {moved, moved + pixels, shown};
    if (size > render_size) {
        const float scale = float(render_size) / float(size);
        const float x = (float(column) + 0.5f) * scale - 0.5f, y = (float(row) + 0.5f) * scale - 0.5f;
        const Corners at = corners_of(x, y, render_size);
        for (int k = 0; k < 3; ++k) found[k] = sample_at(fields[k], at);
    } else {
        const int step = render_size / size;
        for (int k = 0; k < 3; ++k) {
            for (int y = row * step; y < (row + 1) * step; ++y)
                for (int x = column * step; x < (column + 1) * step; ++x) found[k] += fields[k][y * render_size + x];
            found[k] /= float(step * step);
        }
    }
    const float x = (found[0] + centre_of(column, size) + 1.0f) * 0.5f * float(size) - 0.5f;
    const float y = (found[1] + centre_of(row, size) + 1.0f) * 0.5f * float(size) - 0.5f;
    return {corners_of(x, y, size), found[2]};
}

// Some channels of a map of the source, and where their samples go.
struct MapPart {
    unsigned long long source, sampled;
    int channels, size;
};

// A block of threads: which part, and its first pixel.
struct MapBlock {
    int part, pixel;
};

// Maps [C, h, h] → in_frame(maps) [C, h, h], for all maps in one launch. A thread per pixel of a part.
template <class Number>
__device__ __forceinline__ void sample_maps(const MapPart* parts, const MapBlock* blocks, const float* moved,
                                            const float* shown, int render_size) {
    const MapBlock block = blocks[blockIdx.x];
    const MapPart part = parts[block.part];
    const int pixel = block.pixel + threadIdx.x, pixels = part.size * part.size;
    if (pixel >= pixels) return;
    const SourcePixel seen = source_pixel(moved, shown, pixel / part.size, pixel % part.size, part.size, render_size);
    const Number* source = (const Number*)part.source;
    Number* sampled = (Number*)part.sampled + pixel;
    for (int c = 0; c < part.channels; ++c) store(seen.shown * sample_at(source + c * pixels, seen.at), sampled + c * pixels);
}

// The source picture [3, S, S] and its means [3, R, R] → own [3, S, S] and shown [S, S] at its size, and own_small
// [3, R, R]: 2x - 1 times shown. A thread per pixel of both, the larger first.
__device__ __forceinline__ void sample_pictures(const float* picture, const float* small, const float* moved,
                                                const float* shown, float* own, float* own_shown, float* own_small,
                                                int size, int render_size) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    const int pixels = size * size, small_pixels = render_size * render_size;
    if (thread < pixels) {
        const SourcePixel seen = source_pixel(moved, shown, thread / size, thread % size, size, render_size);
        for (int c = 0; c < 3; ++c) own[c * pixels + thread] = sample_at(picture + c * pixels, seen.at);
        own_shown[thread] = seen.shown;
    } else if (thread < pixels + small_pixels) {
        const int pixel = thread - pixels;
        const int row = pixel / render_size, column = pixel % render_size;
        const SourcePixel seen = source_pixel(moved, shown, row, column, render_size, render_size);
        for (int c = 0; c < 3; ++c)
            own_small[c * small_pixels + pixel] =
                seen.shown * (2.0f * sample_at(small + c * small_pixels, seen.at) - 1.0f);
    }
}

}  // namespace hidenerf

#endif
