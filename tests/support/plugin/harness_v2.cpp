// Drives a plugin library of TensorRT 8.6 as TensorRT does, as far as the interface differs from that of
// harness_v3.cpp: what the ops refuse and compute is theirs, whatever the face.
//
//   harness life LIBRARY gpu|no-gpu
//   harness run LIBRARY OP FIELDS host|device FOLDER
//       As harness_v3.cpp has them.
#include "harness_support.hpp"

// Its creators return what it calls deprecated.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace {

struct Destroys {
    void operator()(IPluginV2DynamicExt* plugin) const { plugin->destroy(); }
};

// A plugin of this interface, or no plugin.
struct Handle {
    std::unique_ptr<IPluginV2DynamicExt, Destroys> plugin;

    explicit Handle(IPluginV2* given) : plugin(static_cast<IPluginV2DynamicExt*>(given)) {
        if (given == nullptr) stop("no plugin");
    }
    IPluginV2DynamicExt* operator->() const { return plugin.get(); }
};

struct Library {
    void* handle;
    std::vector<IPluginCreator*> creators;
    void (*set_logger_finder)(ILoggerFinder*);

    explicit Library(char const* path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        if (handle == nullptr) stop(dlerror());
        using GetCreators = IPluginCreator* const* (*)(int32_t&);
        auto get_creators = reinterpret_cast<GetCreators>(dlsym(handle, "getPluginCreators"));
        set_logger_finder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(handle, "setLoggerFinder"));
        if (get_creators == nullptr || set_logger_finder == nullptr) stop("an entry point is missing");
        int32_t count = 0;
        IPluginCreator* const* found = get_creators(count);
        creators.assign(found, found + count);
        CHECK(count == 4);
        for (IPluginCreator* one : creators) {
            CHECK(std::strcmp(one->getPluginVersion(), "1") == 0);
            CHECK(std::strcmp(one->getPluginNamespace(), "hidenerf") == 0);
        }
        set_logger_finder(&finder);
    }
    ~Library() { dlclose(handle); }

    IPluginCreator* creator(std::string const& op) const {
        for (IPluginCreator* one : creators)
            if (op == one->getPluginName()) return one;
        stop("no creator of " + op);
    }
    Handle create(std::string const& op, std::string const& fields) const {
        const Given given(Given::parsed(fields));
        return Handle(creator(op)->createPlugin("layer", given.collection()));
    }
};

std::vector<PluginTensorDesc> fixed(std::vector<Tensor> const& tensors) {
    std::vector<PluginTensorDesc> all;
    for (Tensor const& tensor : tensors) all.push_back({tensor.shape, tensor.type, TensorFormat::kLINEAR, -1.0f});
    return all;
}

std::vector<Tensor> outputs_of(Handle const& h, std::vector<Tensor> const& inputs) {
    Sizes sizes;
    std::vector<DimsExprs> given;
    std::vector<DataType> types;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        given.push_back(sizes.of(inputs[i].shape, int(i)));
        types.push_back(inputs[i].type);
    }
    std::vector<Tensor> outputs;
    const auto n = int32_t(inputs.size());
    for (int i = 0; i < h->getNbOutputs(); ++i) {
        const DimsExprs made = h->getOutputDimensions(i, given.data(), n, sizes);
        if (made.nbDims < 0) return {};
        std::vector<int64_t> known;
        for (int d = 0; d < made.nbDims; ++d) known.push_back(made.d[d]->getConstantValue());
        outputs.push_back({shape_of(known), h->getOutputDataType(i, types.data(), n)});
    }
    return outputs;
}

bool same(std::vector<Tensor> const& a, std::vector<Tensor> const& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i].type != b[i].type || a[i].shape.nbDims != b[i].shape.nbDims) return false;
        for (int d = 0; d < a[i].shape.nbDims; ++d)
            if (a[i].shape.d[d] != b[i].shape.d[d]) return false;
    }
    return true;
}

bool supported(Handle const& h, std::vector<PluginTensorDesc> const& all, std::size_t inputs) {
    for (std::size_t i = 0; i < all.size(); ++i)
        if (!h->supportsFormatCombination(int32_t(i), all.data(), int32_t(inputs), int32_t(all.size() - inputs)))
            return false;
    return true;
}

Handle deserialised(Library const& library, Handle const& h) {
    std::vector<char> bytes(h->getSerializationSize());
    h->serialize(bytes.data());
    return Handle(library.creator(h->getPluginType())->deserializePlugin("layer", bytes.data(), bytes.size()));
}

