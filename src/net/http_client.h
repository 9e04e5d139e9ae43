#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/request_context.h"
#include "common/result.h"
#include "net/http.h"

namespace molesignal {

struct HttpClientOptions {
    std::size_t response_bytes_max = 256 << 20;  ///< Of `request`, decoded; `stream` has no limit.
    std::size_t header_bytes_max = 64 << 10;
    std::int64_t connect_timeout_ms = 5'000;
    std::int64_t idle_timeout_ms = 120'000;  ///< Without a byte sent or received.
    std::string accept_encoding = {};        ///< "zstd, gzip" asks for compression; empty: none.
};

struct HttpClientRequest {
    std::string method = "GET";
    std::string url = {};  ///< "http://host[:port]/path?query", already escaped.
    std::vector<HttpHeader> headers = {};
    std::string_view body =
        {};  ///< Must outlive the call. Compress it yourself and set the header.
};

struct HttpClientResponse {
    int status = 0;
    std::vector<HttpHeader> headers;
    std::string body;  ///< Decoded; empty after `stream` delivered it.

    std::optional<std::string_view> header(std::string_view name) const {
        return find_header(headers, name);
    }
};

/// A small blocking HTTP/1.1 client without TLS, for the command line, probes and tests.
///
/// Keeps one connection and uses it again for the same host and port. One thread at a time; another
/// thread may cancel through `context.cancel` (noticed within 50 ms). Every verb obeys
/// `context.deadline`. Errors: kInvalidArgument (URL), kUnavailable (cannot connect, connection
/// lost), kTimeout, kCancelled, kTooLarge (response_bytes_max), kCorruption (not HTTP).
/// A request on a reused connection that dies before the first byte of an answer is sent once more
/// if its method is idempotent (GET, HEAD, PUT, DELETE, OPTIONS).
class HttpClient {
public:
    /// `clock` must outlive the client.
    HttpClient(HttpClientOptions options, const Clock& clock);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    /// Sends one request and reads the whole answer. Any status is a success here.
    Result<HttpClientResponse> request(const RequestContext& context,
                                       const HttpClientRequest& request);

    /// Like `request`, but passes a 2xx body to `sink` as it arrives (decoded, any chunk size). An
    /// error of `sink` ends the call with that error. Other bodies are returned in the response.
    Result<HttpClientResponse> stream(const RequestContext& context,
                                      const HttpClientRequest& request,
                                      const std::function<Result<>(std::string_view chunk)>& sink);

    /// Closes the kept connection.
    void close();

private:
    class Connection;
    HttpClientOptions options_;
    const Clock& clock_;
    std::unique_ptr<Connection> connection_;
};

}  // namespace molesignal
