#include "ops.hpp"

#include <cstdio>
#include <cstring>
#include <new>

#include "align_source_op.hpp"
#include "grid_sample_3d_op.hpp"
#include "messages.hpp"
#include "ray_samples_op.hpp"
#include "triplane_render_op.hpp"

namespace hidenerf {

namespace {

// Read by export/engines/plugin.py from the file.
[[gnu::used]] constexpr char kDescription[] =
#include "description.inc"
    ;

constexpr OpKind const* kKinds[kOps] = {&TriplaneRender::kKind, &GridSample3d::kKind, &AlignSource::kKind,
                                        &RaySamples::kKind};

// Says which fields an op takes.
void refuse(OpKind const& kind, char const* field) noexcept {
    if (kind.fields == 0)
        complain("%s: takes no fields, and there is %s", kind.name, field);
    else
        complain("%s: takes the fields %s and %s, each once, and there is another %s", kind.name, kind.field[0].name,
                 kind.field[1].name, field);
}

// Whether the fields are the op's; values in the order of `kind`.
bool read_fields(OpKind const& kind, GivenField const* given, int count, int32_t* values) noexcept {
    bool found[kMostFields] = {};
    for (int i = 0; i < count; ++i) {
        int at = 0;
        while (at < kind.fields && std::strcmp(given[i].name, kind.field[at].name) != 0) ++at;
        if (at == kind.fields || found[at]) {
            refuse(kind, given[i].name);
            return false;
        }
        if (given[i].value == nullptr) {
            complain("%s: %s is not one 32-bit integer", kind.name, given[i].name);
            return false;
        }
        std::memcpy(&values[at], given[i].value, sizeof(int32_t));
        found[at] = true;
    }
    for (int at = 0; at < kind.fields; ++at) {
        FieldKind const& field = kind.field[at];
        if (!found[at] && !field.optional) {
            complain("%s: the field %s is missing", kind.name, field.name);
            return false;
        }
        if (!found[at]) values[at] = field.otherwise;
        if (values[at] < field.least || values[at] > field.most) {
            complain("%s: %s is %d, not %d %s %d", kind.name, field.name, values[at], field.least,
                     field.most == field.least + 1 ? "or" : "to", field.most);
            return false;
        }
    }
    return true;
}

}  // namespace

OpKind const& op_kind(int index) noexcept { return *kKinds[index]; }

Op* make_op(int index, GivenField const* given, int count) noexcept {
    OpKind const* kind = kKinds[index];
    int32_t values[kMostFields] = {};
    if (!read_fields(*kind, given, count, values)) return nullptr;
    if (kind == &TriplaneRender::kKind) return new (std::nothrow) TriplaneRender(values);
    if (kind == &AlignSource::kKind) return new (std::nothrow) AlignSource(values);
    if (kind == &RaySamples::kKind) return new (std::nothrow) RaySamples(values);
    return new (std::nothrow) GridSample3d;
}

}  // namespace hidenerf
