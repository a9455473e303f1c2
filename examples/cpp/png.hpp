// Pictures as PNG files, without compression: any viewer reads them, and no library is needed.
#pragma once

#include <cstdint>
#include <filesystem>

namespace sample {

// pixels: [height, width, channels], rows from the top; 1 channel of grey or 3 of RGB.
// The file appears whole or not at all. Errors: it cannot be written.
void write_png(std::filesystem::path const& path, int width, int height, int channels, std::uint8_t const* pixels);

}  // namespace sample
