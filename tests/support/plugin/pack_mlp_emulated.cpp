// pack_mlp.cuh as a plain function, for one model's sizes named with -D.
#include "../kernels/emulation.hpp"
#include "model_sizes.cuh"
#include "plugin/pack_mlp.cuh"

using namespace hidenerf;

template <class In>
static void pack(const In* weight_1, const In* bias_1, const In* weight_2, const In* bias_2, unsigned int* operands,
                 int* flags) {
    emulation::launch({3, 1, 1}, 64, [&] {
        pack_mlp<ModelSizes, WIDTH>(Mlp<In>{weight_1, bias_1, weight_2, bias_2}, operands, flags);
    });
}

extern "C" {

int words() { return MlpOperands<ModelSizes, WIDTH>::words; }

void pack_fp32(const float* weight_1, const float* bias_1, const float* weight_2, const float* bias_2,
               unsigned int* operands, int* flags) {
    pack(weight_1, bias_1, weight_2, bias_2, operands, flags);
}

void pack_fp16(const unsigned short* weight_1, const unsigned short* bias_1, const unsigned short* weight_2,
               const unsigned short* bias_2, unsigned int* operands, int* flags) {
    pack(weight_1, bias_1, weight_2, bias_2, operands, flags);
}
}
