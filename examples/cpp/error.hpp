// What a user can cause and mend: one sentence, which main prints before it ends with code 2.
#pragma once

#include <stdexcept>

namespace sample {

class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace sample
