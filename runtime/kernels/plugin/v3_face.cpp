// The ops as plugins of TensorRT 10 and newer: IPluginV3, and the library's two entry points, by which TensorRT takes
// it from a plan or a path. Nothing registers itself.
#include <memory>
#include <new>
#include <utility>

#include "face.hpp"
#include "messages.hpp"

namespace hidenerf {

using namespace nvinfer1;

namespace {

// inputs: how many the node has, which `enqueue` is not told; 0 before onShapeChange.
class PluginV3 final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    explicit PluginV3(std::unique_ptr<Op> op, int inputs = 0) noexcept
        : op_(std::move(op)), fields_(*op_), inputs_(inputs) {}

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
            case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override {
        std::unique_ptr<Op> copy(op_->clone());
        return copy == nullptr ? nullptr : new (std::nothrow) PluginV3(std::move(copy), inputs_);
    }

    char const* getPluginName() const noexcept override { return op_->name(); }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }
    int32_t getNbOutputs() const noexcept override { return op_->outputs(); }
    char const* getTimingCacheID() noexcept override { return fields_.text(); }
    PluginFieldCollection const* getFieldsToSerialize() noexcept override { return fields_.collection(); }

    int32_t getOutputDataTypes(DataType* outputTypes, int32_t nbOutputs, DataType const* inputTypes,
                               int32_t nbInputs) const noexcept override {
        if (!op_->takes_counts(nbInputs, nbOutputs)) return 1;
        Type inputs[kMostInputs], outputs[kMostOutputs];
        for (int i = 0; i < nbInputs; ++i) inputs[i] = type_of(inputTypes[i]);
        if (!op_->output_types(inputs, nbInputs, outputs)) return 1;
        for (int i = 0; i < nbOutputs; ++i) outputTypes[i] = data_type_of(outputs[i]);
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const*, int32_t nbShapeInputs,
                            DimsExprs* outputs, int32_t nbOutputs, IExprBuilder& exprBuilder) noexcept override {
        if (!op_->takes_counts(nbInputs, nbOutputs)) return 1;
        if (nbShapeInputs != 0) {
            complain("%s: has %d shape inputs, not 0", op_->name(), nbShapeInputs);
            return 1;
        }
        Shape shapes[kMostInputs];
        for (int i = 0; i < nbInputs; ++i) shapes[i] = shape_of(inputs[i]);
        if (!op_->takes_shapes(shapes, nbInputs)) return 1;
        OutputShape made[kMostOutputs];
        op_->output_shapes(shapes, nbInputs, made);
        for (int i = 0; i < nbOutputs; ++i) outputs[i] = sizes_of(made[i], inputs, exprBuilder);
        return 0;
    }

    bool supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs,
                                   int32_t nbOutputs) noexcept override {
        if (!op_->takes_counts(nbInputs, nbOutputs) || pos < 0 || pos >= nbInputs + nbOutputs) return false;
        const int first = op_->first_data(nbInputs);
        return takes_format(*op_, pos, inOut[pos].desc, inOut[first < pos ? first : pos].desc, nbInputs);
    }

    int32_t configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs, DynamicPluginTensorDesc const*,
                            int32_t nbOutputs) noexcept override {
        if (!op_->takes_counts(nbInputs, nbOutputs)) return 1;
        for (Dims DynamicPluginTensorDesc::*bound : {&DynamicPluginTensorDesc::min, &DynamicPluginTensorDesc::max}) {
            Shape shapes[kMostInputs];
            for (int i = 0; i < nbInputs; ++i) shapes[i] = shape_of(in[i].*bound);
            if (!op_->takes_shapes(shapes, nbInputs)) return 1;
        }
        return 0;
    }

    std::size_t getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t nbInputs,
                                 DynamicPluginTensorDesc const*, int32_t) const noexcept override {
        // Asked of what configurePlugin took.
        Shape shapes[kMostInputs];
        for (int i = 0; i < nbInputs; ++i) shapes[i] = shape_of(inputs[i].max);
        return op_->workspace_bytes(shapes, nbInputs);
    }

    int32_t onShapeChange(PluginTensorDesc const* in, int32_t nbInputs, PluginTensorDesc const*,
                          int32_t nbOutputs) noexcept override {
        if (!op_->takes_counts(nbInputs, nbOutputs)) return 1;
        Shape shapes[kMostInputs];
        for (int i = 0; i < nbInputs; ++i) shapes[i] = shape_of(in[i].dims);
        if (!op_->takes_shapes(shapes, nbInputs)) return 1;
        inputs_ = nbInputs;
        return op_->prepare(shapes, nbInputs);
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    int32_t enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const*, void const* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        if (inputs_ == 0) {
            complain("%s: enqueue before onShapeChange", op_->name());
            return 1;
        }
        return enqueue_op(*op_, inputDesc, inputs_, inputs, outputs, workspace, stream);
    }

private:
    std::unique_ptr<Op> op_;
    Fields fields_;
    int inputs_;
};

class CreatorV3 final : public IPluginCreatorV3One {
public:
    explicit CreatorV3(int index) noexcept : index_(index), fields_(op_kind(index)) {}

    IPluginV3* createPlugin(char const*, PluginFieldCollection const* fc, TensorRTPhase) noexcept override {
        std::unique_ptr<Op> op(make_op(index_, fc));
        return op == nullptr ? nullptr : new (std::nothrow) PluginV3(std::move(op));
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return fields_.collection(); }
    char const* getPluginName() const noexcept override { return op_kind(index_).name; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    int index_;
    Fields fields_;
};

}  // namespace
}  // namespace hidenerf

extern "C" [[gnu::visibility("default")]] nvinfer1::IPluginCreatorInterface* const* getCreators(
    int32_t& nbCreators) noexcept {
    using namespace hidenerf;
    static CreatorV3 first(0), second(1), third(2), fourth(3);
    static IPluginCreatorInterface* const creators[kOps] = {&first, &second, &third, &fourth};
    static_assert(kOps == 4, "a creator for each op");
    nbCreators = kOps;
    return creators;
}

extern "C" [[gnu::visibility("default")]] void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
    hidenerf::set_logger_finder(finder);
}
