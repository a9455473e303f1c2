#include "bilinear_doubling.cuh"

using namespace hidenerf;

extern "C" __global__ void bilinear_doubling(const unsigned short* map, int map_stride, unsigned short* doubled,
                                             int doubled_stride, int height, int width, int vectors) {
    hidenerf::bilinear_doubling(map, map_stride, doubled, doubled_stride, height, width, vectors);
}
