// What a frame takes of its source (hidenerf.model.alignment and `in_frame` of hidenerf.model.refinement): where the
// source picture shows what the rays met, how surely, and the source's maps and picture sampled there. FP32 arithmetic;
// maps are FP16 or FP32. R: side of the rendered picture, S: of the frame.
#ifndef HIDENERF_ALIGN_SOURCE_CUH
#define HIDENERF_ALIGN_SOURCE_CUH

#include "bilinear.cuh"

namespace hidenerf {

// Macros: RENDER_SIZE, REACH_1, REACH_2, REACH_3 of the boxes and BAND, all in pixels.
constexpr int kRender = RENDER_SIZE, kPixels = kRender * kRender;
// As in hidenerf.model.alignment.
constexpr float kTolerance = 0.08f, kSoftness = 0.03f, kLargestExcess = 0.5f;
constexpr float kLeastAlpha = 1e-3f, kLeastDepth = 1e-3f, kLeastWeight = 1e-6f;
constexpr int kSurface = 4, kFaceSight = 4;
// What a sight is mixed from: kMoved, kShown, kFace.
constexpr int kMixed = 3 + kFaceSight;
constexpr int kBoxes = 3, kBand = 3;
// Side of the smallest map.
constexpr int kSmallest = kRender / 4;

// FP32 pictures [R, R] that the steps pass on, each by its place in `scratch`; SCRATCH_PICTURES in all.
enum Picture {
    kWeighted = 0,     // head times how far each point moved, 2
    kHead = 2,         // alpha within [0, 1]
    kDepth = 3,        // of the points, before the source camera
    kRowSums = 4,      // of kWeighted and kHead along rows: 3 boxes each
    kBandSums = 13,    // of kHead, in the band
    kWeights = 14,     // by which `continued` divides
    kSeen = 15,        // head times how surely each point is seen
    kSeenSums = 16,    // of kSeen along rows: 3 boxes
    kMoved = 19,       // `Alignment.moved`, 2
    kShown = 21,       // `Alignment.shown`
    kFace = 22,        // means of the face sight, 4
    kPictures = 26
};

HIDENERF_INLINE float clamped(float value, float low, float high) { return fminf(fmaxf(value, low), high); }
HIDENERF_INLINE float centre_of(int pixel, int size) { return (float(pixel) + 0.5f) * (2.0f / float(size)) - 1.0f; }
HIDENERF_INLINE void store(float value, float* to) { *to = value; }
HIDENERF_INLINE void store(float value, unsigned short* to) { *to = half_bits(value); }

// Of a box, or of kBand.
HIDENERF_INLINE int reach_of(int box) { return box == 0 ? REACH_1 : box == 1 ? REACH_2 : box == 2 ? REACH_3 : BAND; }
HIDENERF_INLINE float factor_of(int box) { return box == 0 ? 0.05f : box == 1 ? 0.005f : 0.0005f; }

// Sum of the 2 · reach + 1 values around a place on a line of R values that are `stride` apart; beyond it there is 0.
HIDENERF_INLINE float line_sum(const float* line, int place, int stride, int reach) {
    const int first = place - reach < 0 ? 0 : place - reach;
    const int last = place + reach < kRender ? place + reach : kRender - 1;
    float sum = 0.0f;
    for (int i = first; i <= last; ++i) sum += line[i * stride];
    return sum;
}

// Mean over a box around a pixel, of sums along rows [R, R].
HIDENERF_INLINE float box_mean(const float* row_sums, int row, int column, int box) {
    const int reach = reach_of(box);
    return line_sum(row_sums + column, row, kRender, reach) / float((2 * reach + 1) * (2 * reach + 1));
}

// Numerator or denominator of `continued`. row_sums: [3, R, R], of the values' boxes.
HIDENERF_INLINE float with_boxes(float value, const float* row_sums, int row, int column) {
    for (int i = 0; i < kBoxes; ++i) value += factor_of(i) * box_mean(row_sums + i * kPixels, row, column, i);
    return value;
}

// Means over step × step pixels of pictures [count, size · step, size · step].
template <int count>
HIDENERF_INLINE void means_at(const float* pictures, int row, int column, int size, int step, float means[count]) {
    const int side = size * step;
    const float* first = pictures + (row * side + column) * step;
    for (int k = 0; k < count; ++k) means[k] = 0.0f;
    // Pictures innermost: their loads do not wait for each other.
    for (int y = 0; y < step; ++y)
        for (int x = 0; x < step; ++x)
            for (int k = 0; k < count; ++k) means[k] += first[(k * side + y) * side + x];
    for (int k = 0; k < count; ++k) means[k] /= float(step * step);
}

// place [3, R, R] and alpha [R, R] of a frame, projection [3, 4] → kWeighted, kHead, kDepth and the sums along their
// rows: a block per row. face_sight [4, S, S] → kFace: the blocks after these, a thread per mean.
__device__ __forceinline__ void align_project(const float* place, const float* alpha, const float* projection,
                                              const float* face_sight, float* scratch, int image_size) {
    if (blockIdx.x >= kRender) {
        const int mean = (blockIdx.x - kRender) * blockDim.x + threadIdx.x;
        const int channel = mean / kPixels, pixel = mean % kPixels;
        if (channel >= kFaceSight) return;
        float found[1];
        means_at<1>(face_sight + channel * image_size * image_size, pixel / kRender, pixel % kRender, kRender,
                    image_size / kRender, found);
        scratch[kFace * kPixels + mean] = found[0];
        return;
    }
    __shared__ float fields[3][kRender];
    const int row = blockIdx.x;
    for (int column = threadIdx.x; column < kRender; column += blockDim.x) {
        const int pixel = row * kRender + column;
        float image[3];
        for (int k = 0; k < 3; ++k) {
            const float* line = projection + 4 * k;
            image[k] = line[0] * place[pixel] + line[1] * place[kPixels + pixel] + line[2] * place[2 * kPixels + pixel] +
                       line[3] * alpha[pixel];
        }
        const float inside = clamped(alpha[pixel], 0.0f, 1.0f), ahead = fmaxf(image[2], kLeastDepth);
        fields[0][column] = inside * (clamped(image[0] / ahead, -2.0f, 2.0f) - centre_of(column, kRender));
        fields[1][column] = inside * (clamped(image[1] / ahead, -2.0f, 2.0f) - centre_of(row, kRender));
        fields[2][column] = inside;
        for (int k = 0; k < 3; ++k) scratch[(kWeighted + k) * kPixels + pixel] = fields[k][column];
        scratch[kDepth * kPixels + pixel] = image[2] / fmaxf(alpha[pixel], kLeastAlpha);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < (3 * kBoxes + 1) * kRender; i += blockDim.x) {
        const int sum = i / kRender, column = i % kRender;
        const bool band = sum == 3 * kBoxes;
        scratch[(kRowSums + sum) * kPixels + row * kRender + column] =
            line_sum(fields[band ? 2 : sum / kBoxes], column, 1, reach_of(band ? kBand : sum % kBoxes));
    }
}

// → kMoved, kWeights, kSeen, the sums along its rows, and guides [1:2, R, R]. surface [4, R, R]: see `SourceView`. A
// block per row.
__device__ __forceinline__ void align_see(const float* surface, float* scratch, float* guides) {
    __shared__ float continued[3][kRender];
    __shared__ float seen[kRender];
    const int row = blockIdx.x;
    for (int i = threadIdx.x; i < 3 * kRender; i += blockDim.x) {
        const int field = i / kRender, column = i % kRender;
        continued[field][column] =
            with_boxes(scratch[(kWeighted + field) * kPixels + row * kRender + column],
                       scratch + (kRowSums + field * kBoxes) * kPixels, row, column);
    }
    __syncthreads();
    for (int column = threadIdx.x; column < kRender; column += blockDim.x) {
        const int pixel = row * kRender + column;
        const float weights = continued[2][column] + kLeastWeight, head = scratch[kHead * kPixels + pixel];
        float right = continued[0][column] / weights, down = continued[1][column] / weights;
        // Bilinear, with zeros beyond the picture.
        const float x = (right + centre_of(column, kRender) + 1.0f) * 0.5f * float(kRender) - 0.5f;
        const float y = (down + centre_of(row, kRender) + 1.0f) * 0.5f * float(kRender) - 0.5f;
        const float left = floorf(x), top = floorf(y);
        float found[kSurface] = {};
        for (int corner = 0; corner < 4; ++corner) {
            const float across = left + float(corner & 1), along = top + float(corner >> 1);
            if (!(across >= 0.0f && across < float(kRender) && along >= 0.0f && along < float(kRender))) continue;
            const float weight = (1.0f - fabsf(x - across)) * (1.0f - fabsf(y - along));
            for (int k = 0; k < kSurface; ++k)
                found[k] += weight * surface[k * kPixels + int(along) * kRender + int(across)];
        }
        scratch[kMoved * kPixels + pixel] = right - found[2];
        scratch[(kMoved + 1) * kPixels + pixel] = down - found[3];
        scratch[kWeights * kPixels + pixel] = weights;
        const float excess = scratch[kDepth * kPixels + pixel] - found[0], covered = found[1];
        const float facing = 1.0f / (1.0f + expf(-(kTolerance - excess) / kSoftness));
        seen[column] = scratch[kSeen * kPixels + pixel] = head * facing * clamped(2.0f * covered, 0.0f, 1.0f);
        const float far = clamped(excess, -kLargestExcess, kLargestExcess) / kLargestExcess;
        guides[kPixels + pixel] = head * clamped(covered, 0.0f, 1.0f) * far;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kBoxes * kRender; i += blockDim.x) {
        const int box = i / kRender, column = i % kRender;
        scratch[(kSeenSums + box) * kPixels + row * kRender + column] = line_sum(seen, column, 1, reach_of(box));
    }
}

// Where in the source picture, right and down in [-1, 1], and how surely it is seen there.
struct Sight {
    float right, down, shown;
};

// What the rays and what the face mesh say of a pixel.
HIDENERF_INLINE Sight mixed(const float values[kMixed], int row, int column, int size) {
    const float *rays = values, *face = values + 3, rest = 1.0f - face[2];
    return {rest * (rays[0] + centre_of(column, size)) + (2.0f * face[0] - face[2]),
            rest * (rays[1] + centre_of(row, size)) + (2.0f * face[1] - face[2]), rest * rays[2] + face[3]};
}

// → kShown and guides [0:1] and [2:4, R, R]. A thread per pixel.
__device__ __forceinline__ void align_show(float* scratch, float* guides) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= kPixels) return;
    const int row = pixel / kRender, column = pixel % kRender;
    const float near = clamped(4.0f * box_mean(scratch + kBandSums * kPixels, row, column, kBand), 0.0f, 1.0f);
    const float total = with_boxes(scratch[kSeen * kPixels + pixel], scratch + kSeenSums * kPixels, row, column);
    const float shown = near * (total / scratch[kWeights * kPixels + pixel]);
    scratch[kShown * kPixels + pixel] = shown;
    float values[kMixed];
    for (int k = 0; k < kMixed; ++k) values[k] = k == 2 ? shown : scratch[(kMoved + k) * kPixels + pixel];
    const Sight sight = mixed(values, row, column, kRender);
    const float head = scratch[kHead * kPixels + pixel];
    guides[pixel] = sight.shown;
    guides[2 * kPixels + pixel] = head * (sight.right - centre_of(column, kRender));
    guides[3 * kPixels + pixel] = head * (sight.down - centre_of(row, kRender));
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
    // Read-only loads may pass the stores of other channels.
    for (int i = 0; i < 4; ++i) sum += at.weight[i] * as_float(__ldg(map + at.pixel[i]));
    return sum;
}

