// What the harnesses of both faces share: test doubles of TensorRT's interfaces, tensors, memory.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace nvinfer1;

namespace {

int failures = 0;

inline void check(bool right, char const* what, int line) {
    if (right) return;
    ++failures;
    std::fprintf(stderr, "line %d: not so: %s\n", line, what);
}
#define CHECK(...) check((__VA_ARGS__), #__VA_ARGS__, __LINE__)

[[noreturn]] void stop(std::string const& why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(2);
}

class RecordingLogger final : public ILogger {
public:
    void log(Severity severity, AsciiChar const* message) noexcept override {
        CHECK(severity == Severity::kERROR);
        messages.emplace_back(message);
    }
    std::vector<std::string> messages;
};

class LoggerFinder final : public ILoggerFinder {
public:
    ILogger* findLogger() override { return &logger; }
    RecordingLogger logger;
};

class ThrowingFinder final : public ILoggerFinder {
public:
    ILogger* findLogger() override { throw 1; }
};

LoggerFinder finder;

// Whether `action` ended in one message, which has `words` in it.
inline bool says(std::string const& words, std::function<void()> const& action) {
    finder.logger.messages.clear();
    action();
    std::vector<std::string> const& said = finder.logger.messages;
    const bool right = said.size() == 1 && said[0].find(words) != std::string::npos;
    if (!right) {
        std::fprintf(stderr, "%zu messages instead of one with \"%s\"\n", said.size(), words.c_str());
        for (std::string const& message : said) std::fprintf(stderr, "  %s\n", message.c_str());
    }
    return right;
}

// TensorRT 8.6 has sizes of 32 bits.
using Number = decltype(Dims{}.d[0] + 0);

// A size that is a number or a name, or an operation on such.
class Size final : public IDimensionExpr, public apiv::VDimensionExpr {
public:
    Size(bool known, int64_t value, std::string text) : known(known), value(value), text(std::move(text)) {
        mImpl = this;
    }
    ~Size() noexcept override = default;
    bool isConstant() const override { return known; }
    Number getConstantValue() const override { return known ? Number(value) : INT_MIN; }
#if NV_TENSORRT_MAJOR >= 10
    bool isSizeTensor() const override { return false; }
#endif

    bool known;
    int64_t value;
    std::string text;
};

// Owns the sizes it makes, as TensorRT does until getOutputShapes returns.
class Sizes final : public IExprBuilder, public apiv::VExprBuilder {
public:
    Sizes() { mImpl = this; }
    ~Sizes() noexcept override = default;

    IDimensionExpr const* constant(Number value) override { return keep(true, value, std::to_string(value)); }
    IDimensionExpr const* operation(DimensionOperation op, IDimensionExpr const& first,
                                    IDimensionExpr const& second) override {
        CHECK(op == DimensionOperation::kSUB);
        Size const &a = static_cast<Size const&>(first), &b = static_cast<Size const&>(second);
        return keep(a.known && b.known, a.value - b.value, a.text + "-" + b.text);
    }
#if NV_TENSORRT_MAJOR >= 10
    IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
        CHECK(!"a size tensor");
        return nullptr;
    }
#endif
    IDimensionExpr const* named(std::string const& name) { return keep(false, 0, name); }

    // -1 becomes a name: "b0", "b1", … of its input.
    DimsExprs of(Dims const& shape, int input) {
        DimsExprs sizes{};
        sizes.nbDims = shape.nbDims;
        for (int i = 0; i < shape.nbDims; ++i)
            sizes.d[i] = shape.d[i] < 0 ? named("b" + std::to_string(input)) : constant(shape.d[i]);
        return sizes;
    }

private:
    IDimensionExpr const* keep(bool known, int64_t value, std::string text) {
        kept.push_back(std::make_unique<Size>(known, value, std::move(text)));
        return kept.back().get();
    }
    std::vector<std::unique_ptr<Size>> kept;
};

inline std::string text_of(DimsExprs const& sizes) {
    std::string text;
    for (int i = 0; i < sizes.nbDims; ++i) text += (i ? " " : "") + static_cast<Size const*>(sizes.d[i])->text;
    return text;
}

inline Dims shape_of(std::vector<int64_t> const& sizes) {
    Dims shape{};
    shape.nbDims = int32_t(sizes.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) shape.d[i] = Number(sizes[i]);
    return shape;
}