// From the build to the destruction of a running engine's plugin.
void whole_life(Library const& library, std::string const& op, std::string const& fields,
                std::vector<Tensor> const& inputs, std::vector<Tensor> const& outputs, std::size_t workspace,
                bool runs) {
    Handle built(library.create(op, fields)->clone());
    CHECK(op == built->getPluginType());
    CHECK(std::strcmp(built->getPluginVersion(), "1") == 0);
    CHECK(std::strcmp(built->getPluginNamespace(), "hidenerf") == 0);
    CHECK(same(outputs_of(built, inputs), outputs));

    std::vector<Tensor> tensors = inputs;
    tensors.insert(tensors.end(), outputs.begin(), outputs.end());
    const auto all = fixed(tensors);
    const auto n = int32_t(inputs.size()), m = int32_t(outputs.size());
    CHECK(supported(built, all, inputs.size()));
    for (std::size_t i = 0; i < all.size(); ++i) {
        auto changed = all;
        changed[i].type = DataType::kINT8;
        CHECK(!supported(built, changed, inputs.size()));
        changed = all;
        changed[i].format = TensorFormat::kHWC8;
        CHECK(!supported(built, changed, inputs.size()));
    }
    auto wrong = inputs;
    wrong[1].shape.nbDims -= 1;
    CHECK(says(op + ": ", [&] {
        const Handle single(library.create(op, fields)->clone());
        Sizes sizes;
        std::vector<DimsExprs> given;
        for (std::size_t i = 0; i < wrong.size(); ++i) given.push_back(sizes.of(wrong[i].shape, int(i)));
        CHECK(single->getOutputDimensions(0, given.data(), n, sizes).nbDims < 0);
    }));

    std::vector<DynamicPluginTensorDesc> in;
    for (int i = 0; i < n; ++i) in.push_back({all[i], all[i].dims, all[i].dims});
    built->configurePlugin(in.data(), n, nullptr, m);
    CHECK(built->getWorkspaceSize(all.data(), n, all.data() + n, m) == workspace);

    const Handle in_engine = deserialised(library, built);
    CHECK(in_engine->getNbOutputs() == m);
    CHECK(in_engine->initialize() == 0);
    const Handle running(in_engine->clone());
    running->attachToContext(nullptr, nullptr, nullptr);
    if (!runs) {
        std::vector<void*> addresses(tensors.size(), nullptr);
        CHECK(says("CUDA fails while loading its kernels: ", [&] {
            CHECK(running->enqueue(all.data(), all.data() + n, addresses.data(), addresses.data() + n, nullptr,
                                   nullptr) != 0);
        }));
    }
    in_engine->terminate();
}

int life(char const* path, bool runs) {
    const Library library(path);
    CHECK(says("the field octaves is missing", [&] {
        CHECK(library.creator("TriplaneRender")->createPlugin("layer", nullptr) == nullptr);
    }));
    CHECK(says("a plan has 3 bytes of it", [&] {
        CHECK(library.creator("AlignSource")->deserializePlugin("layer", "abc", 3) == nullptr);
    }));
    const int32_t none[] = {0, 0, 0, 0};
    CHECK(says("maps is 0, not 1 to 48", [&] {
        CHECK(library.creator("AlignSource")->deserializePlugin("layer", none, sizeof none) == nullptr);
    }));
    PluginFieldCollection const* names = library.creator("AlignSource")->getFieldNames();
    CHECK(names->nbFields == 3 && std::strcmp(names->fields[0].name, "maps") == 0);
    // As in harness_v3.cpp.
    const std::size_t operands = 16 * (2 * 2 * 32 + 2 * 2 * 32 + 2 * 32) + 64;
    const auto whole = [](std::size_t bytes) { return (bytes + 255) / 256 * 256; };
    const std::size_t workspace = 256 + whole(operands) + whole(2 * 3 * 16 * 10 * 10) + whole(2 * 3 * 16 * 18 * 18);
    // TensorRT also asks with types that do not fit each other, while it tries types for the layers around.
    auto tried = render_inputs(2, kHalf);
    tried[5].type = kSingle;
    finder.logger.messages.clear();
    CHECK(same(outputs_of(library.create("TriplaneRender", "octaves=3"), tried), render_outputs(2)));
    auto samples = sample_inputs(2, kHalf);
    samples[1].type = kHalf;
    CHECK(same(outputs_of(library.create("GridSample3d", "-"), samples), sample_outputs(2, kHalf)));
    CHECK(finder.logger.messages.empty());
    for (DataType data : {kSingle, kHalf}) {
        whole_life(library, "TriplaneRender", "octaves=3", render_inputs(2, data), render_outputs(2), workspace, runs);
        whole_life(library, "TriplaneRender", "octaves=3,place=1", render_inputs(2, data), render_outputs(2, true),
                   workspace, runs);
        for (const Own own : {Own::kNone, Own::kPicture, Own::kEnlarged})
            whole_life(library, "AlignSource", align_fields(own).c_str(), align_inputs(2, data, own),
                       align_outputs(2, data, own), kAlignWorkspace, runs);
        whole_life(library, "RaySamples", kRayFields, ray_inputs(2, data), ray_outputs(2, data), 0, runs);
        whole_life(library, "GridSample3d", "-", sample_inputs(2, data), sample_outputs(2, data), 0, runs);
    }
    ThrowingFinder throwing;
    for (ILoggerFinder* other : {static_cast<ILoggerFinder*>(&throwing), static_cast<ILoggerFinder*>(nullptr)}) {
        library.set_logger_finder(other);
        CHECK(library.creator("TriplaneRender")->createPlugin("layer", nullptr) == nullptr);
    }
    return failures == 0 ? 0 : 1;
}