// Where the sight of a size begins in `sights`, floats. Sizes double from kSmallest on, and each holds 3 numbers a pixel:
// 3 · (kSmallest² + … + (size / 2)²) = size² - kSmallest².
HIDENERF_INLINE int sight_of(int size) { return size * size - kSmallest * kSmallest; }

// kMoved, kShown, kFace and face_sight [4, S, S] → sights: `Alignment.at` of every size from kSmallest to S, each
// [3, size, size]: column and row in a picture of that size, and shown. A thread per pixel.
__device__ __forceinline__ void align_sights(const float* scratch, const float* face_sight, float* sights,
                                             int image_size) {
    int size = kSmallest, pixel = blockIdx.x * blockDim.x + threadIdx.x;
    for (; pixel >= size * size; size *= 2) pixel -= size * size;
    if (size > image_size) return;
    const int row = pixel / size, column = pixel % size;
    const float* fields = scratch + kMoved * kPixels;
    float values[kMixed];
    if (size > kRender) {
        const float scale = float(kRender) / float(size);
        const Corners at =
            corners_of((float(column) + 0.5f) * scale - 0.5f, (float(row) + 0.5f) * scale - 0.5f, kRender);
        for (int k = 0; k < 3; ++k) values[k] = sample_at(fields + k * kPixels, at);
        means_at<kFaceSight>(face_sight, row, column, size, image_size / size, values + 3);
    } else {
        means_at<kMixed>(fields, row, column, size, kRender / size, values);
    }
    const Sight sight = mixed(values, row, column, size);
    float* to = sights + sight_of(size) + pixel;
    to[0] = (sight.right + 1.0f) * 0.5f * float(size) - 0.5f;
    to[size * size] = (sight.down + 1.0f) * 0.5f * float(size) - 0.5f;
    to[2 * size * size] = sight.shown;
}

