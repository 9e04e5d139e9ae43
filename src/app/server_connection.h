#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/command_context.h"
#include "common/result.h"
#include "net/http_client.h"

namespace CLI {
class App;
}  // namespace CLI

namespace molesignal {

/// Where the server is and who asks: the options of every client command.
struct ConnectionOptions {
    std::string url;           ///< --url, else MS_URL, else the local server.
    std::string token;         ///< --token, else MS_TOKEN.
    std::string organisation;  ///< --org: one of those that the token may use.
};

/// Adds --url, --token and --org. `options` outlives the parsing.
void add_connection_options(CLI::App& command, ConnectionOptions& options);

/// The message of an error answer: "message (code, request id …)".
std::string describe_answer(const HttpClientResponse& answer);

/// Requests to one server. One thread at a time.
class ServerConnection {
public:
    ServerConnection(CommandContext& context, const ConnectionOptions& options);

    struct Request {
        std::string method = "GET";
        std::string path;  ///< "/api/v1/query", escaped.
        std::string_view body = {};
        std::string content_type = "application/json";
        std::string accept = "application/json";
    };
    /// Sends and reads the whole answer, of any status. Errors as HttpClient; kCancelled by Ctrl-C.
    Result<HttpClientResponse> send(const Request& request);
    /// Passes a good answer's body to `sink` as it comes.
    Result<HttpClientResponse> stream(const Request& request,
                                      const std::function<Result<>(std::string_view)>& sink);

private:
    HttpClientRequest build(const Request& request) const;

    CommandContext& context_;
    std::string url_;
    std::string token_;
    std::string organisation_;
    HttpClient client_;
};

/// `text` with everything but letters, digits and "-._~" percent-escaped.
std::string escape_url_part(std::string_view text);

/// `text` as a JSON string, quotes included.
std::string quote_json(std::string_view text);

}  // namespace molesignal
