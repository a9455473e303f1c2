#pragma once

#include "plugin.hpp"

namespace hidenerf {

// GridSample3d: volume [B, C, D, H, W], grid FP32 [B, d, h, w, 3] → sampled [B, C, d, h, w]; no fields.
class GridSample3d final : public Plugin {
public:
    static constexpr char kName[] = "GridSample3d";

    char const* getPluginName() const noexcept override { return kName; }
    nvinfer1::IPluginV3* clone() noexcept override;
    int32_t getNbOutputs() const noexcept override { return 1; }
    char const* getTimingCacheID() noexcept override { return ""; }
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &fields_; }
    int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc, nvinfer1::PluginTensorDesc const* outputDesc,
                    void const* const* inputs, void* const* outputs, void* workspace,
                    cudaStream_t stream) noexcept override;

protected:
    bool is_data(int position, int inputs) const noexcept override;
    bool takes_inputs(int count) const noexcept override;
    bool takes_shapes(nvinfer1::Dims const* shapes, int count) const noexcept override;
    void set_output_shapes(nvinfer1::DimsExprs const* inputs, int count, nvinfer1::DimsExprs* outputs,
                           nvinfer1::IExprBuilder& builder) const noexcept override;
    int prepare(nvinfer1::Dims const* shapes, int count) noexcept override;

private:
    nvinfer1::PluginFieldCollection fields_{};
};

}  // namespace hidenerf