int run(char const* path, std::string const& op, std::string const& fields, bool device, std::string const& folder) {
    const Library library(path);
    const Handle built = library.create(op, fields);
    const std::vector<Tensor> inputs = read_inputs(folder + "/inputs.txt");
    const std::vector<Tensor> outputs = outputs_of(built, inputs);
    if (outputs.empty()) stop("refused: " + finder.logger.messages.at(0));
    const auto in = fixed(inputs), out = fixed(outputs);
    const auto n = int32_t(inputs.size()), m = int32_t(outputs.size());
    built->configurePlugin(nullptr, n, nullptr, m);
    Memory workspace(built->getWorkspaceSize(in.data(), n, out.data(), m), device);
    std::vector<std::unique_ptr<Memory>> kept;
    std::vector<void*> from, to;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        kept.push_back(std::make_unique<Memory>(bytes_of(inputs[i]), device));
        kept.back()->read(folder + "/input_" + std::to_string(i) + ".bin");
        from.push_back(kept.back()->at);
    }
    for (Tensor const& output : outputs) {
        kept.push_back(std::make_unique<Memory>(bytes_of(output), device));
        to.push_back(kept.back()->at);
    }
    const Handle running = deserialised(library, built);
    cudaStream_t stream = nullptr;
    if (device) checked(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    const auto poison = [&] {
        workspace.poison();
        for (std::size_t i = 0; i < outputs.size(); ++i) kept[inputs.size() + i]->poison();
        if (device) checked(cudaDeviceSynchronize());
    };
    const auto enqueue = [&] {
        if (running->enqueue(in.data(), out.data(), from.data(), to.data(), workspace.at, stream) != 0)
            stop("enqueue: " + finder.logger.messages.at(0));
    };
    const auto write = [&](std::string const& name) {
        if (device) checked(cudaStreamSynchronize(stream));
        for (std::size_t i = 0; i < outputs.size(); ++i)
            kept[inputs.size() + i]->write(folder + "/" + name + "_" + std::to_string(i) + ".bin");
    };
    // The first run loads kernels, which capture forbids.
    poison();
    enqueue();
    write("output");
    if (device) {
        cudaGraph_t graph;
        cudaGraphExec_t replay;
        poison();
        checked(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
        enqueue();
        checked(cudaStreamEndCapture(stream, &graph));
        checked(cudaGraphInstantiate(&replay, graph, 0));
        checked(cudaGraphLaunch(replay, stream));
        write("replayed");
        checked(cudaGraphExecDestroy(replay));
        checked(cudaGraphDestroy(graph));
        checked(cudaStreamDestroy(stream));
    }
    return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
    const std::string command = count > 1 ? words[1] : "";
    if (command == "life" && count == 4) return life(words[2], std::strcmp(words[3], "gpu") == 0);
    if (command == "run" && count == 7)
        return run(words[2], words[3], words[4], std::strcmp(words[5], "device") == 0, words[6]);
    stop("harness life LIBRARY gpu|no-gpu, or harness run LIBRARY OP FIELDS host|device FOLDER");
}
