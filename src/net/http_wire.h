#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "net/http.h"

namespace molesignal {

/// How the body of a message is delimited (RFC 9112 §6).
struct BodyFraming {
    enum class Kind : std::uint8_t { kNone = 0, kLength = 1, kChunked = 2, kUntilClose = 3 };
    Kind kind = Kind::kNone;
    std::uint64_t length = 0;  ///< Of kLength.
};

/// A parsed request head. The engine-independent half of HttpRequest.
struct RequestHead {
    std::string method;
    std::string target;
    int minor_version = 1;  ///< HTTP/1.<minor>: 0 or 1.
    std::vector<HttpHeader> headers;
    BodyFraming framing;
    bool keep_alive = true;
    bool expect_continue = false;
};

struct ResponseHead {
    int status = 0;
    int minor_version = 1;
    std::vector<HttpHeader> headers;
    BodyFraming framing;
    bool keep_alive = true;
};

/// Parses all up to and including the empty line. kInvalidArgument: not HTTP/1, or a head that two
/// readers could understand differently (both framings, several lengths, hosts or credentials).
Result<RequestHead> parse_request_head(std::string_view head);

/// The same for an answer to a request with `method`. kCorruption if malformed.
Result<ResponseHead> parse_response_head(std::string_view head, std::string_view method);

/// Takes path and query out of a request target: origin form, absolute form or "*".
/// kInvalidArgument: a broken escape, an encoded '/' or NUL in the path.
Result<> split_target(std::string_view target, HttpRequest& request);

/// Whether one of the comma-separated elements of the header `name` is `token`, without case.
bool header_has_token(const std::vector<HttpHeader>& headers,
                      std::string_view name,
                      std::string_view token);

/// Undoes chunked transfer coding piece by piece, without copying.
class ChunkDecoder {
public:
    /// Takes bytes off the front of `in` and returns the next piece of content inside it; empty
    /// when `in` is used up or the last chunk has been read. kInvalidArgument: malformed, a size
    /// line too long, or trailer fields.
    Result<std::string_view> next(std::string_view& in);
    bool done() const { return state_ == State::kDone; }

private:
    enum class State : std::uint8_t { kSizeLine, kData, kDataEnd, kTrailer, kDone };
    Result<bool> take_line(std::string_view& in);
    Result<> parse_size();

    State state_ = State::kSizeLine;
    std::uint64_t left_ = 0;
    std::string line_;
};

}  // namespace molesignal
