// The format: numpy.lib.format. Six bytes of magic, two of version, the header's length (two bytes in version 1, four
// from 2 on, little endian), the header, a Python dictionary as text, and the array's bytes.
#include "npy.hpp"

#include <fstream>
#include <iterator>
#include <regex>

#include "error.hpp"

namespace sample {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr std::size_t kVersionAt = 6, kLengthAt = 8;
// A header is a line; anything much longer is damage.
constexpr std::size_t kLongestHeader = 65536;

std::string value_of(std::string const& header, char const* pattern) {
    std::smatch found;
    return std::regex_search(header, found, std::regex(pattern)) ? found[1].str() : "";
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

    const std::string description = value_of(header, "'descr': *'([^']*)'");
    const std::string fortran = value_of(header, "'fortran_order': *(True|False)");
    std::smatch shape;
    if (description.empty() || fortran.empty() ||
        !std::regex_search(header, shape, std::regex("'shape': *\\(([0-9, ]*)\\)")))
        throw damaged;
    if (fortran == "True") throw Error(path.string() + ": is in Fortran order; save a contiguous array.");

    Array array{{type_of(description, path.string()), {}}, {}};
    const std::string sizes = shape[1].str();
    const std::regex number("[0-9]{1,9}");
    for (std::sregex_iterator size(sizes.begin(), sizes.end(), number), end; size != end; ++size)
        array.spec.shape.push_back(std::stoll(size->str()));
    if (content.size() - begin - length != array.spec.bytes())
        throw Error(path.string() + ": has " + std::to_string(content.size() - begin - length) +
                    " bytes of data where " + array.spec.text() + " takes " + std::to_string(array.spec.bytes()) +
                    "; write it again with prepare_inputs.py.");
    array.bytes.assign(content.begin() + static_cast<std::ptrdiff_t>(begin + length), content.end());
    return array;
}

}  // namespace sample
