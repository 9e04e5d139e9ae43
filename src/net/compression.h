#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/result.h"

namespace molesignal {

enum class ContentCoding : std::uint8_t {
    kIdentity = 0,
    kGzip = 1,
    kDeflate = 2,
    kZstd = 3,
    kSnappy = 4
};

/// The codings a request body may have, for Accept-Encoding and error messages.
inline constexpr std::string_view kAcceptedCodings = "gzip, deflate, zstd, snappy";

/// The token used in Content-Encoding.
std::string_view to_string(ContentCoding coding);

/// Parses the value of Content-Encoding; also "", "identity" and "x-gzip". kInvalidArgument for
/// others and for lists of several codings.
Result<ContentCoding> parse_content_coding(std::string_view value);

/// By the file name's ending: .gz, .zst/.zstd, else identity.
ContentCoding content_coding_of_file(std::string_view name);

/// The best of `zstd`, `gzip`, identity that an Accept-Encoding value allows; zstd wins ties.
ContentCoding choose_content_coding(std::string_view accept_encoding);

struct DecoderLimits {
    std::size_t bytes_max = 32 << 20;             ///< Of decoded bytes in total.
    std::string setting = "http.body_bytes_max";  ///< Named in the error.
    int zstd_window_log_max = 23;                 ///< 8 MiB, the most RFC 9659 lets a sender use.
};

/// Undoes a content coding piece by piece. One thread at a time.
///
/// Concatenated gzip members and zstd frames (at most 100,000) are one content. `deflate` is the
/// zlib format; raw deflate, which some clients send, is recognised.
class StreamDecoder {
public:
    virtual ~StreamDecoder() = default;
    /// Any coding but snappy, whose blocks are decoded whole: decode_body.
    static std::unique_ptr<StreamDecoder> make(ContentCoding coding, DecoderLimits limits);

    /// Takes bytes off the front of `in` and appends at most `out_bytes_max` decoded ones to `out`.
    /// Call again while it returns true: `in` is not empty or more output waits.
    /// kTooLarge: the limit, which is checked before memory is taken; kInvalidArgument: malformed
    /// content. After an error the decoder must not be used.
    virtual Result<bool> decode_some(Bytes& in, std::string& out, std::size_t out_bytes_max) = 0;

    /// kInvalidArgument if the content ended in the middle.
    virtual Result<> finish() = 0;

    /// The memory that the decoder itself holds now.
    virtual std::size_t state_bytes() const = 0;

    /// decode_some until `in` is used up.
    Result<> write(Bytes in, std::string& out);
};

/// Applies a content coding piece by piece. One thread at a time.
class StreamEncoder {
public:
    virtual ~StreamEncoder() = default;
    /// `level` 0: the coding's quick default (gzip 4, zstd 1). Identity copies; not snappy.
    static std::unique_ptr<StreamEncoder> make(ContentCoding coding, int level = 0);

    /// Encodes `in`; output may lag behind.
    virtual Result<> write(Bytes in, std::string& out) = 0;
    /// Emits all that was written so far, so that the reader can decode it now.
    virtual Result<> flush(std::string& out) = 0;
    /// Ends the content. Nothing may follow.
    virtual Result<> finish(std::string& out) = 0;
};

/// Decodes at once. kTooLarge beyond `bytes_max`, kInvalidArgument if malformed.
Result<std::string> decompress_all(ContentCoding coding, Bytes in, std::size_t bytes_max);

/// Encodes at once.
Result<std::string> compress_all(ContentCoding coding, Bytes in, int level = 0);

}  // namespace molesignal
