// Drives a plugin library as TensorRT does. TensorRT is not here: what it hands to a plugin (symbolic sizes, a logger,
// a registry's work) are test doubles of its own headers' interfaces, so nothing below verifies TensorRT itself.
//
//   harness life LIBRARY gpu|no-gpu
//       Every method in the order of its life, with refusals; a library whose kernels cannot run must say so.
//   harness run LIBRARY OP FIELDS host|device FOLDER
//       OP's outputs of FOLDER's inputs: inputs.txt has a line "fp32 1 3 4" for each of input_0.bin, input_1.bin, …;
//       written are output_0.bin, … On a device once as it is (output_) and once out of a CUDA graph (replayed_).
#include "harness_support.hpp"

namespace {

class ResourceContext final : public IPluginResourceContext {
public:
    IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
};

// A plugin and its three capabilities.
struct Handle {
    std::unique_ptr<IPluginV3> plugin;
    IPluginV3OneCore* core = nullptr;
    IPluginV3OneBuild* build = nullptr;
    IPluginV3OneRuntime* runtime = nullptr;

    explicit Handle(IPluginV3* given) : plugin(given) {
        if (given == nullptr) stop("no plugin");
        CHECK(std::strcmp(given->getInterfaceInfo().kind, "PLUGIN") == 0);
        core = static_cast<IPluginV3OneCore*>(given->getCapabilityInterface(PluginCapabilityType::kCORE));
        build = static_cast<IPluginV3OneBuild*>(given->getCapabilityInterface(PluginCapabilityType::kBUILD));
        runtime = static_cast<IPluginV3OneRuntime*>(given->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        if (core == nullptr || build == nullptr || runtime == nullptr) stop("a capability is missing");
        CHECK(std::strcmp(core->getInterfaceInfo().kind, "PLUGIN_V3ONE_CORE") == 0);
        CHECK(std::strcmp(build->getInterfaceInfo().kind, "PLUGIN_V3ONE_BUILD") == 0);
        CHECK(std::strcmp(runtime->getInterfaceInfo().kind, "PLUGIN_V3ONE_RUNTIME") == 0);
        CHECK(given->getCapabilityInterface(PluginCapabilityType(7)) == nullptr);
    }
};

// What a plan keeps of a plugin: the bytes of its fields.
struct Serialised {
    struct Field {
        std::string name;
        PluginFieldType type;
        int32_t length;
        std::vector<char> bytes;
    };
    std::vector<Field> fields;

    explicit Serialised(PluginFieldCollection const* given) {
        if (given == nullptr) stop("no fields to serialise");
        for (int i = 0; i < given->nbFields; ++i) {
            PluginField const& f = given->fields[i];
            if (f.type != PluginFieldType::kINT32) stop("a field of another type");
            char const* from = static_cast<char const*>(f.data);
            fields.push_back({f.name, f.type, f.length, std::vector<char>(from, from + 4 * f.length)});
        }
    }

    bool operator==(Serialised const& other) const {
        if (fields.size() != other.fields.size()) return false;
        for (std::size_t i = 0; i < fields.size(); ++i)
            if (fields[i].name != other.fields[i].name || fields[i].bytes != other.fields[i].bytes) return false;
        return true;
    }

    Handle create(IPluginCreatorV3One* creator) const {
        std::vector<PluginField> views;
        for (Field const& f : fields) views.emplace_back(f.name.c_str(), f.bytes.data(), f.type, f.length);
        const PluginFieldCollection collection = {int32_t(views.size()), views.data()};
        return Handle(creator->createPlugin("layer", &collection, TensorRTPhase::kRUNTIME));
    }
};

struct Library {
    void* handle;
    IPluginCreatorV3One *triplane_render = nullptr, *grid_sample_3d = nullptr, *align_source = nullptr,
                        *ray_samples = nullptr;
    void (*set_logger_finder)(ILoggerFinder*);

    explicit Library(char const* path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        if (handle == nullptr) stop(dlerror());
        using GetCreators = IPluginCreatorInterface* const* (*)(int32_t&);
        auto get_creators = reinterpret_cast<GetCreators>(dlsym(handle, "getCreators"));
        set_logger_finder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(handle, "setLoggerFinder"));
        if (get_creators == nullptr || set_logger_finder == nullptr) stop("an entry point is missing");
        int32_t count = 0;
        IPluginCreatorInterface* const* creators = get_creators(count);
        CHECK(count == 4);
        for (int i = 0; i < count; ++i) {
            CHECK(std::strcmp(creators[i]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0);
            auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
            CHECK(std::strcmp(creator->getPluginVersion(), "1") == 0);
            CHECK(std::strcmp(creator->getPluginNamespace(), "hidenerf") == 0);
            const std::string name = creator->getPluginName();
            if (name == "TriplaneRender") triplane_render = creator;
            if (name == "GridSample3d") grid_sample_3d = creator;
            if (name == "AlignSource") align_source = creator;
            if (name == "RaySamples") ray_samples = creator;
        }
        if (triplane_render == nullptr || grid_sample_3d == nullptr || align_source == nullptr ||
            ray_samples == nullptr)
            stop("a creator is missing");
        set_logger_finder(&finder);
    }
    ~Library() { dlclose(handle); }

