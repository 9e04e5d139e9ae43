#include "net/http_wire.h"

#include <algorithm>
#include <charconv>

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <fmt/format.h>

namespace molesignal {
namespace {

namespace beast = boost::beast;

constexpr std::size_t kChunkLineBytesMax = 256;

Error malformed(std::string message) {
    return {ErrorCode::kInvalidArgument, std::move(message)};
}

template <class Fields>
std::vector<HttpHeader> copy_headers(const Fields& fields) {
    std::vector<HttpHeader> headers;
    headers.reserve(16);
    for (const auto& field : fields) {
        headers.push_back({std::string(field.name_string()), std::string(field.value())});
    }
    return headers;
}

/// Content-Length and Transfer-Encoding, refusing whatever two readers could read differently.
/// kNone: neither is there.
Result<BodyFraming> read_framing(const std::vector<HttpHeader>& headers) {
    std::optional<std::string_view> length;
    std::optional<std::string_view> coding;
    for (const auto& header : headers) {
        if (equal_ignoring_case(header.name, "Content-Length")) {
            if (length.has_value()) {
                return malformed("more than one Content-Length");
            }
            length = header.value;
        } else if (equal_ignoring_case(header.name, "Transfer-Encoding")) {
            if (coding.has_value()) {
                return malformed("more than one Transfer-Encoding");
            }
            coding = trim_spaces(header.value);
        }
    }
    if (length.has_value() && coding.has_value()) {
        return malformed("both Content-Length and Transfer-Encoding");
    }
    BodyFraming framing;
    if (coding.has_value()) {
        if (!equal_ignoring_case(*coding, "chunked")) {
            return malformed(fmt::format(
                "the transfer encoding '{}' is not supported; accepted: chunked", *coding));
        }
        framing.kind = BodyFraming::Kind::kChunked;
    } else if (length.has_value()) {
        const auto* end = length->data() + length->size();
        const auto parsed = std::from_chars(length->data(), end, framing.length);
        if (length->empty() || parsed.ec != std::errc{} || parsed.ptr != end) {
            return malformed("Content-Length is not a number");
        }
        framing.kind = BodyFraming::Kind::kLength;
    }
    return framing;
}

/// Beast accepts some things that this server does not want to pass on.
Result<> check_head_bytes(std::string_view head) {
    for (std::size_t at = head.find('\n'); at != std::string_view::npos;
         at = head.find('\n', at + 1)) {
        if (at == 0 || head[at - 1] != '\r') {
            return malformed("a line ends without CR");
        }
        if (at + 1 < head.size() && (head[at + 1] == ' ' || head[at + 1] == '\t')) {
            return malformed("a header field is folded over two lines");
        }
    }
    return {};
}

bool persistent(int minor_version, const std::vector<HttpHeader>& headers) {
    if (header_has_token(headers, "Connection", "close")) {
        return false;
    }
    return minor_version >= 1 || header_has_token(headers, "Connection", "keep-alive");
}

Result<> check_request(RequestHead& head) {
    MS_TRY(head.framing, read_framing(head.headers));
    const auto count = [&](std::string_view name) {
        return std::ranges::count_if(head.headers, [&](const HttpHeader& header) {
            return equal_ignoring_case(header.name, name);
        });
    };
    const auto hosts = count("Host");
    if (hosts > 1) {
        return malformed("more than one Host");
    }
    if (count("Authorization") > 1) {
        return malformed("more than one Authorization");
    }
    if (head.minor_version >= 1 && hosts == 0) {
        return malformed("the Host header is missing");
    }
    if (head.minor_version == 0 && head.framing.kind == BodyFraming::Kind::kChunked) {
        return malformed("Transfer-Encoding in an HTTP/1.0 request");
    }
    head.keep_alive = persistent(head.minor_version, head.headers);
    head.expect_continue =
        head.minor_version >= 1 && header_has_token(head.headers, "Expect", "100-continue");
    return {};
}

}  // namespace

bool header_has_token(const std::vector<HttpHeader>& headers,
                      std::string_view name,
                      std::string_view token) {
    for (const auto& header : headers) {
        if (!equal_ignoring_case(header.name, name)) {
            continue;
        }
        std::string_view rest = header.value;
        while (!rest.empty()) {
            const auto comma = rest.find(',');
            if (equal_ignoring_case(trim_spaces(rest.substr(0, comma)), token)) {
                return true;
            }
            rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
        }
    }
    return false;
}

Result<RequestHead> parse_request_head(std::string_view head) {
    MS_TRY_VOID(check_head_bytes(head));
    beast::http::request_parser<beast::http::empty_body> parser;
    parser.header_limit(UINT32_MAX);
    parser.body_limit(boost::none);
    beast::error_code error;
    parser.put(boost::asio::buffer(head.data(), head.size()), error);
    if (error && error != beast::http::error::unexpected_body) {
        return malformed(fmt::format("not an HTTP/1.1 request: {}", error.message()));
    }
    if (!parser.is_header_done()) {
        return malformed("not an HTTP/1.1 request: the head is incomplete");
    }
    const auto& message = parser.get();
    RequestHead out;
    out.method = std::string(message.method_string());
    out.target = std::string(message.target());
    out.minor_version = static_cast<int>(message.version() % 10);
    out.headers = copy_headers(message.base());
    MS_TRY_VOID(check_request(out));
    return out;
}

Result<ResponseHead> parse_response_head(std::string_view head, std::string_view method) {
    beast::http::response_parser<beast::http::empty_body> parser;
    parser.header_limit(UINT32_MAX);
    parser.body_limit(boost::none);
    parser.skip(true);
    beast::error_code error;
    parser.put(boost::asio::buffer(head.data(), head.size()), error);
    if (error || !parser.is_header_done()) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("not an HTTP/1.1 answer: {}", error.message()));
    }
    const auto& message = parser.get();
    ResponseHead out;
    out.status = static_cast<int>(message.result_int());
    out.minor_version = static_cast<int>(message.version() % 10);
    out.headers = copy_headers(message.base());
    out.keep_alive = persistent(out.minor_version, out.headers);
    auto framing = read_framing(out.headers);
    if (!framing) {
        return Error(ErrorCode::kCorruption, framing.error().message());
    }
    out.framing = *framing;
    const bool no_body =
        method == "HEAD" || out.status / 100 == 1 || out.status == 204 || out.status == 304;
    if (no_body) {
        out.framing = {};
    } else if (out.framing.kind == BodyFraming::Kind::kNone) {
        out.framing.kind = BodyFraming::Kind::kUntilClose;
        out.keep_alive = false;
    }
    return out;
}

