// What a plugin refuses is said to TensorRT's logger, or to stderr while TensorRT has given none.
#pragma once

#include <NvInferRuntime.h>

namespace hidenerf {

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// As printf has it; the line begins with the plugin's name.
[[gnu::format(printf, 1, 2)]] void complain(char const* format, ...) noexcept;

}  // namespace hidenerf
