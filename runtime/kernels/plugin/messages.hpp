// What a plugin refuses is said to TensorRT's logger, or to stderr while TensorRT has given none.
#pragma once

namespace hidenerf {

// As printf has it; the line begins with the plugin's name.
[[gnu::format(printf, 1, 2)]] void complain(char const* format, ...) noexcept;

}  // namespace hidenerf
