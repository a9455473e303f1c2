#include "pictures.cuh"

using namespace hidenerf;

extern "C" __global__ void to_bytes_fp32(const float* picture, unsigned char* bytes, int pixels) {
    to_bytes(picture, bytes, pixels);
}

extern "C" __global__ void to_bytes_fp16(const unsigned short* picture, unsigned char* bytes, int pixels) {
    to_bytes(picture, bytes, pixels);
}
