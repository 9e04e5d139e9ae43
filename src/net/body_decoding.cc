#include "net/body_decoding.h"

#include <algorithm>

#include <fmt/format.h>

#include "net/snappy_content.h"

namespace molesignal {
namespace {

constexpr std::size_t kFirstBytes = 4 << 10;
constexpr std::size_t kStepBytes = 64 << 10;
constexpr std::size_t kExpectedRatio = 4;  // Of decoded to sent bytes, for the first allocation.

Result<std::string> decode_snappy_body(Bytes wire,
                                       const DecoderLimits& limits,
                                       MemoryReservation& reservation) {
    MS_TRY(const auto size, snappy_declared_size(wire));
    if (size > limits.bytes_max) {
        return Error(ErrorCode::kTooLarge,
                     fmt::format("the decoded content has {} bytes, the limit is {} ({})",
                                 size,
                                 limits.bytes_max,
                                 limits.setting));
    }
    std::string body;
    MS_TRY_VOID(reserve_body(body, size, limits.bytes_max, reservation));
    MS_TRY_VOID(decode_snappy(wire, body));
    return body;
}

}  // namespace

Result<> reserve_body(std::string& body,
                      std::size_t bytes,
                      std::size_t bytes_max,
                      MemoryReservation& reservation) {
    const auto needed = bytes + kBodyPaddingBytes;
    if (body.capacity() >= needed && reservation.bytes() > 0) {
        return {};
    }
    const auto doubled = std::min(body.capacity() * 2, bytes_max + kBodyPaddingBytes);
    const auto capacity = std::max(needed, body.empty() ? needed : doubled);
    MS_TRY_VOID(reservation.resize(static_cast<std::int64_t>(capacity)));
    body.reserve(capacity);
    return {};
}

Result<std::string> decode_body(ContentCoding coding,
                                Bytes wire,
                                const DecoderLimits& limits,
                                MemoryReservation& reservation) {
    if (coding == ContentCoding::kSnappy) {
        return decode_snappy_body(wire, limits, reservation);
    }
    const auto decoder = StreamDecoder::make(coding, limits);
    MemoryReservation state(reservation.budget());
    std::string body;
    const auto first = std::max(wire.size() * kExpectedRatio, kFirstBytes);
    MS_TRY_VOID(
        reserve_body(body, std::min(first, limits.bytes_max), limits.bytes_max, reservation));
    while (true) {
        MS_TRY_VOID(state.resize(static_cast<std::int64_t>(decoder->state_bytes())));
        // What is left, or one byte that tells that the limit is passed.
        const auto left = std::max<std::size_t>(limits.bytes_max - body.size(), 1);
        const auto step = std::min(kStepBytes, left);
        MS_TRY_VOID(reserve_body(body, body.size() + step, limits.bytes_max, reservation));
        MS_TRY(const bool more, decoder->decode_some(wire, body, step));
        if (!more) {
            break;
        }
    }
    MS_TRY_VOID(decoder->finish());
    return body;
}

}  // namespace molesignal
