#include "face.hpp"

#include <cstdio>

#include "messages.hpp"

namespace hidenerf {

using namespace nvinfer1;

Fields::Fields(OpKind const& kind) noexcept : collection_{kind.fields, fields_} {
    for (int i = 0; i < kind.fields; ++i) fields_[i] = {kind.field[i].name, nullptr, PluginFieldType::kINT32, 1};
}

Fields::Fields(Op const& op) noexcept : collection_{0, fields_} {
    OpKind const& kind = op.kind();
    int used = 0;
    for (int i = 0; i < kind.fields; ++i) {
        if (kind.field[i].optional && op.value(i) == kind.field[i].otherwise) continue;
        const int at = collection_.nbFields++;
        values_[at] = op.value(i);
        fields_[at] = {kind.field[i].name, &values_[at], PluginFieldType::kINT32, 1};
        used += std::snprintf(text_ + used, sizeof text_ - std::size_t(used), "%s%s %d", at == 0 ? "" : ", ",
                              kind.field[i].name, values_[at]);
    }
}

Op* make_op(int index, PluginFieldCollection const* given) noexcept {
    // One more than an op has: enough to say which is too many.
    GivenField fields[kMostFields + 1];
    int count = 0;
    for (int i = 0; given != nullptr && i < given->nbFields && count <= kMostFields; ++i) {
        PluginField const& field = given->fields[i];
        const bool integer = field.type == PluginFieldType::kINT32 && field.length == 1;
        fields[count++] = {field.name, integer ? static_cast<int32_t const*>(field.data) : nullptr};
    }
    return make_op(index, fields, count);
}

Type type_of(DataType type) noexcept {
    switch (type) {
        case DataType::kFLOAT: return Type::kFp32;
        case DataType::kHALF: return Type::kFp16;
        case DataType::kINT8: return Type::kInt8;
        case DataType::kFP8: return Type::kFp8;
#if NV_TENSORRT_MAJOR >= 9
        case DataType::kBF16: return Type::kBf16;
#endif
        default: return Type::kOther;
    }
}

DataType data_type_of(Type type) noexcept { return type == Type::kFp16 ? DataType::kHALF : DataType::kFLOAT; }

Shape shape_of(Dims const& dims) noexcept {
    Shape shape;
    shape.rank = dims.nbDims;
    for (int i = 0; i < dims.nbDims; ++i) shape.sizes[i] = dims.d[i];
    return shape;
}

Shape shape_of(DimsExprs const& sizes) noexcept {
    Shape shape;
    shape.rank = sizes.nbDims;
    for (int i = 0; i < sizes.nbDims; ++i)
        shape.sizes[i] = sizes.d[i]->isConstant() ? int64_t(sizes.d[i]->getConstantValue()) : -1;
    return shape;
}

DimsExprs sizes_of(OutputShape const& shape, DimsExprs const* inputs, IExprBuilder& builder) noexcept {
    DimsExprs sizes{};
    sizes.nbDims = shape.rank;
    for (int i = 0; i < shape.rank; ++i) {
        OutputSize const& size = shape.sizes[i];
        const auto plus = static_cast<int32_t>(size.plus < 0 ? -size.plus : size.plus);
        const DimensionOperation operation = size.plus < 0 ? DimensionOperation::kSUB : DimensionOperation::kSUM;
        if (size.input < 0)
            sizes.d[i] = builder.constant(plus);
        else if (size.plus == 0)
            sizes.d[i] = inputs[size.input].d[size.dimension];
        else
            sizes.d[i] = builder.operation(operation, *inputs[size.input].d[size.dimension], *builder.constant(plus));
    }
    return sizes;
}

bool takes_format(Op const& op, int position, PluginTensorDesc const& tensor, PluginTensorDesc const& first_data,
                  int inputs) noexcept {
    return tensor.format == TensorFormat::kLINEAR &&
           op.takes_type(position, inputs, type_of(tensor.type), type_of(first_data.type));
}

int enqueue_op(Op& op, PluginTensorDesc const* descriptions, int count, void const* const* inputs, void* const* outputs,
               void* workspace, cudaStream_t stream) noexcept {
    Shape shapes[kMostInputs];
    for (int i = 0; i < count; ++i) shapes[i] = shape_of(descriptions[i].dims);
    const bool half = descriptions[op.first_data(count)].type == DataType::kHALF;
    return op.enqueue({shapes, count, half, inputs, outputs, workspace, stream});
}

}  // namespace hidenerf
