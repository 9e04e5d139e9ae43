#include "net/http_client.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/compression.h"
#include "net/http_wire.h"

namespace molesignal {
namespace {

constexpr std::size_t kReadBytes = 256 << 10;
constexpr std::int64_t kPollMs = 50;  // How soon a cancel is noticed.

struct Url {
    std::string host;
    std::string port = "80";
    std::string authority;
    std::string target;
};

Result<Url> parse_url(std::string_view text) {
    const auto bad = [&](std::string_view why) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'{}' is not a usable URL: {}", text, why));
    };
    constexpr std::string_view kScheme = "http://";
    if (!text.starts_with(kScheme)) {
        return bad("it must start with http://");
    }
    const auto rest = text.substr(kScheme.size());
    if (std::ranges::any_of(
            rest, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; })) {
        return bad("it contains a space or control character");
    }
    const auto slash = rest.find_first_of("/?");
    Url url;
    url.authority = std::string(rest.substr(0, slash));
    url.target = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
    if (url.target.front() == '?') {
        url.target.insert(0, "/");
    }
    std::string_view host = url.authority;
    const auto bracket = host.rfind(']');
    const auto colon = host.rfind(':');
    if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
        url.port = std::string(host.substr(colon + 1));
        host = host.substr(0, colon);
    }
    unsigned port = 0;
    const auto parsed = std::from_chars(url.port.data(), url.port.data() + url.port.size(), port);
    if (parsed.ec != std::errc{} || parsed.ptr != url.port.data() + url.port.size() || port == 0 ||
        port > 65535) {
        return bad("the port is not a number from 1 to 65535");
    }
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    }
    if (host.empty()) {
        return bad("the host is missing");
    }
    url.host = std::string(host);
    return url;
}

bool idempotent(std::string_view method) {
    constexpr std::array<std::string_view, 5> kMethods = {
        "GET", "HEAD", "PUT", "DELETE", "OPTIONS"};
    return std::ranges::find(kMethods, method) != kMethods.end();
}

Error lost(std::string_view doing) {
    return {ErrorCode::kUnavailable, fmt::format("{}: {}", doing, std::strerror(errno))};
}

}  // namespace

/// A connected socket with its read buffer.
class HttpClient::Connection {
public:
    Connection(const HttpClientOptions& options, const Clock& clock)
        : options_(options), clock_(clock) {}
    ~Connection() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    Result<> connect(const RequestContext& context, const Url& url);
    bool serves(const Url& url) const { return authority_ == url.authority; }
    /// Whether the server has closed, or said something unasked, since the last answer.
    bool stale() const {
        pollfd entry{fd_, POLLIN, 0};
        return !unread().empty() || ::poll(&entry, 1, 0) != 0;
    }

    /// Sends; stops early, returning false, when the server answers before it has everything.
    Result<bool> send(const RequestContext& context, std::string_view data);
    Result<ResponseHead> read_head(const RequestContext& context, std::string_view method);
    /// Passes the pieces of the content, without framing, to `sink`.
    Result<> read_body(const RequestContext& context,
                       const BodyFraming& framing,
                       const std::function<Result<>(std::string_view)>& sink);
    bool got_bytes() const { return got_bytes_; }
    void begin_exchange() { got_bytes_ = false; }

private:
    std::string_view unread() const { return std::string_view(in_).substr(begin_, end_ - begin_); }
    /// Waits for `events`; kTimeout after `timeout_ms` without them.
    Result<short> wait(const RequestContext& context, short events, std::int64_t timeout_ms) const;
    /// Reads some bytes. False at the end of the connection.
    Result<bool> fill(const RequestContext& context);

    const HttpClientOptions& options_;
    const Clock& clock_;
    int fd_ = -1;
    std::string authority_;
    std::string in_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool got_bytes_ = false;
};

Result<short> HttpClient::Connection::wait(const RequestContext& context,
                                           short events,
                                           std::int64_t timeout_ms) const {
    const auto give_up = clock_.steady_now() + std::chrono::milliseconds(timeout_ms);
    while (true) {
        MS_TRY_VOID(context.check());
        pollfd entry{fd_, events, 0};
        const auto wait_ms = static_cast<int>(std::min(kPollMs, timeout_ms));
        if (::poll(&entry, 1, wait_ms) > 0) {
            return entry.revents;
        }
        if (clock_.steady_now() >= give_up) {
            return Error(ErrorCode::kTimeout,
                         fmt::format("no progress with {} for {} ms", authority_, timeout_ms));
        }
    }
}

