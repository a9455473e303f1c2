#pragma once

#include "launches.hpp"
#include "plugin.hpp"

namespace hidenerf {

// TriplaneRender: deformation FP32 [B, 3N, R, R], camera FP32 [B, 25], planes per level [B, 3, C, r_l, r_l], weight_1
// [W, L·C + 6·octaves], bias_1 [W], weight_2 [K + 1, W], bias_2 [K + 1] → rendered FP32 [B, K, R, R], alpha FP32
// [B, 1, R, R] and, if the field place is 1, place FP32 [B, 3, R, R]. Fields: octaves, and place, which is 0 if absent.
// Sizes must be ones that the library was built for; the batch may vary.
class TriplaneRender final : public Plugin {
public:
    static constexpr char kName[] = "TriplaneRender";
    static constexpr char kOctaves[] = "octaves";
    static constexpr char kPlace[] = "place";
    static constexpr int kMostOctaves = 16;

    TriplaneRender(int octaves, bool place) noexcept;
    TriplaneRender(TriplaneRender const& other) noexcept;

    char const* getPluginName() const noexcept override { return kName; }
    nvinfer1::IPluginV3* clone() noexcept override;
    int32_t getNbOutputs() const noexcept override { return 2 + place_; }
    std::size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
                                 nvinfer1::DynamicPluginTensorDesc const* outputs,
                                 int32_t nbOutputs) const noexcept override;
    char const* getTimingCacheID() noexcept override { return timing_cache_id_; }
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
    // The one for these inputs; nullptr, after saying why, if there is none.
    Renderer const* renderer_for(nvinfer1::Dims const* shapes, int count) const noexcept;

    int32_t octaves_, place_;
    Renderer const* renderer_ = nullptr;
    char timing_cache_id_[32];
    nvinfer1::PluginField field_[2];
    nvinfer1::PluginFieldCollection fields_;
};

}  // namespace hidenerf
