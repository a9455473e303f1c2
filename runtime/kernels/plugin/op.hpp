// An op as any version of TensorRT needs it: fields, types, shapes, kernels. TensorRT's own words are in the faces
// (v2_face.cpp, v3_face.cpp) alone.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace hidenerf {

constexpr char kNamespace[] = "hidenerf";
constexpr char kVersion[] = "1";
constexpr int kMostInputs = 64, kMostOutputs = 64;
constexpr int kMostFields = 3;
constexpr int kMostRank = 8;

enum class Type { kFp32, kFp16, kInt8, kBf16, kFp8, kOther };

// A size of -1 is not known yet.
struct Shape {
    int rank = 0;
    int64_t sizes[kMostRank] = {};
};

// A size of an output: that of an input plus a number, or the number alone if input is -1.
struct OutputSize {
    int input = -1, dimension = 0;
    int64_t plus = 0;
};

struct OutputShape {
    int rank = 0;
    OutputSize sizes[kMostRank] = {};
};

// An integer attribute of a node. `otherwise` stands for one that is absent, if it is optional.
struct FieldKind {
    char const* name;
    int32_t least, most;
    bool optional;
    int32_t otherwise;
};

// What an op is called, and its fields.
struct OpKind {
    char const* name;
    int fields;
    FieldKind field[kMostFields];
};

// One run: shapes and addresses of the inputs, addresses of the outputs. half: the data's type is FP16, not FP32.
struct Run {
    Shape const* shapes;
    int inputs;
    bool half;
    void const* const* from;
    void* const* to;
    void* workspace;
    CUstream_st* stream;
};

// One op is one node of export/custom_ops.py: its inputs in order, its integer attributes as fields. Every tensor is
// linear, and FP32 or of the data's type, which is FP32 or FP16. What is refused is said.
class Op {
public:
    virtual ~Op() = default;
    Op& operator=(Op const&) = delete;

    virtual OpKind const& kind() const noexcept = 0;
    // nullptr if there is no memory. A copy is as ready as what it was made of.
    virtual Op* clone() const noexcept = 0;
    virtual int outputs() const noexcept = 0;
    // In the order of `kind`.
    int32_t value(int field) const noexcept { return values_[field]; }
    char const* name() const noexcept { return kind().name; }

    // Whether a node has so many of each.
    bool takes_counts(int inputs, int outputs) const noexcept;
    // Types of the outputs. The counts are taken.
    bool output_types(Type const* inputs, int count, Type* outputs) const noexcept;
    // Type of an output; data: type of the first tensor of the data's type. inputs: how many there are.
    Type output_type(int output, int inputs, Type data) const noexcept;
    // Whether a tensor may have this type; data: type of the first tensor of the data's type. position counts the
    // inputs, then the outputs.
    bool takes_type(int position, int inputs, Type type, Type data) const noexcept;
    int first_data(int inputs) const noexcept;

    // Of inputs whose number is taken.
    virtual bool takes_shapes(Shape const* shapes, int count) const noexcept = 0;
    // The following are of inputs whose shapes are taken.
    virtual void output_shapes(Shape const* shapes, int count, OutputShape* outputs) const noexcept = 0;
    virtual std::size_t workspace_bytes(Shape const* shapes, int count) const noexcept = 0;
    // Loads the kernels: 0, or a CUDA error after saying it.
    virtual int prepare(Shape const* shapes, int count) noexcept = 0;
    // After `prepare`: 0, or an error after saying it.
    virtual int enqueue(Run const& run) noexcept = 0;

protected:
    explicit Op(int32_t const* values, int count) noexcept;
    Op(Op const&) = default;

    // 0, after saying what failed otherwise.
    int checked(char const* doing, int status) const noexcept;
    int loaded(int status) const noexcept { return checked("loading its kernels", status); }
    // Says it if an input has not this shape; -1 in `wanted` fits anything.
    bool has_shape(int input, Shape const& shape, Shape const& wanted) const noexcept;
    bool has_rank(int input, Shape const& shape, int rank) const noexcept;

private:
    // Whether a tensor has the data's type; else it is FP32.
    virtual bool is_data(int position, int inputs) const noexcept = 0;
    // Says what is wrong with the number of inputs.
    virtual bool takes_inputs(int count) const noexcept = 0;

    int32_t values_[kMostFields] = {};
};

// Every size of an input's shape, as an output's.
OutputShape same_as(int input, Shape const& shape) noexcept;

// "[1, 3, ?]"
struct ShapeText {
    char text[160];
    explicit ShapeText(Shape const& shape) noexcept;
};

}  // namespace hidenerf
