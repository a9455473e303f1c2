// The format: numpy.lib.format. Six bytes of magic, two of version, the header's length (two bytes in version 1, four
// from 2 on, little endian), the header, a Python dictionary as text, and the array's bytes.
#include "npy.hpp"

#include <cctype>
#include <fstream>
#include <iterator>

#include "error.hpp"

namespace sample {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr std::size_t kVersionAt = 6, kLengthAt = 8;
// A header is a line; anything much longer is damage.
constexpr std::size_t kLongestHeader = 65536;
constexpr std::int64_t kLargestSize = 1 << 24;

// What follows 'key': and a character `open`, up to `close`; empty where the header has no such entry.
std::string value_of(std::string const& header, std::string const& key, char open, char close) {
    std::size_t begin = header.find("'" + key + "':");
    if (begin == std::string::npos) return "";
    begin = header.find_first_not_of(' ', begin + key.size() + 3);
    if (begin == std::string::npos || header[begin] != open) return "";
    const std::size_t end = header.find(close, begin + 1);
    return end == std::string::npos ? "" : header.substr(begin + 1, end - begin - 1);
}

// The numbers of "1, 3, 64, 64", "7," or "". Returns whether there is nothing else.
bool parse_shape(std::string const& text, std::vector<std::int64_t>& shape) {
    bool in_number = false;
    for (char letter : text) {
        const bool digit = std::isdigit(static_cast<unsigned char>(letter)) != 0;
        if (!digit && letter != ',' && letter != ' ') return false;
        if (digit && !in_number) shape.push_back(0);
        if (digit) shape.back() = 10 * shape.back() + (letter - '0');
        if (digit && shape.back() > kLargestSize) return false;
        in_number = digit;
    }
    return true;
}

Type type_of(std::string const& description, std::string const& path) {
    if (description == "<f4") return Type::kFp32;
    if (description == "<f2") return Type::kFp16;
    if (description == "|u1") return Type::kUint8;
    throw Error(path + ": has the type " + description + "; save it as float32, float16 or uint8.");
}

}  // namespace

Array read_npy(std::filesystem::path const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Error(path.string() + ": cannot be read; write it with prepare_inputs.py.");
    const std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
    const auto at = [&content](std::size_t index) { return static_cast<std::uint8_t>(content.at(index)); };
    const Error damaged(path.string() + ": damaged or no .npy file; write it again with prepare_inputs.py.");

    if (content.size() < kLengthAt + 4 || std::string(content.data(), kVersionAt) != kMagic) throw damaged;
    const bool long_length = at(kVersionAt) > 1;
    std::size_t length = at(kLengthAt) + 256u * at(kLengthAt + 1);
    if (long_length) length += 65536u * at(kLengthAt + 2) + 16777216u * at(kLengthAt + 3);
    const std::size_t begin = kLengthAt + (long_length ? 4 : 2);
    if (length > kLongestHeader || begin + length > content.size()) throw damaged;
    const std::string header(content.data() + begin, length);

    // "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 64, 64), }"
    const std::string description = value_of(header, "descr", '\'', '\'');
    const std::string sizes = value_of(header, "shape", '(', ')');
    const auto has = [&header](char const* words) { return header.find(words) != std::string::npos; };
    if (has("'fortran_order': True")) throw Error(path.string() + ": is in Fortran order; save a contiguous array.");
    if (description.empty() || !has("'fortran_order': False") || !has("'shape': (")) throw damaged;
    Array array{{type_of(description, path.string()), {}}, {}};
    if (!parse_shape(sizes, array.spec.shape)) throw damaged;
    if (content.size() - begin - length != array.spec.bytes())
        throw Error(path.string() + ": has " + std::to_string(content.size() - begin - length) +
                    " bytes of data where " + array.spec.text() + " takes " + std::to_string(array.spec.bytes()) +
                    "; write it again with prepare_inputs.py.");
    array.bytes.assign(content.begin() + static_cast<std::ptrdiff_t>(begin + length), content.end());
    return array;
}

}  // namespace sample
