// Chunked bodies: however the bytes arrive, the content is the same.
#include "fuzz.h"
#include "net/http_wire.h"

namespace molesignal {
namespace {

struct Outcome {
    std::string content;
    bool done = false;
    bool failed = false;
    std::size_t left = 0;
};

Outcome decode(std::string_view body, std::size_t piece_bytes) {
    ChunkDecoder decoder;
    Outcome outcome;
    std::string_view rest = body;
    while (!rest.empty() && !decoder.done()) {
        auto piece = rest.substr(0, piece_bytes);
        const auto before = piece.size();
        while (!piece.empty() && !decoder.done()) {
            const auto part = decoder.next(piece);
            if (!part) {
                outcome.failed = true;
                return outcome;
            }
            outcome.content += *part;
        }
        rest.remove_prefix(before - piece.size());
    }
    outcome.done = decoder.done();
    outcome.left = rest.size();
    return outcome;
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    FuzzInput input(data, size);
    const auto piece = 1U + input.byte() % 16U;
    const auto whole = decode(input.rest(), SIZE_MAX);
    const auto pieces = decode(input.rest(), piece);
    require(whole.failed == pieces.failed, "pieces fail like the whole");
    if (!whole.failed) {
        require(whole.content == pieces.content && whole.done == pieces.done &&
                    whole.left == pieces.left,
                "pieces decode like the whole");
    }
    return 0;
}
