#include "app/server_connection.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <simdjson.h>

namespace molesignal {

namespace {

constexpr std::string_view kLocalServer = "http://127.0.0.1:5080";

std::string without_slash(std::string url) {
    while (url.ends_with('/')) {
        url.pop_back();
    }
    return url;
}

Error explain(Error error, const std::string& url) {
    return std::move(error).wrap(fmt::format("request to {}", url));
}

}  // namespace

void add_connection_options(CLI::App& command, ConnectionOptions& options) {
    command
        .add_option(
            "--url", options.url, fmt::format("Server (or MS_URL); default {}", kLocalServer))
        ->type_name("URL");
    command.add_option("--token", options.token, "API token (better: MS_TOKEN)")
        ->type_name("TOKEN");
    command.add_option("--org", options.organisation, "Organisation, if the token has several")
        ->type_name("ORG");
}

std::string describe_answer(const HttpClientResponse& answer) {
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    std::string_view message;
    std::string_view code;
    if (parser.parse(answer.body).get(document) == simdjson::SUCCESS &&
        document["message"].get(message) == simdjson::SUCCESS) {
        static_cast<void>(document["error"].get(code));
        const auto id = answer.header("X-Request-Id").value_or("");
        return fmt::format(
            "{} ({} {}{}{})", message, answer.status, code, id.empty() ? "" : ", request ", id);
    }
    return fmt::format("the server answered {}", answer.status);
}

ServerConnection::ServerConnection(CommandContext& context, const ConnectionOptions& options)
    : context_(context),
      url_(without_slash(options.url.empty() ? context.variable("MS_URL", std::string(kLocalServer))
                                             : options.url)),
      token_(options.token.empty() ? context.variable("MS_TOKEN", "") : options.token),
      organisation_(options.organisation),
      client_({.accept_encoding = "zstd, gzip"}, context.clock) {}

HttpClientRequest ServerConnection::build(const Request& request) const {
    HttpClientRequest out;
    out.method = request.method;
    out.url = url_ + request.path;
    out.body = request.body;
    out.headers.push_back({"Accept", request.accept});
    if (!request.body.empty()) {
        out.headers.push_back({"Content-Type", request.content_type});
    }
    if (!token_.empty()) {
        out.headers.push_back({"Authorization", "Bearer " + token_});
    }
    if (!organisation_.empty()) {
        out.headers.push_back({"X-Org-Id", organisation_});
    }
    return out;
}

Result<HttpClientResponse> ServerConnection::send(const Request& request) {
    auto answer = client_.request(context_.request_context(), build(request));
    if (!answer.has_value()) {
        return explain(std::move(answer).error(), url_);
    }
    return answer;
}

Result<HttpClientResponse> ServerConnection::stream(
    const Request& request, const std::function<Result<>(std::string_view)>& sink) {
    auto answer = client_.stream(context_.request_context(), build(request), sink);
    if (!answer.has_value()) {
        return explain(std::move(answer).error(), url_);
    }
    return answer;
}

std::string escape_url_part(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
        const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                              (c >= '0' && c <= '9') ||
                              std::string_view("-._~").find(c) != std::string_view::npos;
        if (is_plain) {
            escaped += c;
        } else {
            escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return escaped;
}

std::string quote_json(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            quoted += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
            quoted += c;
        }
    }
    return quoted + '"';
}

}  // namespace molesignal
