// What the sample reads and writes, alone:
//   formats npy FILE                          prints type and shape, then the bytes in hexadecimal
//   formats png FILE WIDTH HEIGHT CHANNELS    writes a picture of the pixels on stdin
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "npy.hpp"
#include "png.hpp"

int main(int count, char** arguments) {
    const std::vector<std::string> given(arguments + 1, arguments + count);
    try {
        if (given.at(0) == "npy") {
            const sample::Array array = sample::read_npy(given.at(1));
            std::printf("%s\n", array.spec.text().c_str());
            for (unsigned byte : array.bytes) std::printf("%02x", byte);
        } else {
            const std::vector<char> pixels{std::istreambuf_iterator<char>(std::cin), {}};
            sample::write_png(given.at(1), std::atoi(given.at(2).c_str()), std::atoi(given.at(3).c_str()),
                              std::atoi(given.at(4).c_str()), reinterpret_cast<std::uint8_t const*>(pixels.data()));
        }
        return 0;
    } catch (std::exception const& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