Result<> HttpClient::Connection::connect(const RequestContext& context, const Url& url) {
    authority_ = url.authority;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int code = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found);
        code != 0) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("cannot resolve {}: {}", url.host, ::gai_strerror(code)));
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
    int failure = ECONNREFUSED;
    for (const auto* address = found; address != nullptr; address = address->ai_next) {
        if (fd_ >= 0) {
            ::close(fd_);
        }
        fd_ = ::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd_ < 0) {
            failure = errno;
            continue;
        }
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        failure = 0;
        if (::connect(fd_, address->ai_addr, address->ai_addrlen) != 0) {
            failure = errno;
            if (failure == EINPROGRESS) {
                MS_TRY_VOID(wait(context, POLLOUT, options_.connect_timeout_ms));
                socklen_t size = sizeof failure;
                ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &failure, &size);
            }
        }
        if (failure == 0) {
            return {};
        }
    }
    return Error(ErrorCode::kUnavailable,
                 fmt::format("cannot connect to {}: {}", authority_, std::strerror(failure)));
}

Result<bool> HttpClient::Connection::send(const RequestContext& context, std::string_view data) {
    while (!data.empty()) {
        const auto sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            data.remove_prefix(static_cast<std::size_t>(sent));
            continue;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET) {
            return false;  // Perhaps there is an answer that says why.
        }
        if (errno != EAGAIN) {
            return lost(fmt::format("send to {}", authority_));
        }
        MS_TRY(const auto events, wait(context, POLLOUT | POLLIN, options_.idle_timeout_ms));
        if ((events & POLLIN) != 0) {
            return false;
        }
    }
    return true;
}

Result<bool> HttpClient::Connection::fill(const RequestContext& context) {
    if (begin_ == end_) {
        begin_ = end_ = 0;
    }
    if (in_.size() - end_ < kReadBytes / 2) {
        in_.erase(0, begin_);
        end_ -= begin_;
        begin_ = 0;
        in_.resize(end_ + kReadBytes);
    }
    while (true) {
        const auto size = ::recv(fd_, in_.data() + end_, in_.size() - end_, 0);
        if (size > 0) {
            end_ += static_cast<std::size_t>(size);
            got_bytes_ = true;
            return true;
        }
        if (size == 0) {
            return false;
        }
        if (errno == EAGAIN) {
            MS_TRY_VOID(wait(context, POLLIN, options_.idle_timeout_ms));
        } else if (errno != EINTR) {
            return lost(fmt::format("read from {}", authority_));
        }
    }
}

Result<ResponseHead> HttpClient::Connection::read_head(const RequestContext& context,
                                                       std::string_view method) {
    while (true) {
        const auto end = unread().find("\r\n\r\n");
        if (end != std::string_view::npos) {
            auto head = parse_response_head(unread().substr(0, end + 4), method);
            begin_ += end + 4;
            if (!head || head->status >= 200) {
                return head;
            }
            continue;  // 100 Continue and other interim answers.
        }
        if (unread().size() > options_.header_bytes_max) {
            return Error(
                ErrorCode::kTooLarge,
                fmt::format("the answer's headers are larger than {} bytes (header_bytes_max)",
                            options_.header_bytes_max));
        }
        MS_TRY(const bool more, fill(context));
        if (!more) {
            return Error(ErrorCode::kUnavailable,
                         fmt::format("{} closed the connection without an answer", authority_));
        }
    }
}

Result<> HttpClient::Connection::read_body(const RequestContext& context,
                                           const BodyFraming& framing,
                                           const std::function<Result<>(std::string_view)>& sink) {
    using Kind = BodyFraming::Kind;
    ChunkDecoder chunks;
    std::uint64_t left = framing.kind == Kind::kLength ? framing.length : UINT64_MAX;
    if (framing.kind == Kind::kNone) {
        return {};
    }
    while (framing.kind == Kind::kChunked ? !chunks.done() : left > 0) {
        if (unread().empty()) {
            MS_TRY(const bool more, fill(context));
            if (!more) {
                if (framing.kind == Kind::kUntilClose) {
                    return {};
                }
                return Error(ErrorCode::kUnavailable,
                             fmt::format("{} closed in the middle of an answer", authority_));
            }
        }
        MS_TRY_VOID(context.check());
        auto input = unread();
        auto piece = input.substr(0, left);
        if (framing.kind == Kind::kChunked) {
            auto next = chunks.next(input);
            if (!next) {
                return Error(ErrorCode::kCorruption, next.error().message());
            }
            piece = *next;
            begin_ = end_ - input.size();
        } else {
            begin_ += piece.size();
            left -= piece.size();
        }
        if (!piece.empty()) {
            MS_TRY_VOID(sink(piece));
        }
    }
    return {};
}

