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
    int32_t octaves = 0, place = 0;
    bool given_octaves = false, given_place = false;
    for (int i = 0; i < given.nbFields; ++i) {
        PluginField const& field = given.fields[i];
        const bool is_octaves = std::strcmp(field.name, TriplaneRender::kOctaves) == 0;
        const bool is_place = std::strcmp(field.name, TriplaneRender::kPlace) == 0;
        if ((!is_octaves && !is_place) || (is_octaves && given_octaves) || (is_place && given_place)) {
            complain("%s: takes the fields octaves and place, each once, and there is another %s",
                     TriplaneRender::kName, field.name);
            return nullptr;
        }
        if (field.type != PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr) {
            complain("%s: %s is not one 32-bit integer", TriplaneRender::kName, field.name);
            return nullptr;
        }
        std::memcpy(is_octaves ? &octaves : &place, field.data, sizeof(int32_t));
        (is_octaves ? given_octaves : given_place) = true;
    }
    if (!given_octaves) {
        complain("%s: the field octaves is missing", TriplaneRender::kName);
        return nullptr;
    }
    if (octaves < 1 || octaves > TriplaneRender::kMostOctaves) {
        complain("%s: octaves is %d, not 1 to %d", TriplaneRender::kName, octaves, TriplaneRender::kMostOctaves);
        return nullptr;
    }
    if (place != 0 && place != 1) {
        complain("%s: place is %d, not 0 or 1", TriplaneRender::kName, place);
        return nullptr;
    }
    return new (std::nothrow) TriplaneRender(octaves, place == 1);
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
    static const PluginField triplane_fields[] = {{TriplaneRender::kOctaves, nullptr, PluginFieldType::kINT32, 1},
                                                  {TriplaneRender::kPlace, nullptr, PluginFieldType::kINT32, 1}};
    static Creator triplane_render(TriplaneRender::kName, {2, triplane_fields}, make_triplane_render);
    static Creator grid_sample_3d(GridSample3d::kName, {}, make_grid_sample_3d);
    static IPluginCreatorInterface* const creators[] = {&triplane_render, &grid_sample_3d};
    nbCreators = 2;
    return creators;
}

extern "C" [[gnu::visibility("default")]] void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
    hidenerf::set_logger_finder(finder);
}
