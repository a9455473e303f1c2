#include "frame_pixels.cuh"

using namespace hidenerf;

extern "C" __global__ void frame_pixels(const float* rendered, const float* alpha, int rendered_side, int doublings,
                                        const unsigned short* head, int head_stride, int head_doublings,
                                        const unsigned short* change, int change_stride, const float* own,
                                        const float* shown, unsigned char* frame, float* frame_alpha, int side) {
    hidenerf::frame_pixels({rendered, alpha, rendered_side, doublings, head, head_stride, head_doublings, change,
                            change_stride, own, shown, frame, frame_alpha, side});
}
