// PNG (RFC 2083): signature, then the chunks IHDR, IDAT and IEND. IDAT is a zlib stream (RFC 1950) of stored blocks
// (RFC 1951), of rows that begin with 0 for "no filter".
#include "png.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "error.hpp"

namespace sample {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kLargestBlock = 65535;

void append_big_endian(Bytes& bytes, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

std::array<std::uint32_t, 256> crc_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0u);
        table[byte] = crc;
    }
    return table;
}

// type: four letters, which the checksum covers.
void append_chunk(Bytes& png, char const* type, Bytes const& content) {
    static const std::array<std::uint32_t, 256> table = crc_table();
    append_big_endian(png, static_cast<std::uint32_t>(content.size()));
    const std::size_t begin = png.size();
    png.insert(png.end(), type, type + 4);
    png.insert(png.end(), content.begin(), content.end());
    std::uint32_t crc = 0xFFFFFFFFu;
    for (std::size_t i = begin; i < png.size(); ++i) crc = table[(crc ^ png[i]) & 0xFF] ^ (crc >> 8);
    append_big_endian(png, crc ^ 0xFFFFFFFFu);
}

Bytes zlib_stored(Bytes const& content) {
    // 32 K window, fastest; 0x7801 is a multiple of 31, as it has to be.
    Bytes stream = {0x78, 0x01};
    std::size_t begin = 0;
    do {
        const std::size_t length = std::min(kLargestBlock, content.size() - begin);
        stream.push_back(begin + length == content.size());  // whether this is the last block
        for (std::size_t part : {length, ~length}) {
            stream.push_back(static_cast<std::uint8_t>(part));
            stream.push_back(static_cast<std::uint8_t>(part >> 8));
        }
        const auto from = content.begin() + static_cast<std::ptrdiff_t>(begin);
        stream.insert(stream.end(), from, from + static_cast<std::ptrdiff_t>(length));
        begin += length;
    } while (begin < content.size());
    std::uint32_t a = 1, b = 0;
    for (std::uint8_t byte : content) {
        a = (a + byte) % 65521;
        b = (b + a) % 65521;
    }
    append_big_endian(stream, b << 16 | a);
    return stream;
}

}  // namespace

void write_png(std::filesystem::path const& path, int width, int height, int channels, std::uint8_t const* pixels) {
    Bytes header;
    append_big_endian(header, static_cast<std::uint32_t>(width));
    append_big_endian(header, static_cast<std::uint32_t>(height));
    // 8 bits, RGB or grey, and the only compression, filter and interlacing.
    header.insert(header.end(), {8, static_cast<std::uint8_t>(channels == 3 ? 2 : 0), 0, 0, 0});
    Bytes rows;
    const std::size_t row_bytes = static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
    rows.reserve(static_cast<std::size_t>(height) * (row_bytes + 1));
    for (int row = 0; row < height; ++row, pixels += row_bytes) {
        rows.push_back(0);
        rows.insert(rows.end(), pixels, pixels + row_bytes);
    }
    Bytes png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    append_chunk(png, "IHDR", header);
    append_chunk(png, "IDAT", zlib_stored(rows));
    append_chunk(png, "IEND", {});

    const std::filesystem::path partial = path.string() + ".part";
    std::ofstream file(partial, std::ios::binary);
    file.write(reinterpret_cast<char const*>(png.data()), static_cast<std::streamsize>(png.size()));
    file.close();
    std::error_code failed;
    if (file) std::filesystem::rename(partial, path, failed);
    if (!file || failed) {
        std::filesystem::remove(partial, failed);
        throw Error(path.string() + ": cannot be written; choose another output folder, or free some space.");
    }
}

}  // namespace sample
