// Compressed bodies: bounded, and the same in one piece and in many.
#include <algorithm>
#include <optional>

#include "fuzz.h"
#include "net/compression.h"

namespace molesignal {
namespace {

constexpr std::size_t kBytesMax = 256U << 10U;

/// The content, or nothing.
std::optional<std::string> decode(ContentCoding coding, Bytes in, std::size_t piece_bytes) {
    const auto decoder = StreamDecoder::make(coding, {.bytes_max = kBytesMax});
    std::string out;
    while (!in.empty()) {
        const auto size = std::min(in.size(), piece_bytes);
        if (!decoder->write(in.first(size), out)) {
            return std::nullopt;
        }
        in = in.subspan(size);
    }
    require(out.size() <= kBytesMax, "the limit holds");
    if (!decoder->finish()) {
        return std::nullopt;
    }
    return out;
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    FuzzInput input(data, size);
    constexpr ContentCoding kCodings[] = {
        ContentCoding::kGzip, ContentCoding::kDeflate, ContentCoding::kZstd};
    const auto coding = kCodings[input.byte() % std::size(kCodings)];
    const auto piece = 1U + input.byte();
    const auto whole = decode(coding, input.rest_bytes(), SIZE_MAX);
    const auto pieces = decode(coding, input.rest_bytes(), piece);
    require(whole == pieces, "pieces decode like the whole");
    return 0;
}
