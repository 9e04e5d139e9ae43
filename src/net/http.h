#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/request_context.h"
#include "common/result.h"
#include "net/body_decoding.h"

namespace molesignal {

/// One header field; the name as it was sent.
struct HttpHeader {
    std::string name;
    std::string value;
};

/// ASCII, without case.
bool equal_ignoring_case(std::string_view left, std::string_view right);

/// Without spaces and tabs at both ends.
std::string_view trim_spaces(std::string_view text);

/// The value of the first field called `name` (without case), or nothing.
std::optional<std::string_view> find_header(const std::vector<HttpHeader>& headers,
                                            std::string_view name);

/// What HttpHooks::admit found out about a request (its route, who asks), kept for the handler.
class HttpTicket {
public:
    virtual ~HttpTicket() = default;
};

/// One request, complete and decoded, as the handler gets it.
struct HttpRequest {
    std::string method;  ///< As sent: "GET", "POST", …; HEAD stays HEAD, the engine drops the body.
    std::string target;  ///< As sent, with the query.
    std::string path;    ///< Percent-decoded exactly once; never holds a NUL or a decoded '/'.
    std::vector<std::pair<std::string, std::string>> query_parameters;  ///< Decoded, in order.
    std::vector<HttpHeader> headers;                                    ///< All of them, in order.
    /// The content after chunking and Content-Encoding are undone (both headers are still there).
    /// capacity() - size() >= kBodyPaddingBytes.
    std::string body;
    std::uint64_t body_wire_bytes = 0;  ///< What came over the wire: smaller if compressed.
    std::string remote_address;         ///< "127.0.0.1:51234", "[::1]:51234".
    std::string request_id;             ///< X-Request-Id if acceptable, else generated.
    std::size_t listener = 0;           ///< Index into HttpServerOptions::listen.
    CancelToken cancel;  ///< Set when the client has gone; also in the RequestContext.
    std::shared_ptr<const HttpTicket> ticket;  ///< Of HttpAdmission; null without HttpHooks::admit.

    /// The first query parameter called `name` (case-sensitive). Empty value: "".
    std::optional<std::string_view> query(std::string_view name) const;
    /// The first header called `name`, without case.
    std::optional<std::string_view> header(std::string_view name) const {
        return find_header(headers, name);
    }
};

/// Fills `chunk` (given empty) with the next bytes. True: there may be more (an empty chunk is
/// allowed and sends nothing); false: this was the last one. An error cuts the connection, so that
/// the client sees a truncated body. Blocking; called from pool threads, never two at a time, and
/// not again after false or an error. Destroyed on a pool thread too, early when the client has
/// gone or reads too slowly.
using HttpBodyStream = std::function<Result<bool>(std::string& chunk)>;

/// What the handler answers. The engine adds Date, Content-Length or Transfer-Encoding, Connection,
/// X-Request-Id, X-Content-Type-Options and, when negotiated, Content-Encoding and Vary.
struct HttpResponse {
    int status = 200;
    std::vector<HttpHeader> headers;
    std::string body;
    HttpBodyStream stream;  ///< If set, the body comes from here and `body` is ignored.
    /// The answer must be sent by then, else the connection is cut: what a slow reader may hold.
    SteadyNanos write_by = SteadyNanos::never();
    std::string route;  ///< Label for metrics and logs, such as "/api/v1/query"; not sent.
    std::string
        limit;  ///< The setting of the limit that refused the request, if one did; not sent.

    static HttpResponse text(int status, std::string body);
    static HttpResponse json(int status, std::string body);
    /// {"error":…,"message":…,"request_id":…}
    static HttpResponse error(int status,
                              std::string_view error,
                              std::string_view message,
                              std::string_view request_id);

    /// Replaces or adds a header.
    HttpResponse& set_header(std::string_view name, std::string value);
};

/// Runs on a pool thread and may block; must not throw. `context` carries the clock, the client's
/// cancel token and the request id; its deadline is not set.
using HttpHandler =
    std::function<HttpResponse(const RequestContext& context, HttpRequest&& request)>;

/// The standard phrase of a status, "" for unknown ones.
std::string_view http_reason(int status);

/// Appends `text` as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

/// Undoes %XX once; with `plus_is_space` also '+'. kInvalidArgument for a broken escape or a NUL.
enum class PlusSign : std::uint8_t { kIsPlus, kIsSpace };
Result<std::string> percent_decode(std::string_view text, PlusSign plus);
/// Escapes all but RFC 3986's unreserved characters.
std::string percent_encode(std::string_view text);

/// Splits and decodes "a=1&b=2".
Result<std::vector<std::pair<std::string, std::string>>> parse_query_string(std::string_view text);

}  // namespace molesignal