Result<> split_target(std::string_view target, HttpRequest& request) {
    if (!target.starts_with('/') && target != "*") {
        const auto scheme = target.find("://");
        const auto slash =
            scheme == std::string_view::npos ? scheme : target.find_first_of("/?", scheme + 3);
        if (scheme == std::string_view::npos) {
            return malformed("the request target is neither a path nor a URL");
        }
        target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    }
    target = target.substr(0, target.find('#'));
    const auto question = target.find('?');
    const auto path = target.substr(0, question);
    for (auto at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 1)) {
        const auto escape = path.substr(at, 3);
        if (escape == "%2F" || escape == "%2f") {
            return malformed("the path contains an encoded '/'");
        }
    }
    MS_TRY(request.path, percent_decode(path, PlusSign::kIsPlus));
    if (request.path.empty()) {
        request.path = "/";
    }
    if (question != std::string_view::npos) {
        MS_TRY(request.query_parameters, parse_query_string(target.substr(question + 1)));
    }
    return {};
}

Result<bool> ChunkDecoder::take_line(std::string_view& in) {
    const auto end = in.find('\n');
    const auto piece = in.substr(0, end);
    if (line_.size() + piece.size() > kChunkLineBytesMax) {
        return malformed(fmt::format("a chunk's line is longer than {} bytes", kChunkLineBytesMax));
    }
    line_ += piece;
    if (end == std::string_view::npos) {
        in = {};
        return false;
    }
    in.remove_prefix(end + 1);
    if (!line_.ends_with('\r')) {
        return malformed("a chunk's line ends without CR");
    }
    line_.pop_back();
    // In extensions too: another reader may end the line at a lone CR.
    if (std::ranges::any_of(line_, [](char c) {
            return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
        })) {
        return malformed("a control character in a chunk's line");
    }
    return true;
}

Result<> ChunkDecoder::parse_size() {
    const auto size = trim_spaces(std::string_view(line_).substr(0, line_.find(';')));
    const auto* end = size.data() + size.size();
    const auto parsed = std::from_chars(size.data(), end, left_, 16);
    if (size.empty() || parsed.ec != std::errc{} || parsed.ptr != end) {
        return malformed("a chunk's size is not a hexadecimal number");
    }
    line_.clear();
    state_ = left_ == 0 ? State::kTrailer : State::kData;
    return {};
}

Result<std::string_view> ChunkDecoder::next(std::string_view& in) {
    while (!in.empty() && state_ != State::kDone) {
        if (state_ == State::kData) {
            const auto piece = in.substr(0, left_);
            in.remove_prefix(piece.size());
            left_ -= piece.size();
            state_ = left_ == 0 ? State::kDataEnd : State::kData;
            return piece;
        }
        MS_TRY(const bool complete, take_line(in));
        if (!complete) {
            break;
        }
        if (state_ == State::kSizeLine) {
            MS_TRY_VOID(parse_size());
        } else if (state_ == State::kDataEnd) {
            if (!line_.empty()) {
                return malformed("a chunk is longer than its size");
            }
            state_ = State::kSizeLine;
        } else {
            // Fields after the body would change a request that is judged already.
            if (!line_.empty()) {
                return malformed("trailer fields are not supported");
            }
            state_ = State::kDone;
        }
    }
    return std::string_view{};
}

}  // namespace molesignal
