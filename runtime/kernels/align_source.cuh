// What a frame takes of its source (`align_source` of hidenerf.model.refinement): where the source picture shows what
// the rays met, how surely, and the source's maps and picture sampled there, each as the refiner's layers read it. FP32
// arithmetic; maps and what convolutions read are FP16 or FP32, both called Number. R: side of the rendered picture, a
// multiple of 4; S: of the frame, R or twice it, and so on.
#ifndef HIDENERF_ALIGN_SOURCE_CUH
#define HIDENERF_ALIGN_SOURCE_CUH

#include "bilinear.cuh"

namespace hidenerf {

// As in hidenerf.model.alignment.
constexpr float kTolerance = 0.08f, kSoftness = 0.03f, kLargestExcess = 0.5f;
constexpr float kLeastAlpha = 1e-3f, kLeastDepth = 1e-3f, kLeastWeight = 1e-6f;
constexpr int kSurface = 4, kFaceSight = 4, kGuides = 4;
// As in hidenerf.model.refinement.
constexpr int kChannelMultiple = 8;
// What a sight is mixed from: kMoved, kShown, kFace.
constexpr int kMixed = 3 + kFaceSight;
constexpr int kBoxes = 3, kBand = 3;

// Half width in pixels of a box, or of kBand, in a picture of R pixels: shares of it as in hidenerf.model.alignment,
// rounded as Python rounds, to even.
HIDENERF_INLINE constexpr int reach_in(int box, int render_size) {
    const int share = box == 0 ? 1 : box == 1 ? 3 : box == 2 ? 8 : 4, pixels = render_size * share;
    const int whole = pixels / 64, rest = pixels % 64;
    const int rounded = whole + (rest > 32 || (rest == 32 && whole % 2 == 1) ? 1 : 0);
    return box == kBand || rounded > 1 ? rounded : 1;
}

// Half width of a box, or of kBand.
template <int R>
HIDENERF_INLINE int reach_of(int box) {
    constexpr int reaches[4] = {reach_in(0, R), reach_in(1, R), reach_in(2, R), reach_in(kBand, R)};
    return box == 0 ? reaches[0] : box == 1 ? reaches[1] : box == 2 ? reaches[2] : reaches[3];
}

template <int R>
constexpr int kPixels = R * R;

// FP32 pictures [R, R] that the steps pass on, each by its place in `scratch`; kPictures in all.
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

HIDENERF_INLINE float factor_of(int box) { return box == 0 ? 0.05f : box == 1 ? 0.005f : 0.0005f; }

// Sum of the 2 · reach + 1 values around a place on a line of R values that are `stride` apart; beyond it there is 0.
template <int R>
HIDENERF_INLINE float line_sum(const float* line, int place, int stride, int reach) {
    const int first = place - reach < 0 ? 0 : place - reach;
    const int last = place + reach < R ? place + reach : R - 1;
    float sum = 0.0f;
    for (int i = first; i <= last; ++i) sum += line[i * stride];
    return sum;
}

// Mean over a box around a pixel, of sums along rows [R, R].
template <int R>
HIDENERF_INLINE float box_mean(const float* row_sums, int row, int column, int box) {
    const int reach = reach_of<R>(box);
    return line_sum<R>(row_sums + column, row, R, reach) / float((2 * reach + 1) * (2 * reach + 1));
}

// Numerator or denominator of `continued`. row_sums: [3, R, R], of the values' boxes.
template <int R>
HIDENERF_INLINE float with_boxes(float value, const float* row_sums, int row, int column) {
    for (int i = 0; i < kBoxes; ++i) value += factor_of(i) * box_mean<R>(row_sums + i * kPixels<R>, row, column, i);
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

// Channels of the stem input: `rendered` of the picture, alpha, kGuides, with the source picture (pictured is 1, not 0)
// its three colours, and zeros.
HIDENERF_INLINE constexpr int stem_used(int rendered, int pictured) { return rendered + 1 + kGuides + 3 * pictured; }
HIDENERF_INLINE constexpr int stem_channels(int rendered, int pictured) {
    return (stem_used(rendered, pictured) + kChannelMultiple - 1) / kChannelMultiple * kChannelMultiple;
}

// A value of the stem input that no other step writes: channel `channel` of these, the zeros last.
template <int R, class Number>
HIDENERF_INLINE void copy_to_stem(const float* rendered, const float* alpha, Number* stem_input, int channels,
                                  int pictured, int channel, int pixel) {
    const int to = channel > channels ? channel - channels - 1 + stem_used(channels, pictured) : channel;
    if (to >= stem_channels(channels, pictured)) return;
    const float value = channel < channels    ? 2.0f * rendered[channel * kPixels<R> + pixel] - 1.0f
                        : channel == channels ? alpha[pixel]
                                              : 0.0f;
    store(value, stem_input + to * kPixels<R> + pixel);
}

// place [3, R, R] and alpha [R, R] of a frame, projection [3, 4] → kWeighted, kHead, kDepth and the sums along their
// rows: a block per row. face_sight [4, S, S] → kFace: the blocks after these, a thread per mean. rendered
// [channels, R, R] and alpha → theirs of stem_input, and its zeros: the threads after these, one per value.
template <int R, class Number>
__device__ __forceinline__ void align_project(const float* place, const float* alpha, const float* rendered,
                                              const float* projection, const float* face_sight, float* scratch,
                                              Number* stem_input, int channels, int pictured, int image_size) {
    if (blockIdx.x >= R) {
        const int mean = (blockIdx.x - R) * blockDim.x + threadIdx.x;
        const int channel = mean / kPixels<R>, pixel = mean % kPixels<R>;
        if (channel >= kFaceSight) {
            copy_to_stem<R>(rendered, alpha, stem_input, channels, pictured, channel - kFaceSight, pixel);
            return;
        }
        float found[1];
        means_at<1>(face_sight + channel * image_size * image_size, pixel / R, pixel % R, R,
                    image_size / R, found);
        scratch[kFace * kPixels<R> + mean] = found[0];
        return;
    }
    __shared__ float fields[3][R];
    const int row = blockIdx.x;
    for (int column = threadIdx.x; column < R; column += blockDim.x) {
        const int pixel = row * R + column;
        float image[3];
        for (int k = 0; k < 3; ++k) {
            const float* line = projection + 4 * k;
            image[k] = line[0] * place[pixel] + line[1] * place[kPixels<R> + pixel] +
                       line[2] * place[2 * kPixels<R> + pixel] + line[3] * alpha[pixel];
        }
        const float inside = clamped(alpha[pixel], 0.0f, 1.0f), ahead = fmaxf(image[2], kLeastDepth);
        fields[0][column] = inside * (clamped(image[0] / ahead, -2.0f, 2.0f) - centre_of(column, R));
        fields[1][column] = inside * (clamped(image[1] / ahead, -2.0f, 2.0f) - centre_of(row, R));
        fields[2][column] = inside;
        for (int k = 0; k < 3; ++k) scratch[(kWeighted + k) * kPixels<R> + pixel] = fields[k][column];
        scratch[kDepth * kPixels<R> + pixel] = image[2] / fmaxf(alpha[pixel], kLeastAlpha);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < (3 * kBoxes + 1) * R; i += blockDim.x) {
        const int sum = i / R, column = i % R;
        const bool band = sum == 3 * kBoxes;
        scratch[(kRowSums + sum) * kPixels<R> + row * R + column] =
            line_sum<R>(fields[band ? 2 : sum / kBoxes], column, 1, reach_of<R>(band ? kBand : sum % kBoxes));
    }
}

// → kMoved, kWeights, kSeen, the sums along its rows, and guides [1:2, R, R] of the stem input. surface [4, R, R]: see
// `SourceView`. A block per row.
template <int R, class Number>
__device__ __forceinline__ void align_see(const float* surface, float* scratch, Number* guides) {
    __shared__ float continued[3][R];
    __shared__ float seen[R];
    const int row = blockIdx.x;
    for (int i = threadIdx.x; i < 3 * R; i += blockDim.x) {
        const int field = i / R, column = i % R;
        continued[field][column] =
            with_boxes<R>(scratch[(kWeighted + field) * kPixels<R> + row * R + column],
                       scratch + (kRowSums + field * kBoxes) * kPixels<R>, row, column);
    }
    __syncthreads();
    for (int column = threadIdx.x; column < R; column += blockDim.x) {
        const int pixel = row * R + column;
        const float weights = continued[2][column] + kLeastWeight, head = scratch[kHead * kPixels<R> + pixel];
        float right = continued[0][column] / weights, down = continued[1][column] / weights;
        // Bilinear, with zeros beyond the picture.
        const float x = (right + centre_of(column, R) + 1.0f) * 0.5f * float(R) - 0.5f;
        const float y = (down + centre_of(row, R) + 1.0f) * 0.5f * float(R) - 0.5f;
        const float left = floorf(x), top = floorf(y);
        float found[kSurface] = {};
        for (int corner = 0; corner < 4; ++corner) {
            const float across = left + float(corner & 1), along = top + float(corner >> 1);
            if (!(across >= 0.0f && across < float(R) && along >= 0.0f && along < float(R))) continue;
            const float weight = (1.0f - fabsf(x - across)) * (1.0f - fabsf(y - along));
            for (int k = 0; k < kSurface; ++k)
                found[k] += weight * surface[k * kPixels<R> + int(along) * R + int(across)];
        }
        scratch[kMoved * kPixels<R> + pixel] = right - found[2];
        scratch[(kMoved + 1) * kPixels<R> + pixel] = down - found[3];
        scratch[kWeights * kPixels<R> + pixel] = weights;
        const float excess = scratch[kDepth * kPixels<R> + pixel] - found[0], covered = found[1];
        const float facing = 1.0f / (1.0f + expf(-(kTolerance - excess) / kSoftness));
        seen[column] = scratch[kSeen * kPixels<R> + pixel] = head * facing * clamped(2.0f * covered, 0.0f, 1.0f);
        const float far = clamped(excess, -kLargestExcess, kLargestExcess) / kLargestExcess;
        store(head * clamped(covered, 0.0f, 1.0f) * far, guides + kPixels<R> + pixel);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kBoxes * R; i += blockDim.x) {
        const int box = i / R, column = i % R;
        scratch[(kSeenSums + box) * kPixels<R> + row * R + column] = line_sum<R>(seen, column, 1, reach_of<R>(box));
    }
}

// Where in the source picture, right and down in [-1, 1], and what is known: `Sight` of hidenerf.model.alignment.
struct Sight {
    float right, down, known;
};

// What the rays and what the face mesh say of a pixel.
HIDENERF_INLINE Sight mixed(const float values[kMixed], int row, int column, int size) {
    const float *rays = values, *face = values + 3, rest = 1.0f - face[2];
    return {rest * (rays[0] + centre_of(column, size)) + (2.0f * face[0] - face[2]),
            rest * (rays[1] + centre_of(row, size)) + (2.0f * face[1] - face[2]), rest * rays[2] + face[3]};
}

// → kShown and guides [0:1] and [2:4, R, R] of the stem input. A thread per pixel.
template <int R, class Number>
__device__ __forceinline__ void align_show(float* scratch, Number* guides) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= kPixels<R>) return;
    const int row = pixel / R, column = pixel % R;
    const float near = clamped(4.0f * box_mean<R>(scratch + kBandSums * kPixels<R>, row, column, kBand), 0.0f, 1.0f);
    const float total =
        with_boxes<R>(scratch[kSeen * kPixels<R> + pixel], scratch + kSeenSums * kPixels<R>, row, column);
    const float shown = near * (total / scratch[kWeights * kPixels<R> + pixel]);
    scratch[kShown * kPixels<R> + pixel] = shown;
    float values[kMixed];
    for (int k = 0; k < kMixed; ++k) values[k] = k == 2 ? shown : scratch[(kMoved + k) * kPixels<R> + pixel];
    const Sight sight = mixed(values, row, column, R);
    const float head = scratch[kHead * kPixels<R> + pixel];
    store(sight.known, guides + pixel);
    store(head * (sight.right - centre_of(column, R)), guides + 2 * kPixels<R> + pixel);
    store(head * (sight.down - centre_of(row, R)), guides + 3 * kPixels<R> + pixel);
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

// Where the sight of a size begins in `sights`, floats. Sizes double from R/4 on, and each holds 3 numbers a pixel:
// 3 · ((R/4)² + … + (size / 2)²) = size² - (R/4)².
template <int R>
HIDENERF_INLINE int sight_of(int size) { return size * size - (R / 4) * (R / 4); }

// kMoved, kShown, kFace and face_sight [4, S, S] → sights: `Alignment.at` of every size from R/4 to S, each
// [3, size, size]: column and row in a picture of that size, and known. A thread per pixel.
template <int R>
__device__ __forceinline__ void align_sights(const float* scratch, const float* face_sight, float* sights,
                                             int image_size) {
    int size = R / 4, pixel = blockIdx.x * blockDim.x + threadIdx.x;
    for (; pixel >= size * size; size *= 2) pixel -= size * size;
    if (size > image_size) return;
    const int row = pixel / size, column = pixel % size;
    const float* fields = scratch + kMoved * kPixels<R>;
    float values[kMixed];
    if (size > R) {
        const float scale = float(R) / float(size);
        const Corners at =
            corners_of((float(column) + 0.5f) * scale - 0.5f, (float(row) + 0.5f) * scale - 0.5f, R);
        for (int k = 0; k < 3; ++k) values[k] = sample_at(fields + k * kPixels<R>, at);
        means_at<kFaceSight>(face_sight, row, column, size, image_size / size, values + 3);
    } else {
        means_at<kMixed>(fields, row, column, size, R / size, values);
    }
    const Sight sight = mixed(values, row, column, size);
    float* to = sights + sight_of<R>(size) + pixel;
    to[0] = (sight.right + 1.0f) * 0.5f * float(size) - 0.5f;
    to[size * size] = (sight.down + 1.0f) * 0.5f * float(size) - 0.5f;
    to[2 * size * size] = sight.known;
}

// Of `sights`: where a pixel of a picture of `size` pixels is sampled in one of the same size.
struct SourcePixel {
    Corners at;
    float known, shown;
};

template <int R>
HIDENERF_INLINE SourcePixel source_pixel(const float* sights, int pixel, int size) {
    const float* sight = sights + sight_of<R>(size) + pixel;
    const float known = sight[2 * size * size];
    return {corners_of(sight[0], sight[size * size], size), known, fmaxf(known, 0.0f)};
}

// Some channels of a map of the source, where their samples go, and what these are where the source shows nothing, FP32.
struct MapPart {
    unsigned long long source, sampled, absent;
    int channels, size;
};

// A block of threads: which part, and its first pixel.
struct MapBlock {
    int part, pixel;
};

// Channels of a map and of what is `in_frame`, both [channels, size, size], at one pixel. absent [channels].
template <int R, class Number>
__device__ __forceinline__ void sample_channels(const Number* map, Number* sampled, const float* absent, int channels,
                                                int size, int pixel, const float* sights) {
    const SourcePixel seen = source_pixel<R>(sights, pixel, size);
    const int pixels = size * size;
#pragma unroll 4
    for (int c = 0; c < channels; ++c)
        store(__ldg(absent + c) + seen.shown * sample_at(map + c * pixels, seen.at), sampled + pixel + c * pixels);
}

// Maps [C, h, h] → in_frame(maps) [C, h, h], for all maps in one launch. A thread per pixel of a part.
template <int R, class Number>
__device__ __forceinline__ void sample_maps(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    const MapBlock block = blocks[blockIdx.x];
    const MapPart part = parts[block.part];
    const int pixel = block.pixel + threadIdx.x;
    if (pixel >= part.size * part.size) return;
    sample_channels<R>((const Number*)part.source, (Number*)part.sampled, (const float*)part.absent, part.channels,
                       part.size, pixel, sights);
}

// The same of FP16 maps with channels last, [h, h, 8 · vectors] both; `channels` of a part is its vectors, and `pixel` of
// a block its first eight channels of a pixel. A thread per eight channels.
template <int R>
__device__ __forceinline__ void sample_maps_last(const MapPart* parts, const MapBlock* blocks, const float* sights) {
    const MapBlock block = blocks[blockIdx.x];
    const MapPart part = parts[block.part];
    const int thread = block.pixel + threadIdx.x, pixel = thread / part.channels, vector = thread % part.channels;
    if (pixel >= part.size * part.size) return;
    const SourcePixel seen = source_pixel<R>(sights, pixel, part.size);
    const uint4* map = (const uint4*)part.source + vector;
    uint4 corners[4];
    for (int i = 0; i < 4; ++i) corners[i] = __ldg(map + seen.at.pixel[i] * part.channels);
    const float* absent = (const float*)part.absent + 8 * vector;
    float sums[8] = {};
    for (int i = 0; i < 4; ++i) {
        const unsigned int words[4] = {corners[i].x, corners[i].y, corners[i].z, corners[i].w};
        for (int c = 0; c < 4; ++c) {
            sums[2 * c] += seen.at.weight[i] * low_half(words[c]);
            sums[2 * c + 1] += seen.at.weight[i] * high_half(words[c]);
        }
    }
    for (int c = 0; c < 8; ++c) sums[c] = __ldg(absent + c) + seen.shown * sums[c];
    ((uint4*)part.sampled)[thread] = make_uint4(pack_halves(sums[0], sums[1]), pack_halves(sums[2], sums[3]),
                                                pack_halves(sums[4], sums[5]), pack_halves(sums[6], sums[7]));
}

// Maps as arguments of the launch, for a caller that has no tables in device memory. Map i has the blocks from first[i]
// on, a part of `at_once[i]` channels after the other.
constexpr int kMostListedMaps = 48;
struct MapList {
    MapPart maps[kMostListedMaps];
    int first[kMostListedMaps], at_once[kMostListedMaps];
    int count;
};

// The same as sample_maps, of a list.
template <int R, class Number>
__device__ __forceinline__ void sample_listed_maps(const MapList& list, const float* sights) {
    int i = 0;
    while (i + 1 < list.count && int(blockIdx.x) >= list.first[i + 1]) ++i;
    const MapPart& map = list.maps[i];
    const int pixels = map.size * map.size, blocks_a_part = (pixels + blockDim.x - 1) / blockDim.x;
    const int block = blockIdx.x - list.first[i], channel = block / blocks_a_part * list.at_once[i];
    const int pixel = block % blocks_a_part * blockDim.x + threadIdx.x, left = map.channels - channel;
    if (pixel >= pixels) return;
    sample_channels<R>((const Number*)map.source + channel * pixels, (Number*)map.sampled + channel * pixels,
                       (const float*)map.absent + channel, left < list.at_once[i] ? left : list.at_once[i], map.size,
                       pixel, sights);
}

// Where the source picture goes; FP32 but for Number. Of a frame of S pixels `own` [3, S, S] and `shown` [S, S]; the
// detail convolution's input [4, s, s], s being S, or S/2 before an enlarger; this one's input [16, S/2, S/2], nullptr
// without it; and the three channels of the stem input [3, R, R].
template <class Number>
struct OwnPixels {
    float *own, *shown;
    Number *detail_input, *enlarger_input, *stem_channels;
};

// The source picture [3, S, S] and its means [3, R, R] → the above. A thread per pixel of the detail convolution, then
// one per pixel of the stem.
template <int R, class Number>
__device__ __forceinline__ void sample_pictures(const float* picture, const float* small, const float* sights,
                                                const OwnPixels<Number>& to, int size) {
    const int step = to.enlarger_input == nullptr ? 1 : 2, side = size / step;
    const int thread = blockIdx.x * blockDim.x + threadIdx.x, detail_pixels = side * side, pixels = size * size;
    if (thread >= detail_pixels) {
        const int pixel = thread - detail_pixels;
        if (pixel >= kPixels<R>) return;
        const SourcePixel seen = source_pixel<R>(sights, pixel, R);
        for (int c = 0; c < 3; ++c)
            store(seen.shown * (2.0f * sample_at(small + c * kPixels<R>, seen.at) - 1.0f),
                  to.stem_channels + c * kPixels<R> + pixel);
        return;
    }
    // Sums over the frame's pixels of the thread's own: the three colours and known.
    float sums[4] = {};
    for (int part = 0; part < step * step; ++part) {
        const int row = thread / side * step + part / step, column = thread % side * step + part % step;
        const int pixel = row * size + column;
        const SourcePixel seen = source_pixel<R>(sights, pixel, size);
        for (int c = 0; c < 3; ++c) {
            const float colour = sample_at(picture + c * pixels, seen.at);
            to.own[c * pixels + pixel] = colour;
            sums[c] += colour;
            if (step == 2)
                store(seen.shown * (2.0f * colour - 1.0f), to.enlarger_input + (4 * c + part) * detail_pixels + thread);
        }
        to.shown[pixel] = seen.shown;
        sums[3] += seen.known;
        if (step == 2) store(seen.known, to.enlarger_input + (12 + part) * detail_pixels + thread);
    }
    const float share = 1.0f / float(step * step), known = share * sums[3], shown = fmaxf(known, 0.0f);
    for (int c = 0; c < 3; ++c)
        store(shown * (2.0f * (share * sums[c]) - 1.0f), to.detail_input + c * detail_pixels + thread);
    store(known, to.detail_input + 3 * detail_pixels + thread);
}

}  // namespace hidenerf

#endif