struct Tensor {
    Dims shape;
    DataType type;
};

constexpr DataType kSingle = DataType::kFLOAT, kHalf = DataType::kHALF;

// The models "9,6,5,2,16,16,24,3" and "9,6,5,2,16,16,24,3,1".
inline std::vector<Tensor> render_inputs(int64_t batch, DataType data) {
    return {{shape_of({batch, 18, 9, 9}), kSingle},     {shape_of({batch, 25}), kSingle},
            {shape_of({batch, 3, 16, 8, 8}), data},     {shape_of({batch, 3, 16, 16, 16}), data},
            {shape_of({24, 2 * 16 + 6 * 3}), data},     {shape_of({24}), data},
            {shape_of({6, 24}), data},                  {shape_of({6}), data}};
}
inline std::vector<Tensor> render_outputs(int64_t batch, bool place = false) {
    std::vector<Tensor> outputs = {{shape_of({batch, 5, 9, 9}), kSingle}, {shape_of({batch, 1, 9, 9}), kSingle}};
    if (place) outputs.push_back({shape_of({batch, 3, 9, 9}), kSingle});
    return outputs;
}
inline std::vector<Tensor> sample_inputs(int64_t batch, DataType data) {
    return {{shape_of({batch, 4, 5, 6, 7}), data}, {shape_of({batch, 2, 3, 4, 3}), kSingle}};
}
inline std::vector<Tensor> sample_outputs(int64_t batch, DataType data) {
    return {{shape_of({batch, 4, 2, 3, 4}), data}};
}

// RaySamples of six samples, every third of which is looked up, for R = 9.
constexpr char kRayFields[] = "samples=6,stride=3";
inline std::vector<Tensor> ray_inputs(int64_t batch, DataType data) {
    return {{shape_of({batch, 25}), kSingle}, {shape_of({batch, 4, 9, 9}), data}};
}
inline std::vector<Tensor> ray_outputs(int64_t batch, DataType data) {
    return {{shape_of({batch, 18, 9, 9}), data}, {shape_of({batch, 8, 9, 9}), data}};
}

// AlignSource for R = 16 and S = 64, which the model with place "16,2,3,1,16,8,8,1,1" has; two maps.
enum class Own { kNone, kPicture, kEnlarged };
inline std::string align_fields(Own own) {
    return own == Own::kNone ? "maps=2" : own == Own::kPicture ? "maps=2,picture=1" : "maps=2,picture=1,enlarged=1";
}
inline std::vector<Tensor> align_inputs(int64_t batch, DataType data, Own own) {
    std::vector<Tensor> inputs = {
        {shape_of({batch, 3, 16, 16}), kSingle}, {shape_of({batch, 1, 16, 16}), kSingle},
        {shape_of({batch, 3, 16, 16}), kSingle}, {shape_of({batch, 3, 4}), kSingle},
        {shape_of({batch, 4, 16, 16}), kSingle}, {shape_of({batch, 4, 64, 64}), kSingle}};
    if (own != Own::kNone) {
        inputs.push_back({shape_of({batch, 3, 64, 64}), kSingle});
        inputs.push_back({shape_of({batch, 3, 16, 16}), kSingle});
    }
    inputs.push_back({shape_of({25}), kSingle});
    inputs.push_back({shape_of({batch, 5, 4, 4}), data});
    inputs.push_back({shape_of({batch, 20, 32, 32}), data});
    return inputs;
}
// The stem reads 3 + 1 + 4 channels, or 3 + 1 + 4 + 3, filled up to 16.
inline std::vector<Tensor> align_outputs(int64_t batch, DataType data, Own own) {
    std::vector<Tensor> outputs = {{shape_of({batch, own == Own::kNone ? 8 : 16, 16, 16}), data}};
    if (own != Own::kNone) {
        const int64_t side = own == Own::kEnlarged ? 32 : 64;
        outputs.push_back({shape_of({batch, 4, side, side}), data});
        outputs.push_back({shape_of({batch, 3, 64, 64}), kSingle});
        outputs.push_back({shape_of({batch, 1, 64, 64}), kSingle});
    }
    if (own == Own::kEnlarged) outputs.push_back({shape_of({batch, 16, 32, 32}), data});
    outputs.push_back({shape_of({batch, 5, 4, 4}), data});
    outputs.push_back({shape_of({batch, 20, 32, 32}), data});
    return outputs;
}

