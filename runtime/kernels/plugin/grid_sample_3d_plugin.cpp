#include "grid_sample_3d_plugin.hpp"

#include <climits>
#include <new>

#include "launches.hpp"
#include "messages.hpp"

namespace hidenerf {

using namespace nvinfer1;

IPluginV3* GridSample3d::clone() noexcept { return new (std::nothrow) GridSample3d(*this); }

bool GridSample3d::is_data(int position, int) const noexcept { return position != 1; }

bool GridSample3d::takes_inputs(int count) const noexcept {
    if (count != 2) complain("%s: has %d inputs, not volume and grid", kName, count);
    return count == 2;
}

bool GridSample3d::takes_shapes(Dims const* shapes, int) const noexcept {
    Dims const &volume = shapes[0], &grid = shapes[1];
    if (volume.nbDims != 5 || grid.nbDims != 5 || grid.d[4] != 3 ||
        (volume.d[0] != grid.d[0] && volume.d[0] >= 0 && grid.d[0] >= 0)) {
        complain("%s: volume %s and grid %s are not [B, C, D, H, W] and [B, d, h, w, 3]", kName, ShapeText(volume).text,
                 ShapeText(grid).text);
        return false;
    }
    int64_t voxels = 1;
    for (int i = 2; i < 5; ++i)
        if (volume.d[i] >= 0 && (voxels *= volume.d[i]) > INT_MAX) {
            complain("%s: volume %s has more than 2^31 voxels a channel", kName, ShapeText(volume).text);
            return false;
        }
    return true;
}

void GridSample3d::set_output_shapes(DimsExprs const* inputs, int, DimsExprs* outputs,
                                     IExprBuilder&) const noexcept {
    outputs[0].nbDims = 5;
    for (int i = 0; i < 5; ++i) outputs[0].d[i] = i < 2 ? inputs[0].d[i] : inputs[1].d[i - 1];
}

int GridSample3d::prepare(Dims const*, int) noexcept { return load_grid_sampler(); }

int32_t GridSample3d::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const*, void const* const* inputs,
                              void* const* outputs, void*, cudaStream_t stream) noexcept {
    Dims const &volume = inputDesc[0].dims, &grid = inputDesc[1].dims;
    const SampleTensors tensors = {inputs[0],
                                   static_cast<float const*>(inputs[1]),
                                   outputs[0],
                                   int(volume.d[0]),
                                   int(volume.d[1]),
                                   int(volume.d[2]),
                                   int(volume.d[3]),
                                   int(volume.d[4]),
                                   grid.d[1] * grid.d[2] * grid.d[3],
                                   inputDesc[0].type == DataType::kHALF};
    return checked(*this, "sampling", sample_grid(tensors, stream));
}

}  // namespace hidenerf
