// The library's two entry points, by which TensorRT takes it from a plan or a path; nothing registers itself.
#include <cstring>
#include <new>

#include "grid_sample_3d_plugin.hpp"
#include "messages.hpp"
#include "triplane_render_plugin.hpp"

namespace hidenerf {

using namespace nvinfer1;

namespace {

// Read by export/engines/plugin.py from the file.
[[gnu::used]] constexpr char kDescription[] =
#include "description.inc"
    ;

IPluginV3* make_grid_sample_3d(PluginFieldCollection const& given) noexcept {
    if (given.nbFields == 0) return new (std::nothrow) GridSample3d;
    complain("%s: takes no fields, and there is %s", GridSample3d::kName, given.fields[0].name);
    return nullptr;
}

IPluginV3* make_triplane_render(PluginFieldCollection const& given) noexcept {
    if (given.nbFields != 1 || std::strcmp(given.fields[0].name, TriplaneRender::kOctaves) != 0) {
        complain("%s: takes one field, octaves, and there are %d%s%s", TriplaneRender::kName, given.nbFields,
                 given.nbFields > 0 ? ", first " : "", given.nbFields > 0 ? given.fields[0].name : "");
        return nullptr;
    }
    PluginField const& field = given.fields[0];
    if (field.type != PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr) {
        complain("%s: octaves is not one 32-bit integer", TriplaneRender::kName);
        return nullptr;
    }
    int32_t octaves = 0;
    std::memcpy(&octaves, field.data, sizeof octaves);
    if (octaves < 1 || octaves > TriplaneRender::kMostOctaves) {
        complain("%s: octaves is %d, not 1 to %d", TriplaneRender::kName, octaves, TriplaneRender::kMostOctaves);
        return nullptr;
    }
    return new (std::nothrow) TriplaneRender(octaves);
}

class Creator final : public IPluginCreatorV3One {
public:
    using Make = IPluginV3* (*)(PluginFieldCollection const&) noexcept;

    Creator(char const* name, PluginFieldCollection fields, Make make) noexcept
        : name_(name), fields_(fields), make_(make) {}

    IPluginV3* createPlugin(char const*, PluginFieldCollection const* fc, TensorRTPhase) noexcept override {
        return make_(fc == nullptr ? PluginFieldCollection{} : *fc);
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return &fields_; }
    char const* getPluginName() const noexcept override { return name_; }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    char const* name_;
    PluginFieldCollection fields_;
    Make make_;
};

}  // namespace
}  // namespace hidenerf

extern "C" [[gnu::visibility("default")]] nvinfer1::IPluginCreatorInterface* const* getCreators(
    int32_t& nbCreators) noexcept {
    using namespace hidenerf;
    static const PluginField triplane_fields[] = {{TriplaneRender::kOctaves, nullptr, PluginFieldType::kINT32, 1}};
    static Creator triplane_render(TriplaneRender::kName, {1, triplane_fields}, make_triplane_render);
    static Creator grid_sample_3d(GridSample3d::kName, {}, make_grid_sample_3d);
    static IPluginCreatorInterface* const creators[] = {&triplane_render, &grid_sample_3d};
    nbCreators = 2;
    return creators;
}

extern "C" [[gnu::visibility("default")]] void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
    hidenerf::set_logger_finder(finder);
}
