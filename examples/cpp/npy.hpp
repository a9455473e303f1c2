// NumPy's .npy files: float32, float16 and uint8 arrays in C order, as numpy.save writes them.
#pragma once

#include <filesystem>

#include "tensor.hpp"

namespace sample {

// Errors: a file that cannot be read, is damaged, or holds anything else.
Array read_npy(std::filesystem::path const& path);

}  // namespace sample
