#pragma once

#include <cstddef>

namespace molesignal {

/// Sizes of a connection's reads that no operator wants to set.
inline constexpr std::size_t kIdleBufferBytes = 4 << 10;
inline constexpr std::size_t kBodyReadBytesMin = 16 << 10;
inline constexpr std::size_t kBodyReadBytesMax = 256 << 10;
inline constexpr std::size_t kChunkedReadBytesMax = 64 << 10;
/// How far a connection reads ahead while its request is worked on.
inline constexpr std::size_t kPipelinedBytesMax = 64 << 10;
/// A larger body that nobody wants ends the connection.
inline constexpr std::size_t kSkippedBytesMax = 64 << 10;

}  // namespace molesignal
