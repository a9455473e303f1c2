"""Kernel case: our kernels on arrays of a file, for compute-sanitizer and ncu; no PyTorch.

python3 benchmarks/kernel_case.py CASE.npz [LAUNCHES]
"""

import sys
from typing import Any

import numpy as np
from cuda.bindings import driver
from numpy.typing import NDArray

from hidenerf.runtime.kernels.launch import kernel_sm
from hidenerf.runtime.kernels.packing import pack_mlp
from hidenerf.runtime.kernels.ray_sampler import RaySampler, SampleSizes
from hidenerf.runtime.kernels.renderer import TriplaneRenderer
from hidenerf.runtime.kernels.secc_drawer import SeccDrawer
from hidenerf.runtime.kernels.sizes import RendererSizes
from tests.support.kernels.grid_sample import GridSampler, VolumeShape


def checked(result: tuple[Any, ...]) -> Any:
    """Result of a call of the CUDA driver. Errors: RuntimeError if the call failed."""
    if int(result[0]) != 0:
        raise RuntimeError(f"the driver says {result[0]}")
    return result[1] if len(result) == 2 else None


def upload(array: NDArray[Any]) -> int:
    """Copy an array to new GPU memory; returns the address."""
    array = np.ascontiguousarray(array)
    address = int(checked(driver.cuMemAlloc(max(array.nbytes, 16))))
    checked(driver.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes))
    return address


def download(address: int, like: NDArray[Any]) -> NDArray[Any]:
    """Copy GPU memory to a new array of the shape and dtype of `like`."""
    array = np.empty_like(like)
    checked(driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))
    return array


def main() -> None:
    """Launch the kernels and print their largest errors, if the file has a reference."""
    case = np.load(sys.argv[1])
    launches = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print("SM", kernel_sm())
    stream = int(checked(driver.cuStreamCreate(1)))
    sizes = RendererSizes(*[int(n) for n in case["sizes"]])
    packed = pack_mlp(sizes, case["weight_1"], case["bias_1"], case["weight_2"], case["bias_2"])
    planes = [upload(case[f"planes_{level}"]) for level in range(sizes.levels)]
    flags = upload(np.zeros(4, np.int32))
    merged = upload(np.full(sizes.merged_bytes // 2, np.nan, np.float16))
    size = sizes.render_size
    rendered = np.full((sizes.rendered, size, size), np.nan, np.float32)
    alpha = np.full((size, size), np.nan, np.float32)
    at_rendered, at_alpha = upload(rendered), upload(alpha)
    deformation, camera, operands = upload(case["deformation"]), upload(case["camera"]), upload(packed.operands)
    renderer = TriplaneRenderer(sizes)
    renderer.merge_planes(planes, False, upload(packed.feature_weight), merged, flags, stream)
    for _ in range(launches):
        renderer.render(deformation, camera, merged, operands, at_rendered, at_alpha, flags, stream, half=False)
    checked(driver.cuStreamSynchronize(stream))
    for name, address, like in (("rendered", at_rendered, rendered), ("alpha", at_alpha, alpha)):
        if name in case:
            print(name, "largest error", float(np.abs(download(address, like) - case[name]).max()))

    rng = np.random.default_rng(0)
    shape, points = VolumeShape(2, 3, 4, 5, 6), 77
    sampled = upload(np.full((2, 3, points), np.nan, np.float32))
    volume = upload(rng.normal(size=shape).astype(np.float32))
    grid = upload(rng.normal(size=(2, points, 3)).astype(np.float32))
    GridSampler().sample(volume, grid, sampled, shape, points, stream, fp16=False, border=False, align_corners=False)

    rays, reals = SampleSizes(9, 6, 3, 5), (np.float32, np.float16)
    for kind in reals:
        features = upload(rng.normal(size=(5, 9, 9)).astype(kind))
        points, looked_up = (upload(np.full((rows, 9, 9), np.nan, kind)) for rows in (18, 10))
        RaySampler(rays).sample(camera, features, points, looked_up, kind == np.float16, stream)

    triangles = np.stack([np.arange(50), np.arange(50) + 1, np.arange(50) + 2], 1).astype(np.int32)
    vertices = upload(rng.uniform(-1.2, 1.2, (52, 3)).astype(np.float32))
    colours = upload(rng.random((52, 3), np.float32))
    drawer = SeccDrawer(52, 1, 50, 33)
    keys, secc = upload(np.zeros((33, 33), np.uint64)), upload(np.zeros((3, 33, 33), np.float32))
    for _ in range(2):
        drawer.draw(vertices, upload(triangles), colours, keys, secc, stream)
    checked(driver.cuStreamSynchronize(stream))
    print("done; flags", download(flags, np.zeros(4, np.int32))[0])


if __name__ == "__main__":
    main()
