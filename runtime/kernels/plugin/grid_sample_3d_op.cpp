#include "grid_sample_3d_op.hpp"

#include <climits>
#include <new>

#include "launches.hpp"
#include "messages.hpp"

namespace hidenerf {

Op* GridSample3d::clone() const noexcept { return new (std::nothrow) GridSample3d(*this); }

bool GridSample3d::is_data(int position, int) const noexcept { return position != 1; }

bool GridSample3d::takes_inputs(int count) const noexcept {
    if (count != 2) complain("%s: has %d inputs, not volume and grid", name(), count);
    return count == 2;
}

bool GridSample3d::takes_shapes(Shape const* shapes, int) const noexcept {
    Shape const &volume = shapes[0], &grid = shapes[1];
    if (volume.rank != 5 || grid.rank != 5 || grid.sizes[4] != 3 ||
        (volume.sizes[0] != grid.sizes[0] && volume.sizes[0] >= 0 && grid.sizes[0] >= 0)) {
        complain("%s: volume %s and grid %s are not [B, C, D, H, W] and [B, d, h, w, 3]", name(),
                 ShapeText(volume).text, ShapeText(grid).text);
        return false;
    }
    int64_t voxels = 1;
    for (int i = 2; i < 5; ++i)
        if (volume.sizes[i] >= 0 && (voxels *= volume.sizes[i]) > INT_MAX) {
            complain("%s: volume %s has more than 2^31 voxels a channel", name(), ShapeText(volume).text);
            return false;
        }
    return true;
}

void GridSample3d::output_shapes(Shape const*, int, OutputShape* outputs) const noexcept {
    outputs[0].rank = 5;
    for (int i = 0; i < 5; ++i) outputs[0].sizes[i] = i < 2 ? OutputSize{0, i, 0} : OutputSize{1, i - 1, 0};
}

int GridSample3d::prepare(Shape const*, int) noexcept { return loaded(load_grid_sampler()); }

int GridSample3d::enqueue(Run const& run) noexcept {
    int64_t const *volume = run.shapes[0].sizes, *grid = run.shapes[1].sizes;
    const SampleTensors tensors = {run.from[0],
                                   static_cast<float const*>(run.from[1]),
                                   run.to[0],
                                   int(volume[0]),
                                   int(volume[1]),
                                   int(volume[2]),
                                   int(volume[3]),
                                   int(volume[4]),
                                   grid[1] * grid[2] * grid[3],
                                   run.half};
    return checked("sampling", sample_grid(tensors, run.stream));
}

}  // namespace hidenerf