    IPluginCreatorV3One* creator(std::string const& op) const {
        return op == "TriplaneRender" ? triplane_render
               : op == "AlignSource"  ? align_source
               : op == "RaySamples"   ? ray_samples
                                      : grid_sample_3d;
    }
};

IPluginV3* create(IPluginCreatorV3One* creator, std::vector<PluginField> const& fields) {
    const PluginFieldCollection collection = {int32_t(fields.size()), fields.data()};
    return creator->createPlugin("layer", &collection, TensorRTPhase::kBUILD);
}

Handle create_triplane_render(Library const& library, int32_t octaves, int32_t place = 0) {
    std::vector<PluginField> fields = {{"octaves", &octaves, PluginFieldType::kINT32, 1}};
    if (place != 0) fields.emplace_back("place", &place, PluginFieldType::kINT32, 1);
    return Handle(create(library.triplane_render, fields));
}

Handle create_align_source(Library const& library, Own own) {
    const Given fields(Given::parsed(align_fields(own)));
    return Handle(library.align_source->createPlugin("layer", fields.collection(), TensorRTPhase::kBUILD));
}

Handle create_ray_samples(Library const& library, char const* given = kRayFields) {
    const Given fields(Given::parsed(given));
    return Handle(library.ray_samples->createPlugin("layer", fields.collection(), TensorRTPhase::kBUILD));
}

std::vector<DynamicPluginTensorDesc> dynamic(std::vector<Tensor> const& tensors) {
    std::vector<DynamicPluginTensorDesc> all;
    for (Tensor const& tensor : tensors) {
        Dims known = tensor.shape;
        for (int i = 0; i < known.nbDims; ++i)
            if (known.d[i] < 0) known.d[i] = 2;
        all.push_back({{tensor.shape, tensor.type, TensorFormat::kLINEAR, -1.0f}, known, known, known});
    }
    return all;
}

std::vector<PluginTensorDesc> fixed(std::vector<Tensor> const& tensors) {
    std::vector<PluginTensorDesc> all;
    for (Tensor const& tensor : tensors) all.push_back({tensor.shape, tensor.type, TensorFormat::kLINEAR, -1.0f});
    return all;
}

// The shapes' texts, or "refused".
std::vector<std::string> output_shapes(Handle const& h, std::vector<Tensor> const& inputs, int shape_inputs = 0) {
    Sizes sizes;
    std::vector<DimsExprs> given;
    for (std::size_t i = 0; i < inputs.size(); ++i) given.push_back(sizes.of(inputs[i].shape, int(i)));
    std::vector<DimsExprs> outputs(std::size_t(h.build->getNbOutputs()));
    const int32_t status = h.build->getOutputShapes(given.data(), int32_t(given.size()), given.data(), shape_inputs,
                                                    outputs.data(), int32_t(outputs.size()), sizes);
    if (status != 0) return {"refused"};
    std::vector<std::string> texts;
    for (DimsExprs const& output : outputs) texts.push_back(text_of(output));
    return texts;
}

std::vector<DataType> output_types(Handle const& h, std::vector<Tensor> const& inputs) {
    std::vector<DataType> given, outputs(std::size_t(h.build->getNbOutputs()));
    for (Tensor const& input : inputs) given.push_back(input.type);
    const int32_t status = h.build->getOutputDataTypes(outputs.data(), int32_t(outputs.size()), given.data(),
                                                       int32_t(given.size()));
    return status == 0 ? outputs : std::vector<DataType>{};
}

// Whether a combination is supported at every position, asked in order as TensorRT asks.
bool supported(Handle const& h, std::vector<DynamicPluginTensorDesc> const& all, std::size_t inputs) {
    for (std::size_t i = 0; i < all.size(); ++i)
        if (!h.build->supportsFormatCombination(int32_t(i), all.data(), int32_t(inputs), int32_t(all.size() - inputs)))
            return false;
    return true;
}

void refused_fields(Library const& library) {
    int32_t one = 1, two = 2, three = 3, none = 0, many = 17, less = -1;
    float real = 3.0f;
    const auto kInt = PluginFieldType::kINT32;
    const auto refused = [&](std::string const& words, IPluginCreatorV3One* creator, std::vector<PluginField> fields) {
        return says(words, [&] { CHECK(create(creator, fields) == nullptr); });
    };
    IPluginCreatorV3One* render = library.triplane_render;
    CHECK(refused("the field octaves is missing", render, {}));
    CHECK(refused("the field octaves is missing", render, {{"place", &one, kInt, 1}}));
    CHECK(refused("there is another octave", render, {{"octave", &three, kInt, 1}}));
    CHECK(refused("there is another octaves", render, {{"octaves", &three, kInt, 1}, {"octaves", &three, kInt, 1}}));
    CHECK(refused("there is another place", render,
                  {{"place", &one, kInt, 1}, {"octaves", &three, kInt, 1}, {"place", &one, kInt, 1}}));
    CHECK(refused("place is not one 32-bit integer", render,
                  {{"octaves", &three, kInt, 1}, {"place", &real, PluginFieldType::kFLOAT32, 1}}));
    CHECK(refused("place is not one 32-bit integer", render,
                  {{"octaves", &three, kInt, 1}, {"place", nullptr, kInt, 1}}));
    CHECK(refused("place is 2, not 0 or 1", render, {{"octaves", &three, kInt, 1}, {"place", &two, kInt, 1}}));
    CHECK(refused("place is -1, not 0 or 1", render, {{"place", &less, kInt, 1}, {"octaves", &three, kInt, 1}}));
    const Handle two_outputs(create(render, {{"place", &none, kInt, 1}, {"octaves", &three, kInt, 1}}));
    CHECK(two_outputs.build->getNbOutputs() == 2);
    // As a plan from before there was place has it.
    CHECK(Serialised(two_outputs.runtime->getFieldsToSerialize()).fields.size() == 1);
    CHECK(std::string(two_outputs.build->getTimingCacheID()) == "octaves 3");
    const Handle three_outputs = create_triplane_render(library, 3, 1);
    CHECK(three_outputs.build->getNbOutputs() == 3);
    CHECK(std::string(three_outputs.build->getTimingCacheID()) == "octaves 3, place 1");
    CHECK(refused("not one 32-bit integer", render, {{"octaves", &real, PluginFieldType::kFLOAT32, 1}}));
    CHECK(refused("not one 32-bit integer", render, {{"octaves", &three, kInt, 2}}));
    CHECK(refused("not one 32-bit integer", render, {{"octaves", nullptr, kInt, 1}}));
    CHECK(refused("octaves is 0, not 1 to 16", render, {{"octaves", &none, kInt, 1}}));
    CHECK(refused("octaves is 17, not 1 to 16", render, {{"octaves", &many, kInt, 1}}));
    CHECK(refused("takes no fields, and there is mode", library.grid_sample_3d, {{"mode", &three, kInt, 1}}));
    IPluginCreatorV3One* align = library.align_source;
    CHECK(refused("the field maps is missing", align, {{"picture", &one, kInt, 1}}));
    CHECK(refused("maps is 0, not 1 to 48", align, {{"maps", &none, kInt, 1}}));
    CHECK(refused("picture is 2, not 0 or 1", align, {{"maps", &two, kInt, 1}, {"picture", &two, kInt, 1}}));
    CHECK(refused("enlarged is 2, not 0 or 1", align, {{"maps", &two, kInt, 1}, {"enlarged", &two, kInt, 1}}));
    CHECK(refused("each once, and there is another place", align,
                  {{"maps", &two, kInt, 1}, {"picture", &one, kInt, 1}, {"place", &one, kInt, 1}}));
    CHECK(create_align_source(library, Own::kNone).build->getNbOutputs() == 3);
    CHECK(create_align_source(library, Own::kEnlarged).build->getNbOutputs() == 7);
    const Handle pictured = create_align_source(library, Own::kPicture);
    CHECK(pictured.build->getNbOutputs() == 6);
    CHECK(Serialised(pictured.runtime->getFieldsToSerialize()).fields.size() == 2);
    CHECK(std::string(pictured.build->getTimingCacheID()) == "maps 2, picture 1");
    IPluginCreatorV3One* rays = library.ray_samples;
    CHECK(refused("the field samples is missing", rays, {{"stride", &one, kInt, 1}}));
    CHECK(refused("the field stride is missing", rays, {{"samples", &three, kInt, 1}}));
    CHECK(refused("stride is 0, not 1 to 1024", rays, {{"samples", &three, kInt, 1}, {"stride", &none, kInt, 1}}));
    CHECK(refused("takes the fields samples and stride, each once, and there is another octaves", rays,
                  {{"samples", &three, kInt, 1}, {"octaves", &three, kInt, 1}}));
    CHECK(create_ray_samples(library).build->getNbOutputs() == 2);
    CHECK(std::string(create_ray_samples(library).build->getTimingCacheID()) == "samples 6, stride 3");
    CHECK(says("octaves is missing", [&] { CHECK(!render->createPlugin("layer", nullptr, TensorRTPhase::kRUNTIME)); }));
    delete library.grid_sample_3d->createPlugin("layer", nullptr, TensorRTPhase::kRUNTIME);

    PluginFieldCollection const* names = render->getFieldNames();
    CHECK(names->nbFields == 2);
    CHECK(std::strcmp(names->fields[0].name, "octaves") == 0 && names->fields[0].type == kInt);
    CHECK(std::strcmp(names->fields[1].name, "place") == 0 && names->fields[1].type == kInt);
    CHECK(library.grid_sample_3d->getFieldNames()->nbFields == 0);
}

void negotiated_types(Library const& library) {
    const Handle render = create_triplane_render(library, 3), placed = create_triplane_render(library, 3, 1);
    CHECK(output_types(placed, render_inputs(1, kHalf)) == std::vector<DataType>{kSingle, kSingle, kSingle});
    CHECK(output_types(render, render_inputs(1, kSingle)) == std::vector<DataType>{kSingle, kSingle});
    CHECK(output_types(render, render_inputs(1, kHalf)) == std::vector<DataType>{kSingle, kSingle});
    const auto refused_type = [](Handle const& h, std::vector<Tensor> const& inputs, std::size_t i, DataType type,
                                 std::string const& words) {
        return says(words, [&] { CHECK(output_types(h, with(inputs, i, {inputs[i].shape, type})).empty()); });
    };
    CHECK(refused_type(render, render_inputs(1, kHalf), 0, kHalf, "TriplaneRender: input 0 is FP16; coordinates are"));
    CHECK(refused_type(render, render_inputs(1, kHalf), 1, kHalf, "input 1 is FP16"));
    CHECK(refused_type(render, render_inputs(1, kHalf), 3, kSingle, "input 3 is FP32"));
    CHECK(refused_type(render, render_inputs(1, kSingle), 7, kHalf, "input 7 is FP16"));
    CHECK(refused_type(render, render_inputs(1, kSingle), 2, DataType::kINT8, "input 2 is INT8"));

    const Handle sample(create(library.grid_sample_3d, {}));
    CHECK(output_types(sample, sample_inputs(1, kSingle)) == std::vector<DataType>{kSingle});
    CHECK(output_types(sample, sample_inputs(1, kHalf)) == std::vector<DataType>{kHalf});
    CHECK(refused_type(sample, sample_inputs(1, kHalf), 1, kHalf, "GridSample3d: input 1 is FP16; coordinates are"));
    CHECK(refused_type(sample, sample_inputs(1, kHalf), 0, DataType::kBF16, "input 0 is BF16"));

    const Handle align = create_align_source(library, Own::kNone);
    const Handle pictured = create_align_source(library, Own::kPicture);
    const Handle enlarged = create_align_source(library, Own::kEnlarged);
    for (DataType data : {kSingle, kHalf}) {
        using Types = std::vector<DataType>;
        CHECK(output_types(align, align_inputs(1, data, Own::kNone)) == Types{data, data, data});
        CHECK(output_types(pictured, align_inputs(1, data, Own::kPicture)) ==
              Types{data, data, kSingle, kSingle, data, data});
        CHECK(output_types(enlarged, align_inputs(1, data, Own::kEnlarged)) ==
              Types{data, data, kSingle, kSingle, data, data, data});
    }
    for (std::size_t i = 0; i < 9; ++i)
        CHECK(refused_type(pictured, align_inputs(1, kHalf, Own::kPicture), i, kHalf, "is FP16; coordinates are FP32"));
    CHECK(refused_type(align, align_inputs(1, kHalf, Own::kNone), 8, kSingle, "AlignSource: input 8 is FP32"));

    const Handle rays = create_ray_samples(library);
    CHECK(output_types(rays, ray_inputs(1, kSingle)) == std::vector<DataType>{kSingle, kSingle});
    CHECK(output_types(rays, ray_inputs(1, kHalf)) == std::vector<DataType>{kHalf, kHalf});
    CHECK(refused_type(rays, ray_inputs(1, kHalf), 0, kHalf, "RaySamples: input 0 is FP16; coordinates are FP32"));
    CHECK(refused_type(rays, ray_inputs(1, kHalf), 1, DataType::kINT8, "input 1 is INT8"));

    // Every position in turn is asked for another type or format; exactly the two combinations above are supported.
    struct Case {
        Handle const& handle;
        std::vector<Tensor> inputs, outputs;
    };
    for (DataType data : {kSingle, kHalf}) {
        const std::vector<Case> cases = {
            {render, render_inputs(1, data), render_outputs(1)},
            {placed, render_inputs(1, data), render_outputs(1, true)},
            {sample, sample_inputs(1, data), sample_outputs(1, data)},
            {rays, ray_inputs(1, data), ray_outputs(1, data)},
            {align, align_inputs(1, data, Own::kNone), align_outputs(1, data, Own::kNone)},
            {pictured, align_inputs(1, data, Own::kPicture), align_outputs(1, data, Own::kPicture)},
            {enlarged, align_inputs(1, data, Own::kEnlarged), align_outputs(1, data, Own::kEnlarged)}};
        for (Case const& one : cases) {
            Handle const* h = &one.handle;
            std::vector<Tensor> tensors = one.inputs;
            const std::size_t inputs = tensors.size();
            tensors.insert(tensors.end(), one.outputs.begin(), one.outputs.end());
            const std::vector<DynamicPluginTensorDesc> all = dynamic(tensors);
            CHECK(supported(*h, all, inputs));
            for (std::size_t i = 0; i < all.size(); ++i) {
                for (DataType other : {kSingle, kHalf, DataType::kINT8, DataType::kBF16, DataType::kINT32}) {
                    std::vector<DynamicPluginTensorDesc> changed = all;
                    changed[i].desc.type = other;
                    CHECK(supported(*h, changed, inputs) == (other == all[i].desc.type));
                }
                std::vector<DynamicPluginTensorDesc> changed = all;
                changed[i].desc.format = TensorFormat::kHWC8;
                CHECK(!supported(*h, changed, inputs));
            }
            const auto n = int32_t(inputs), m = int32_t(all.size() - inputs);
            CHECK(!h->build->supportsFormatCombination(-1, all.data(), n, m));
            CHECK(!h->build->supportsFormatCombination(n + m, all.data(), n, m));
        }
    }
}

void negotiated_shapes(Library const& library) {
    const Handle render = create_triplane_render(library, 3), sample(create(library.grid_sample_3d, {}));
    using Texts = std::vector<std::string>;
    CHECK(output_shapes(render, render_inputs(1, kHalf)) == Texts{"1 6-1 9 9", "1 1 9 9"});
    CHECK(output_shapes(render, render_inputs(-1, kHalf)) == Texts{"b0 6-1 9 9", "b0 1 9 9"});
    const Handle placed = create_triplane_render(library, 3, 1);
    CHECK(output_shapes(placed, render_inputs(1, kHalf)) == Texts{"1 6-1 9 9", "1 1 9 9", "1 3 9 9"});
    CHECK(output_shapes(placed, render_inputs(-1, kHalf)) == Texts{"b0 6-1 9 9", "b0 1 9 9", "b0 3 9 9"});
    CHECK(output_shapes(sample, sample_inputs(1, kHalf)) == Texts{"1 4 2 3 4"});
    CHECK(output_shapes(sample, {{shape_of({-1, -1, -1, -1, -1}), kHalf}, {shape_of({-1, -1, 3, -1, 3}), kSingle}}) ==
          Texts{"b0 b0 b1 3 b1"});

    const auto refused = [&](Handle const& h, std::vector<Tensor> const& inputs, std::string const& words) {
        return says(words, [&] { CHECK(output_shapes(h, inputs) == Texts{"refused"}); });
    };
    const std::vector<Tensor> good = render_inputs(1, kHalf);
    const auto changed = [&](std::size_t i, std::vector<int64_t> const& sizes) {
        return with(good, i, {shape_of(sizes), good[i].type});
    };
    CHECK(refused(render, changed(0, {1, 18, 9}), "input 0 has 3 dimensions, not 4"));
    CHECK(refused(render, changed(0, {1, 17, 9, 9}), "input 0 has shape [1, 17, 9, 9], not [?, 15, 9, 9]"));
    CHECK(refused(render, changed(0, {1, 18, 9, 8}), "input 0 has shape [1, 18, 9, 8], not [?, 18, 9, 9]"));
    CHECK(refused(render, changed(0, {1, 18, -1, -1}), "sizes must be known when the engine is built"));
    CHECK(refused(render, changed(1, {1, 16}), "input 1 has shape [1, 16], not [1, 25]"));
    CHECK(refused(render, changed(1, {2, 25}), "input 1 has shape [2, 25], not [1, 25]"));
    CHECK(refused(render, changed(2, {1, 3, 16, 9, 9}), "input 2 has shape [1, 3, 16, 9, 9], not [1, 3, 16, 8, 8]"));
    CHECK(refused(render, changed(3, {3, 16, 16, 16}), "input 3 has 4 dimensions, not 5"));
    CHECK(refused(render, changed(4, {24, 49}), "input 4 has shape [24, 49], not [24, 50]"));
    CHECK(refused(render, changed(5, {24, 1}), "input 5 has shape [24, 1], not [24]"));
    CHECK(refused(render, changed(6, {6, 25}), "input 6 has shape [6, 25], not [6, 24]"));
    CHECK(refused(render, changed(7, {5}), "input 7 has shape [5], not [6]"));
    CHECK(refused(create_triplane_render(library, 4), good, "input 4 has shape [24, 50], not [24, 56]"));
    CHECK(refused(render, with(changed(6, {8, 24}), 7, {shape_of({8}), kHalf}),
                  "build it with -DHIDENERF_RENDERERS=9,6,7,2,16,16,24,3"));
    CHECK(refused(placed, with(changed(6, {8, 24}), 7, {shape_of({8}), kHalf}),
                  "build it with -DHIDENERF_RENDERERS=9,6,7,2,16,16,24,3,1"));
    CHECK(refused(render, {good.begin(), good.begin() + 6}, "has 6 inputs, not deformation"));
    CHECK(refused(render, std::vector<Tensor>(65, good[0]), "has 65 inputs, and this plugin takes up to 64"));
    CHECK(says("has 1 shape inputs, not 0", [&] { CHECK(output_shapes(render, good, 1) == Texts{"refused"}); }));

    const Handle align = create_align_source(library, Own::kNone);
    const Handle pictured = create_align_source(library, Own::kPicture);
    const Handle enlarged = create_align_source(library, Own::kEnlarged);
    const std::vector<Tensor> alone = align_inputs(1, kHalf, Own::kNone), whole = align_inputs(1, kHalf, Own::kPicture);
    const std::vector<Tensor> larger = align_inputs(1, kHalf, Own::kEnlarged);
    CHECK(output_shapes(align, alone) == Texts{"1 8 16 16", "1 5 4 4", "1 20 32 32"});
    CHECK(output_shapes(pictured, whole) ==
          Texts{"1 16 16 16", "1 4 64 64", "1 3 64 64", "1 1 64 64", "1 5 4 4", "1 20 32 32"});
    CHECK(output_shapes(enlarged, larger) == Texts{"1 16 16 16", "1 4 32 32", "1 3 64 64", "1 1 64 64", "1 16 32 32",
                                                   "1 5 4 4", "1 20 32 32"});
    CHECK(output_shapes(align, align_inputs(-1, kHalf, Own::kNone)) == Texts{"b1 8 16 16", "b7 5 4 4", "b8 20 32 32"});
    const auto other = [&](std::size_t i, std::vector<int64_t> const& sizes) {
        return with(whole, i, {shape_of(sizes), whole[i].type});
    };
    CHECK(refused(align, whole,
                  "has 11 inputs, not place, alpha, rendered, source_projection, source_surface, face_sight, absent and"));
    CHECK(refused(pictured, alone, "face_sight, source_pixels, source_pixels_small, absent and 2"));
    CHECK(refused(pictured, other(0, {1, 3, 16, 15}), "input 0 has shape [1, 3, 16, 15], not [?, 3, 16, 16]"));
    CHECK(refused(pictured, other(0, {1, 3, -1, -1}), "sizes must be known when the engine is built"));
    CHECK(refused(pictured, other(1, {1, 2, 16, 16}), "input 1 has shape [1, 2, 16, 16], not [1, 1, 16, 16]"));
    CHECK(refused(pictured, other(2, {1, 3, 16, 8}), "input 2 has shape [1, 3, 16, 8], not [1, ?, 16, 16]"));
    CHECK(refused(pictured, other(2, {1, -1, 16, 16}), "a rendered picture has 1 to 1024 channels"));
    CHECK(refused(pictured, other(3, {1, 4, 4}), "input 3 has shape [1, 4, 4], not [1, 3, 4]"));
    CHECK(refused(pictured, other(4, {2, 4, 16, 16}), "input 4 has shape [2, 4, 16, 16], not [1, 4, 16, 16]"));
    CHECK(refused(pictured, other(5, {1, 4, 64}), "input 5 has 3 dimensions, not 4"));
    CHECK(refused(align, with(alone, 5, {shape_of({1, 4, 48, 48}), kSingle}),
                  "a frame of 48 pixels is not 16, twice that, and so on up to 8192"));
    CHECK(refused(pictured, other(6, {1, 3, 32, 32}), "input 6 has shape [1, 3, 32, 32], not [1, 3, 64, 64]"));
    CHECK(refused(pictured, other(7, {1, 3, 32, 32}), "input 7 has shape [1, 3, 32, 32], not [1, 3, 16, 16]"));
    CHECK(refused(pictured, other(8, {24}), "input 8 has shape [24], not [25]"));
    CHECK(refused(pictured, other(9, {1, 5, 4, 8}), "input 9 has shape [1, 5, 4, 8], not [1, ?, 8, 8]"));
    CHECK(refused(pictured, other(9, {1, 5, 2, 2}), "a map has channels, and a side of 4, twice that, and so on"));
    CHECK(refused(pictured, other(10, {1, 5, 128, 128}), "input 10 has shape [1, 5, 128, 128]; a map"));
    std::vector<Tensor> small = larger;
    small[5].shape = shape_of({1, 4, 16, 16});
    small[6].shape = shape_of({1, 3, 16, 16});
    CHECK(refused(enlarged, small, "a frame of an enlarger is larger than 16 pixels"));
    const Given bare(Given::parsed("maps=2,enlarged=1"));
    const Handle without(library.align_source->createPlugin("layer", bare.collection(), TensorRTPhase::kBUILD));
    CHECK(refused(without, alone, "enlarged is 1 and picture is not"));
    std::vector<Tensor> odd = alone;
    for (const std::size_t i : {0, 1, 2, 4}) odd[i].shape.d[2] = odd[i].shape.d[3] = 8;
    CHECK(refused(align, odd, "this library was built for no model with place that renders 8 pixels"));

    const Handle rays = create_ray_samples(library);
    CHECK(output_shapes(rays, ray_inputs(1, kHalf)) == Texts{"1 18 9 9", "1 8 9 9"});
    CHECK(output_shapes(rays, ray_inputs(-1, kHalf)) == Texts{"b1 18 9 9", "b1 8 9 9"});
    const std::vector<Tensor> seen = ray_inputs(1, kHalf);
    CHECK(refused(rays, {seen[0]}, "has 1 inputs, not camera and features"));
    CHECK(refused(create_ray_samples(library, "samples=6,stride=4"), seen, "stride is 4, which does not divide the 6"));
    CHECK(refused(rays, with(seen, 0, {shape_of({1, 16}), kSingle}), "input 0 has shape [1, 16], not [1, 25]"));
    CHECK(refused(rays, with(seen, 0, {shape_of({2, 25}), kSingle}), "input 0 has shape [2, 25], not [1, 25]"));
    CHECK(refused(rays, with(seen, 1, {shape_of({1, 4, 9}), kHalf}), "input 1 has 3 dimensions, not 4"));
    CHECK(refused(rays, with(seen, 1, {shape_of({1, 4, 9, 8}), kHalf}), "has shape [1, 4, 9, 8], not [?, 4, 9, 9]"));
    CHECK(refused(rays, with(seen, 1, {shape_of({1, 4, -1, -1}), kHalf}), "sizes must be known when"));
    CHECK(refused(rays, with(seen, 1, {shape_of({1, -1, 9, 9}), kHalf}), "sizes must be known when"));
    CHECK(refused(rays, with(seen, 1, {shape_of({1, 512, 8192, 8192}), kHalf}), "make more than 2^31 numbers"));
    CHECK(refused(rays, with(seen, 1, {shape_of({1, 4, 16384, 16384}), kHalf}), "make more than 2^31 numbers"));

    const std::vector<Tensor> pair = sample_inputs(1, kSingle);
    CHECK(refused(sample, {pair[0]}, "has 1 inputs, not volume and grid"));
    CHECK(refused(sample, with(pair, 1, {shape_of({1, 2, 3, 4, 2}), kSingle}), "are not [B, C, D, H, W] and"));
    CHECK(refused(sample, with(pair, 1, {shape_of({2, 2, 3, 4, 3}), kSingle}), "grid [2, 2, 3, 4, 3] are not"));
    CHECK(refused(sample, with(pair, 0, {shape_of({1, 4, 5, 6}), kSingle}), "volume [1, 4, 5, 6] and"));
    CHECK(refused(sample, with(pair, 0, {shape_of({1, 1, 2048, 2048, 2048}), kSingle}), "2^31 voxels"));
}

// From the build to the destruction of a running engine's plugin.
void whole_life(IPluginCreatorV3One* creator, Handle first, std::vector<Tensor> const& inputs,
                std::vector<Tensor> const& outputs, std::size_t workspace, bool runs) {
    CHECK(std::strcmp(first.core->getPluginName(), creator->getPluginName()) == 0);
    CHECK(std::strcmp(first.core->getPluginVersion(), "1") == 0);
    CHECK(std::strcmp(first.core->getPluginNamespace(), "hidenerf") == 0);
    CHECK(first.build->getNbOutputs() == int32_t(outputs.size()));
    CHECK(first.build->getNbTactics() == 0);

    Handle h(first.plugin->clone());
    const Serialised before(first.runtime->getFieldsToSerialize());
    const std::string id = first.build->getTimingCacheID();
    first.plugin.reset();

    const auto in = dynamic(inputs), out = dynamic(outputs);
    const auto n = int32_t(inputs.size()), m = int32_t(outputs.size());
    CHECK(h.build->configurePlugin(in.data(), n, out.data(), m) == 0);
    CHECK(h.build->getWorkspaceSize(in.data(), n, out.data(), m) == workspace);
    CHECK(says("outputs, not", [&] { CHECK(h.build->configurePlugin(in.data(), n, out.data(), m + 1) != 0); }));
    auto larger = in;
    larger[1].max.d[1] += 1;
    larger[1].max.d[2] += 1;
    larger[1].max.d[4] += 1;
    const std::string name = creator->getPluginName();
    CHECK(says(name, [&] { CHECK(h.build->configurePlugin(larger.data(), n, out.data(), m) != 0); }));
    CHECK(id == h.build->getTimingCacheID());

    const Serialised kept(h.runtime->getFieldsToSerialize());
    CHECK(kept == before);
    h.plugin.reset();

    Handle in_engine = kept.create(creator);
    CHECK(id == in_engine.build->getTimingCacheID());
    CHECK(Serialised(in_engine.runtime->getFieldsToSerialize()) == kept);
    ResourceContext context;
    Handle one(in_engine.runtime->attachToContext(&context)), other(in_engine.runtime->attachToContext(&context));
    CHECK(one.plugin != other.plugin);
    in_engine.plugin.reset();
    other.plugin.reset();

    CHECK(one.runtime->setTactic(0) == 0);
    const auto in_now = fixed(inputs), out_now = fixed(outputs);
    auto wrong = in_now;
    wrong[1].dims.nbDims -= 1;
    CHECK(says(name, [&] { CHECK(one.runtime->onShapeChange(wrong.data(), n, out_now.data(), m) != 0); }));
    if (runs) {
        CHECK(one.runtime->onShapeChange(in_now.data(), n, out_now.data(), m) == 0);
        return;
    }
    // Without a GPU each of the two says so and fails, and nothing else happens.
    CHECK(says("CUDA fails while loading its kernels: ",
               [&] { CHECK(one.runtime->onShapeChange(in_now.data(), n, out_now.data(), m) != 0); }));
    std::vector<void*> addresses(inputs.size() + outputs.size(), nullptr);
    CHECK(says("CUDA fails while ", [&] {
        CHECK(one.runtime->enqueue(in_now.data(), out_now.data(), addresses.data(), addresses.data() + inputs.size(),
                                   nullptr, nullptr) != 0);
    }));
}

int life(char const* path, bool runs) {
    const Library library(path);
    refused_fields(library);
    negotiated_types(library);
    negotiated_shapes(library);
    // Operands: first layer 2·1·4/2·32 words of 16 bytes, encoding 2·4/2·32, second 4/2·2/2·32, bias 16 numbers.
    const std::size_t operands = 16 * (2 * 2 * 32 + 2 * 2 * 32 + 2 * 32) + 64;
    const auto whole = [](std::size_t bytes) { return (bytes + 255) / 256 * 256; };
    const std::size_t workspace = 256 + whole(operands) + whole(2 * 3 * 16 * 10 * 10) + whole(2 * 3 * 16 * 18 * 18);
    for (DataType data : {kSingle, kHalf}) {
        for (const int32_t place : {0, 1})
            whole_life(library.triplane_render, create_triplane_render(library, 3, place), render_inputs(2, data),
                       render_outputs(2, place != 0), workspace, runs);
        for (const Own own : {Own::kNone, Own::kPicture, Own::kEnlarged})
            whole_life(library.align_source, create_align_source(library, own), align_inputs(2, data, own),
                       align_outputs(2, data, own), kAlignWorkspace, runs);
        whole_life(library.ray_samples, create_ray_samples(library), ray_inputs(2, data), ray_outputs(2, data), 0,
                   runs);
        whole_life(library.grid_sample_3d, Handle(create(library.grid_sample_3d, {})), sample_inputs(2, data),
                   sample_outputs(2, data), 0, runs);
    }
    {
        const Handle early = create_triplane_render(library, 3);
        const auto in = fixed(render_inputs(1, kHalf)), out = fixed(render_outputs(1));
        CHECK(says("enqueue before onShapeChange", [&] {
            CHECK(early.runtime->enqueue(in.data(), out.data(), nullptr, nullptr, nullptr, nullptr) != 0);
        }));
    }
    // With a finder that throws, and with none, the message goes to stderr and nothing leaves the library.
    ThrowingFinder throwing;
    for (ILoggerFinder* other : {static_cast<ILoggerFinder*>(&throwing), static_cast<ILoggerFinder*>(nullptr)}) {
        library.set_logger_finder(other);
        CHECK(create(library.triplane_render, {}) == nullptr);
    }
    return failures == 0 ? 0 : 1;
}

int run(char const* path, std::string const& op, std::string const& values, bool device, std::string const& folder) {
    const Library library(path);
    IPluginCreatorV3One* creator = library.creator(op);
    const Given fields(Given::parsed(values));
    const Handle built(creator->createPlugin("layer", fields.collection(), TensorRTPhase::kBUILD));
    const std::vector<Tensor> inputs = read_inputs(folder + "/inputs.txt");

    const std::vector<DataType> types = output_types(built, inputs);
    Sizes sizes;
    std::vector<DimsExprs> given, made(types.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) given.push_back(sizes.of(inputs[i].shape, int(i)));
    const auto n = int32_t(inputs.size()), m = int32_t(types.size());
    if (built.build->getOutputShapes(given.data(), n, nullptr, 0, made.data(), m, sizes) != 0 || m == 0)
        stop("refused: " + finder.logger.messages.at(0));
    std::vector<Tensor> outputs;
    for (std::size_t i = 0; i < made.size(); ++i) {
        std::vector<int64_t> known;
        for (int d = 0; d < made[i].nbDims; ++d) known.push_back(made[i].d[d]->getConstantValue());
        outputs.push_back({shape_of(known), types[i]});
    }
    const auto dynamic_in = dynamic(inputs), dynamic_out = dynamic(outputs);
    if (built.build->configurePlugin(dynamic_in.data(), n, dynamic_out.data(), m) != 0) stop("not configured");

    Memory workspace(built.build->getWorkspaceSize(dynamic_in.data(), n, dynamic_out.data(), m), device);
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

    const Handle in_engine = Serialised(built.runtime->getFieldsToSerialize()).create(creator);
    ResourceContext context;
    const Handle attached(in_engine.runtime->attachToContext(&context));
    const auto in = fixed(inputs), out = fixed(outputs);
    if (attached.runtime->onShapeChange(in.data(), n, out.data(), m) != 0)
        stop("onShapeChange: " + finder.logger.messages.at(0));
    // A clone is as ready as what it was made of.
    const Handle running(attached.plugin->clone());
    const auto enqueue = [&](cudaStream_t stream) {
        if (running.runtime->enqueue(in.data(), out.data(), from.data(), to.data(), workspace.at, stream) != 0)
            stop("enqueue: " + finder.logger.messages.at(0));
    };
    const auto poison = [&] {
        workspace.poison();
        for (std::size_t i = 0; i < outputs.size(); ++i) kept[inputs.size() + i]->poison();
    };
    const auto write = [&](std::string const& name) {
        for (std::size_t i = 0; i < outputs.size(); ++i)
            kept[inputs.size() + i]->write(folder + "/" + name + "_" + std::to_string(i) + ".bin");
    };
    cudaStream_t stream = nullptr;
    if (device) checked(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    poison();
    if (device) checked(cudaDeviceSynchronize());
    // The first launch of all is captured: nothing that capture forbids is left for it.
    if (device) {
        cudaGraph_t graph;
        cudaGraphExec_t replay;
        checked(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
        enqueue(stream);
        checked(cudaStreamEndCapture(stream, &graph));
        checked(cudaGraphInstantiate(&replay, graph, 0));
        checked(cudaGraphLaunch(replay, stream));
        checked(cudaStreamSynchronize(stream));
        write("replayed");
        checked(cudaGraphExecDestroy(replay));
        checked(cudaGraphDestroy(graph));
        poison();
        checked(cudaDeviceSynchronize());
    }
    enqueue(stream);
    if (device) {
        checked(cudaStreamSynchronize(stream));
        checked(cudaStreamDestroy(stream));
    }
    write("output");
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
