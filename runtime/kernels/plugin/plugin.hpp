// What both plugins do alike: capabilities, types and formats, when shapes are looked at.
#pragma once

#include <NvInferRuntime.h>

namespace hidenerf {

constexpr char kNamespace[] = "hidenerf";
constexpr char kVersion[] = "1";
constexpr int kMostInputs = 16;

// One plugin is one node of export/passes/custom_ops.py: its inputs in order, its integer attributes as fields. Every tensor
// is linear, and FP32 or of the data's type, which is FP32 or FP16. A size of -1 is not known yet.
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
public:
    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept final;

    char const* getPluginVersion() const noexcept final { return kVersion; }
    char const* getPluginNamespace() const noexcept final { return kNamespace; }

    int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs,
                               nvinfer1::DataType const* inputTypes, int32_t nbInputs) const noexcept final;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
                            nvinfer1::DimsExprs const* shapeInputs, int32_t nbShapeInputs,
                            nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
                            nvinfer1::IExprBuilder& exprBuilder) noexcept final;
    bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                   int32_t nbOutputs) noexcept final;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t nbInputs,
                            nvinfer1::DynamicPluginTensorDesc const* out, int32_t nbOutputs) noexcept final;

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs,
                          nvinfer1::PluginTensorDesc const* out, int32_t nbOutputs) noexcept final;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept final;

protected:
    Plugin() = default;
    Plugin(Plugin const&) = default;

    // Whether a tensor has the data's type; else it is FP32. position counts the inputs, then the outputs.
    virtual bool is_data(int position, int inputs) const noexcept = 0;

    // Says what is wrong with the number of inputs.
    virtual bool takes_inputs(int count) const noexcept = 0;

    // Says what is wrong with the inputs' shapes.
    virtual bool takes_shapes(nvinfer1::Dims const* shapes, int count) const noexcept = 0;

    // Of inputs whose shapes are taken.
    virtual void set_output_shapes(nvinfer1::DimsExprs const* inputs, int count, nvinfer1::DimsExprs* outputs,
                                   nvinfer1::IExprBuilder& builder) const noexcept = 0;

    // Makes ready to run with inputs of these shapes, which are taken: 0 or a CUDA error.
    virtual int prepare(nvinfer1::Dims const* shapes, int count) noexcept = 0;

private:
    bool has_counts(int inputs, int outputs) const noexcept;
    bool takes_type(int position, int inputs, nvinfer1::DataType type, nvinfer1::DataType data) const noexcept;
    int first_data(int inputs) const noexcept;
};

// "[1, 3, ?]"
struct ShapeText {
    char text[160];
    explicit ShapeText(nvinfer1::Dims const& shape) noexcept;
};

// 0, after saying what failed otherwise.
int32_t checked(Plugin const& plugin, char const* doing, int status) noexcept;

}  // namespace hidenerf
