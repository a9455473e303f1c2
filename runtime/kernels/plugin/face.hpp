// What the faces do alike: TensorRT's words for fields, types and shapes, which are the same in all its versions.
#pragma once

#include <NvInferRuntime.h>

#include "ops.hpp"

namespace hidenerf {

// Where messages go; stderr without one.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// Fields of an op for a creator to name, or of one op with their values. Those that have the value that stands for an
// absent field are left out, so that a node without it is what it was before there was the field.
class Fields {
public:
    explicit Fields(OpKind const& kind) noexcept;
    explicit Fields(Op const& op) noexcept;
    Fields(Fields const&) = delete;

    nvinfer1::PluginFieldCollection const* collection() const noexcept { return &collection_; }

    // "octaves 4, place 1"
    char const* text() const noexcept { return text_; }

private:
    int32_t values_[kMostFields] = {};
    nvinfer1::PluginField fields_[kMostFields];
    nvinfer1::PluginFieldCollection collection_;
    char text_[64] = {};
};

// `make_op` of what TensorRT hands to a creator.
Op* make_op(int index, nvinfer1::PluginFieldCollection const* given) noexcept;

Type type_of(nvinfer1::DataType type) noexcept;
nvinfer1::DataType data_type_of(Type type) noexcept;
Shape shape_of(nvinfer1::Dims const& dims) noexcept;
// Sizes that are not known yet are -1.
Shape shape_of(nvinfer1::DimsExprs const& sizes) noexcept;

// The sizes of an output. inputs: of the node.
nvinfer1::DimsExprs sizes_of(OutputShape const& shape, nvinfer1::DimsExprs const* inputs,
                             nvinfer1::IExprBuilder& builder) noexcept;

// Whether the tensor at `position` may be what it is, with what comes before it.
bool takes_format(Op const& op, int position, nvinfer1::PluginTensorDesc const& tensor,
                  nvinfer1::PluginTensorDesc const& first_data, int inputs) noexcept;

// A run of an op that is prepared. descriptions: of the inputs.
int enqueue_op(Op& op, nvinfer1::PluginTensorDesc const* descriptions, int count, void const* const* inputs,
               void* const* outputs, void* workspace, cudaStream_t stream) noexcept;

}  // namespace hidenerf