HttpClient::HttpClient(HttpClientOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {}
HttpClient::~HttpClient() = default;

void HttpClient::close() {
    connection_.reset();
}

namespace {

std::string request_text(const HttpClientRequest& request,
                         const Url& url,
                         const HttpClientOptions& options) {
    std::string text = fmt::format("{} {} HTTP/1.1\r\n", request.method, url.target);
    const auto add_default = [&](std::string_view name, std::string_view value) {
        if (!find_header(request.headers, name).has_value()) {
            text += fmt::format("{}: {}\r\n", name, value);
        }
    };
    add_default("Host", url.authority);
    add_default("User-Agent", "molesignal");
    if (!options.accept_encoding.empty()) {
        add_default("Accept-Encoding", options.accept_encoding);
    }
    if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
        add_default("Content-Length", std::to_string(request.body.size()));
    }
    for (const auto& header : request.headers) {
        text += fmt::format("{}: {}\r\n", header.name, header.value);
    }
    text += "\r\n";
    return text;
}

Result<> check_request(const HttpClientRequest& request) {
    const auto breaks_line = [](std::string_view text) {
        return text.find_first_of("\r\n\0") != text.npos;
    };
    bool bad = request.method.empty() || breaks_line(request.method);
    for (const auto& header : request.headers) {
        bad = bad || header.name.empty() || breaks_line(header.name) || breaks_line(header.value);
    }
    if (bad) {
        return Error(ErrorCode::kInvalidArgument,
                     "the method or a header is empty or contains a line break");
    }
    return {};
}

}  // namespace

Result<HttpClientResponse> HttpClient::request(const RequestContext& context,
                                               const HttpClientRequest& request) {
    return stream(context, request, nullptr);
}

Result<HttpClientResponse> HttpClient::stream(
    const RequestContext& context,
    const HttpClientRequest& request,
    const std::function<Result<>(std::string_view chunk)>& sink) {
    MS_TRY_VOID(check_request(request));
    MS_TRY(const auto url, parse_url(request.url));
    auto connection = std::move(connection_);  // Put back only after a clean exchange.
    if (connection && (!connection->serves(url) || connection->stale())) {
        connection.reset();
    }
    const auto head_text = request_text(request, url, options_);
    bool all_sent = false;
    Result<ResponseHead> head = ResponseHead{};
    while (true) {
        const bool reused = connection != nullptr;
        if (!reused) {
            connection = std::make_unique<Connection>(options_, clock_);
            MS_TRY_VOID(connection->connect(context, url));
        }
        connection->begin_exchange();
        MS_TRY(all_sent, connection->send(context, head_text));
        if (all_sent) {
            MS_TRY(all_sent, connection->send(context, request.body));
        }
        head = connection->read_head(context, request.method);
        const bool again = !head && head.error().code() == ErrorCode::kUnavailable && reused &&
                           !connection->got_bytes() && idempotent(request.method);
        if (!again) {
            break;
        }
        connection.reset();
    }
    MS_TRY_VOID(head);
    HttpClientResponse response;
    response.status = head->status;
    response.headers = std::move(head->headers);

    const bool to_sink = sink != nullptr && response.status / 100 == 2;
    auto coding = parse_content_coding(response.header("Content-Encoding").value_or(""));
    if (!coding) {
        return Error(ErrorCode::kCorruption, coding.error().message());
    }
    if (*coding == ContentCoding::kSnappy) {
        return Error(ErrorCode::kCorruption, "the answer is in snappy, which was not asked for");
    }
    const auto decoder =
        StreamDecoder::make(*coding,
                            {.bytes_max = to_sink ? SIZE_MAX / 2 : options_.response_bytes_max,
                             .setting = "response_bytes_max"});
    MS_TRY_VOID(
        connection->read_body(context, head->framing, [&](std::string_view piece) -> Result<> {
            auto bytes = as_bytes(piece);
            bool more = true;
            while (more) {
                MS_TRY(more, decoder->decode_some(bytes, response.body, kReadBytes));
                if (to_sink && !response.body.empty()) {
                    MS_TRY_VOID(sink(response.body));
                    response.body.clear();
                }
            }
            return {};
        }));
    if (head->framing.kind != BodyFraming::Kind::kNone) {
        MS_TRY_VOID(decoder->finish());
    }
    if (head->keep_alive && all_sent) {
        connection_ = std::move(connection);
    }
    return response;
}

}  // namespace molesignal