// Fields of 32-bit integers, as a creator takes them.
class Given {
public:
    Given(std::vector<std::pair<std::string, int32_t>> values) : values_(std::move(values)) {
        for (auto const& [name, value] : values_)
            fields_.emplace_back(name.c_str(), &value, PluginFieldType::kINT32, 1);
        collection_ = {int32_t(fields_.size()), fields_.data()};
    }
    Given(Given const&) = delete;
    // Of "maps=2,picture=1"; "-" for none.
    static std::vector<std::pair<std::string, int32_t>> parsed(std::string const& text) {
        std::vector<std::pair<std::string, int32_t>> values;
        std::istringstream words(text == "-" ? "" : text);
        for (std::string word; std::getline(words, word, ',');) {
            const std::size_t at = word.find('=');
            values.emplace_back(word.substr(0, at), std::atoi(word.c_str() + at + 1));
        }
        return values;
    }
    PluginFieldCollection const* collection() const { return &collection_; }

private:
    std::vector<std::pair<std::string, int32_t>> values_;
    std::vector<PluginField> fields_;
    PluginFieldCollection collection_{};
};

// Bytes of workspace of the op whose inputs are above, with R = 16 and S = 64: 26 pictures, and three numbers for every
// pixel of the sizes 4, 8, 16, 32 and 64.
constexpr std::size_t kAlignWorkspace = (4 * (26 * 16 * 16 + 3 * (16 + 64 + 256 + 1024 + 4096)) + 255) / 256 * 256;

inline std::vector<Tensor> with(std::vector<Tensor> tensors, std::size_t index, Tensor changed) {
    tensors.at(index) = changed;
    return tensors;
}

inline std::size_t bytes_of(Tensor const& tensor) {
    std::size_t bytes = tensor.type == kHalf ? 2 : 4;
    for (int i = 0; i < tensor.shape.nbDims; ++i) bytes *= std::size_t(tensor.shape.d[i]);
    return bytes;
}

inline void checked(cudaError_t status) {
    if (status != cudaSuccess) stop(cudaGetErrorString(status));
}

// Memory that the kernels see: a GPU's, or the host's for emulated kernels.
class Memory {
public:
    Memory(std::size_t bytes, bool device) : bytes_(bytes), device_(device) {
        if (device)
            checked(cudaMalloc(&at, bytes));
        else if (posix_memalign(&at, 256, bytes) != 0)
            stop("out of memory");
    }
    ~Memory() {
        if (device_)
            cudaFree(at);
        else
            std::free(at);
    }
    Memory(Memory const&) = delete;

    // NaN in FP32 and in FP16.
    void poison() {
        if (device_)
            checked(cudaMemset(at, 0xff, bytes_));
        else
            std::memset(at, 0xff, bytes_);
    }
    void read(std::string const& path) {
        std::vector<char> host(bytes_);
        std::ifstream file(path, std::ios::binary);
        if (!file.read(host.data(), std::streamsize(bytes_))) stop("cannot read " + path);
        if (device_)
            checked(cudaMemcpy(at, host.data(), bytes_, cudaMemcpyHostToDevice));
        else
            std::memcpy(at, host.data(), bytes_);
    }
    void write(std::string const& path) {
        std::vector<char> host(bytes_);
        if (device_)
            checked(cudaMemcpy(host.data(), at, bytes_, cudaMemcpyDeviceToHost));
        else
            std::memcpy(host.data(), at, bytes_);
        std::ofstream(path, std::ios::binary).write(host.data(), std::streamsize(bytes_));
    }

    void* at = nullptr;

private:
    std::size_t bytes_;
    bool device_;
};

inline std::vector<Tensor> read_inputs(std::string const& path) {
    std::ifstream file(path);
    std::vector<Tensor> inputs;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string type;
        words >> type;
        std::vector<int64_t> sizes;
        for (int64_t size; words >> size;) sizes.push_back(size);
        inputs.push_back({shape_of(sizes), type == "fp16" ? kHalf : kSingle});
    }
    return inputs;
}

}  // namespace
