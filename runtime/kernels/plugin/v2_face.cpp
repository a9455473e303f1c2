// The ops as plugins of TensorRT 8.6: IPluginV2DynamicExt, and the library's two entry points, by which TensorRT takes
// it from a plan or a path. Nothing registers itself.
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "face.hpp"
#include "messages.hpp"

// TensorRT 8.6 calls IPluginV2 deprecated, and its creators return it.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace hidenerf {

using namespace nvinfer1;

namespace {

// Kept of a plugin in a plan: the op's fields, and how many inputs the node has, which `enqueue` is not told.
struct Kept {
    int32_t values[kMostFields];
    int32_t inputs;
};

class PluginV2 final : public IPluginV2DynamicExt {
public:
    PluginV2(std::unique_ptr<Op> op, int inputs) noexcept : op_(std::move(op)), inputs_(inputs) {}

    char const* getPluginType() const noexcept override { return op_->name(); }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    // Always the namespace that the nodes name, whatever a library is registered as.
    char const* getPluginNamespace() const noexcept override { return kNamespace; }
    void setPluginNamespace(char const*) noexcept override {}
    int32_t getNbOutputs() const noexcept override { return op_->outputs(); }
    void destroy() noexcept override { delete this; }

    IPluginV2DynamicExt* clone() const noexcept override {
        std::unique_ptr<Op> copy(op_->clone());
        if (copy == nullptr) return nullptr;
        auto* made = new (std::nothrow) PluginV2(std::move(copy), inputs_);
        if (made != nullptr) made->prepared_ = prepared_;
        return made;
    }

    std::size_t getSerializationSize() const noexcept override { return sizeof(Kept); }
    void serialize(void* buffer) const noexcept override {
        Kept kept = {};
        for (int i = 0; i < op_->kind().fields; ++i) kept.values[i] = op_->value(i);
        kept.inputs = inputs_;
        std::memcpy(buffer, &kept, sizeof kept);
    }

    // This interface does not say when shapes change: kernels are loaded by the first `enqueue`, which must not be
    // captured.
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}

    // Without a way to refuse: what TensorRT was told of formats it keeps to. It also asks while it tries types for the
    // layers around, so the inputs' types need not fit each other.
    DataType getOutputDataType(int32_t index, DataType const* inputTypes, int32_t nbInputs) const noexcept override {
        if (!op_->takes_counts(nbInputs, op_->outputs())) return DataType::kFLOAT;
        return data_type_of(op_->output_type(index, nbInputs, type_of(inputTypes[op_->first_data(nbInputs)])));
    }

    DimsExprs getOutputDimensions(int32_t outputIndex, DimsExprs const* inputs, int32_t nbInputs,
                                  IExprBuilder& exprBuilder) noexcept override {
        Shape shapes[kMostInputs];
        // -1 dimensions: TensorRT refuses them, after the message.
        DimsExprs refused{};
        refused.nbDims = -1;
        if (!op_->takes_counts(nbInputs, op_->outputs())) return refused;
        for (int i = 0; i < nbInputs; ++i) shapes[i] = shape_of(inputs[i]);
        if (!op_->takes_shapes(shapes, nbInputs)) return refused;
        OutputShape made[kMostOutputs];
        op_->output_shapes(shapes, nbInputs, made);
        return sizes_of(made[outputIndex], inputs, exprBuilder);
    }

    bool supportsFormatCombination(int32_t pos, PluginTensorDesc const* inOut, int32_t nbInputs,
                                   int32_t nbOutputs) noexcept override {
        if (!op_->takes_counts(nbInputs, nbOutputs) || pos < 0 || pos >= nbInputs + nbOutputs) return false;
        const int first = op_->first_data(nbInputs);
        return takes_format(*op_, pos, inOut[pos], inOut[first < pos ? first : pos], nbInputs);
    }

    void configurePlugin(DynamicPluginTensorDesc const*, int32_t nbInputs, DynamicPluginTensorDesc const*,
                         int32_t) noexcept override {
        inputs_ = nbInputs;
    }

    std::size_t getWorkspaceSize(PluginTensorDesc const* inputs, int32_t nbInputs, PluginTensorDesc const*,
                                 int32_t nbOutputs) const noexcept override {
        Shape shapes[kMostInputs];
        if (!op_->takes_counts(nbInputs, nbOutputs)) return 0;
        for (int i = 0; i < nbInputs; ++i) shapes[i] = shape_of(inputs[i].dims);
        return op_->workspace_bytes(shapes, nbInputs);
    }

    int32_t enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const*, void const* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        if (!prepared_) {
            Shape shapes[kMostInputs];
            if (!op_->takes_counts(inputs_, op_->outputs())) return 1;
            for (int i = 0; i < inputs_; ++i) shapes[i] = shape_of(inputDesc[i].dims);
            if (!op_->takes_shapes(shapes, inputs_)) return 1;
            const int status = op_->prepare(shapes, inputs_);
            if (status != 0) return status;
            prepared_ = true;
        }
        return enqueue_op(*op_, inputDesc, inputs_, inputs, outputs, workspace, stream);
    }

private:
    std::unique_ptr<Op> op_;
    int inputs_;
    bool prepared_ = false;
};

class CreatorV2 final : public IPluginCreator {
public:
    explicit CreatorV2(int index) noexcept : index_(index), fields_(op_kind(index)) {}

    IPluginV2* createPlugin(char const*, PluginFieldCollection const* fc) noexcept override {
        return plugin_of(make_op(index_, fc), 0);
    }

    IPluginV2* deserializePlugin(char const*, void const* serialData, std::size_t serialLength) noexcept override {
        OpKind const& kind = op_kind(index_);
        Kept kept;
        if (serialLength != sizeof kept) {
            complain("%s: a plan has %zu bytes of it, not %zu; build the engine again", kind.name, serialLength,
                     sizeof kept);
            return nullptr;
        }
        std::memcpy(&kept, serialData, sizeof kept);
        GivenField given[kMostFields];
        for (int i = 0; i < kind.fields; ++i) given[i] = {kind.field[i].name, &kept.values[i]};
        return plugin_of(make_op(index_, given, kind.fields), kept.inputs);
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return fields_.collection(); }
    char const* getPluginName() const noexcept override { return op_kind(index_).name; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }
    void setPluginNamespace(char const*) noexcept override {}

private:
    IPluginV2* plugin_of(Op* made, int inputs) const noexcept {
        std::unique_ptr<Op> op(made);
        return op == nullptr ? nullptr : new (std::nothrow) PluginV2(std::move(op), inputs);
    }

    int index_;
    Fields fields_;
};

}  // namespace
}  // namespace hidenerf

extern "C" [[gnu::visibility("default")]] nvinfer1::IPluginCreator* const* getPluginCreators(
    int32_t& nbCreators) noexcept {
    using namespace hidenerf;
    static CreatorV2 first(0), second(1), third(2), fourth(3);
    static IPluginCreator* const creators[kOps] = {&first, &second, &third, &fourth};
    static_assert(kOps == 4, "a creator for each op");
    nbCreators = kOps;
    return creators;
}

extern "C" [[gnu::visibility("default")]] void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
    hidenerf::set_logger_finder(finder);
}
