// Where the plans of a bundle lie for this TensorRT and this GPU.
#pragma once

#include <filesystem>
#include <string>

namespace sample {

// A bundle's engines lie in engines/tensorrt-<version>-sm<SM>/. A folder that is no bundle is taken to hold plans, such
// as those of trtexec.
// version: of TensorRT, such as "10.12.0"; the folder's may have a fourth number. sm: such as 87.
// Errors: no such folder, or none for this version and SM.
std::filesystem::path find_plans(std::filesystem::path const& bundle, std::string const& version, int sm);

}  // namespace sample