// Of `sights`: where a pixel of a picture of `size` pixels is sampled in one of the same size.
struct SourcePixel {
    Corners at;
    float shown;
};

HIDENERF_INLINE SourcePixel source_pixel(const float* sights, int pixel, int size) {
    const float* sight = sights + sight_of(size) + pixel;
    return {corners_of(sight[0], sight[size * size], size), sight[2 * size * size]};
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
__device__ __forceinline__ void sample_maps(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    const MapBlock block = blocks[blockIdx.x];
    const MapPart part = parts[block.part];
    const int pixel = block.pixel + threadIdx.x, pixels = part.size * part.size;
    if (pixel >= pixels) return;
    const SourcePixel seen = source_pixel(sights, pixel, part.size);
    const Number* source = (const Number*)part.source;
    Number* sampled = (Number*)part.sampled + pixel;
#pragma unroll 4
    for (int c = 0; c < part.channels; ++c) store(seen.shown * sample_at(source + c * pixels, seen.at), sampled + c * pixels);
}

// The source picture [3, S, S] and its means [3, R, R] → own [3, S, S] and shown [S, S] at its size, and own_small
// [3, R, R]: 2x - 1 times shown. A thread per pixel of both, the larger first.
__device__ __forceinline__ void sample_pictures(const float* picture, const float* small, const float* sights,
                                                float* own, float* own_shown, float* own_small, int size) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x, pixels = size * size;
    if (thread < pixels) {
        const SourcePixel seen = source_pixel(sights, thread, size);
        for (int c = 0; c < 3; ++c) own[c * pixels + thread] = sample_at(picture + c * pixels, seen.at);
        own_shown[thread] = seen.shown;
    } else if (thread < pixels + kPixels) {
        const int pixel = thread - pixels;
        const SourcePixel seen = source_pixel(sights, pixel, kRender);
        for (int c = 0; c < 3; ++c)
            own_small[c * kPixels + pixel] = seen.shown * (2.0f * sample_at(small + c * kPixels, seen.at) - 1.0f);
    }
}

}  // namespace hidenerf

#endif
