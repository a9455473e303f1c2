#include "plugin.hpp"

#include <cstdio>
#include <initializer_list>

#include "launches.hpp"
#include "messages.hpp"

namespace hidenerf {

using namespace nvinfer1;

namespace {

char const* type_name(DataType type) noexcept {
    switch (type) {
        case DataType::kFLOAT: return "FP32";
        case DataType::kHALF: return "FP16";
        case DataType::kINT8: return "INT8";
        case DataType::kBF16: return "BF16";
        case DataType::kFP8: return "FP8";
        default: return "another type";
    }
}

Dims known_sizes(DimsExprs const& expressions) noexcept {
    Dims shape{};
    shape.nbDims = expressions.nbDims;
    for (int i = 0; i < shape.nbDims; ++i)
        shape.d[i] = expressions.d[i]->isConstant() ? expressions.d[i]->getConstantValue() : -1;
    return shape;
}

}  // namespace

ShapeText::ShapeText(Dims const& shape) noexcept {
    int used = std::snprintf(text, sizeof text, "[");
    for (int i = 0; i < shape.nbDims; ++i) {
        char const* comma = i == 0 ? "" : ", ";
        char* at = text + used;
        const std::size_t left = sizeof text - std::size_t(used);
        used += shape.d[i] < 0 ? std::snprintf(at, left, "%s?", comma)
                               : std::snprintf(at, left, "%s%lld", comma, static_cast<long long>(shape.d[i]));
        if (used > int(sizeof text) - 24) break;
    }
    std::snprintf(text + used, sizeof text - std::size_t(used), "]");
}

int32_t checked(Plugin const& plugin, char const* doing, int status) noexcept {
    if (status != 0) complain("%s: CUDA fails while %s: %s", plugin.getPluginName(), doing, status_text(status));
    return status;
}

IPluginCapability* Plugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
    switch (type) {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

bool Plugin::has_counts(int inputs, int outputs) const noexcept {
    if (inputs > kMostInputs) {
        complain("%s: has %d inputs, and this plugin takes up to %d", getPluginName(), inputs, kMostInputs);
        return false;
    }
    if (outputs != getNbOutputs()) {
        complain("%s: has %d outputs, not %d", getPluginName(), outputs, getNbOutputs());
        return false;
    }
    return takes_inputs(inputs);
}

int Plugin::first_data(int inputs) const noexcept {
    int first = 0;
    while (!is_data(first, inputs)) ++first;
    return first;
}

bool Plugin::takes_type(int position, int inputs, DataType type, DataType data) const noexcept {
    if (!is_data(position, inputs)) return type == DataType::kFLOAT;
    return type == data && (data == DataType::kFLOAT || data == DataType::kHALF);
}

int32_t Plugin::getOutputDataTypes(DataType* outputTypes, int32_t nbOutputs, DataType const* inputTypes,
                                   int32_t nbInputs) const noexcept {
    if (!has_counts(nbInputs, nbOutputs)) return 1;
    const DataType data = inputTypes[first_data(nbInputs)];
    for (int i = 0; i < nbInputs; ++i) {
        if (takes_type(i, nbInputs, inputTypes[i], data)) continue;
        complain("%s: input %d is %s; coordinates are FP32, and all other inputs FP32 or all FP16", getPluginName(), i,
                 type_name(inputTypes[i]));
        return 1;
    }
    for (int i = 0; i < nbOutputs; ++i) outputTypes[i] = is_data(nbInputs + i, nbInputs) ? data : DataType::kFLOAT;
    return 0;
}

int32_t Plugin::getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const*, int32_t nbShapeInputs,
                                DimsExprs* outputs, int32_t nbOutputs, IExprBuilder& exprBuilder) noexcept {
    if (!has_counts(nbInputs, nbOutputs)) return 1;
    if (nbShapeInputs != 0) {
        complain("%s: has %d shape inputs, not 0", getPluginName(), nbShapeInputs);
        return 1;
    }
    Dims shapes[kMostInputs];
    for (int i = 0; i < nbInputs; ++i) shapes[i] = known_sizes(inputs[i]);
    if (!takes_shapes(shapes, nbInputs)) return 1;
    set_output_shapes(inputs, nbInputs, outputs, exprBuilder);
    return 0;
}

bool Plugin::supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                       int32_t nbOutputs) noexcept {
    if (!has_counts(nbInputs, nbOutputs) || pos < 0 || pos >= nbInputs + nbOutputs) return false;
    PluginTensorDesc const& tensor = inOut[pos].desc;
    const int first = first_data(nbInputs);
    const DataType data = first <= pos ? inOut[first].desc.type : DataType::kFLOAT;
    return tensor.format == TensorFormat::kLINEAR && takes_type(pos, nbInputs, tensor.type, data);
}

int32_t Plugin::configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs, DynamicPluginTensorDesc const*,
                                int32_t nbOutputs) noexcept {
    if (!has_counts(nbInputs, nbOutputs)) return 1;
    for (Dims DynamicPluginTensorDesc::*bound : {&DynamicPluginTensorDesc::min, &DynamicPluginTensorDesc::max}) {
        Dims shapes[kMostInputs];
        for (int i = 0; i < nbInputs; ++i) shapes[i] = in[i].*bound;
        if (!takes_shapes(shapes, nbInputs)) return 1;
    }
    return 0;
}

int32_t Plugin::onShapeChange(PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const*,
                              int32_t nbOutputs) noexcept {
    if (!has_counts(nbInputs, nbOutputs)) return 1;
    Dims shapes[kMostInputs];
    for (int i = 0; i < nbInputs; ++i) shapes[i] = in[i].dims;
    if (!takes_shapes(shapes, nbInputs)) return 1;
    return checked(*this, "loading its kernels", prepare(shapes, nbInputs));
}

IPluginV3* Plugin::attachToContext(IPluginResourceContext*) noexcept { return clone(); }

}  // namespace hidenerf
