// Reading of heads and bodies.
#include <algorithm>
#include <chrono>
#include <tuple>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include "net/body_decoding.h"
#include "net/http_connection.h"
#include "net/http_connection_limits.h"

namespace molesignal {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kRequestLineSlackBytes = 64;  // Method and version beside the URL.
constexpr std::size_t kRequestIdBytesMax = 128;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

/// A client's request id is kept if it cannot break a header, a log line or a label.
bool acceptable_request_id(std::string_view id) {
    return !id.empty() && id.size() <= kRequestIdBytesMax &&
           std::ranges::all_of(id, [](char c) { return c > 0x20 && c < 0x7f; });
}

/// The values of all Content-Encoding headers as one list.
std::string content_encodings(const std::vector<HttpHeader>& headers) {
    std::string codings;
    for (const auto& header : headers) {
        if (equal_ignoring_case(header.name, "Content-Encoding")) {
            codings += codings.empty() ? header.value : ", " + header.value;
        }
    }
    return codings;
}

}  // namespace

// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)

// --- Head
// -----------------------------------------------------------------------------------------

HttpConnection::Step HttpConnection::check_partial_head(Exchange& exchange,
                                                        std::size_t& scanned,
                                                        std::size_t& head_bytes) {
    const auto& options = engine_.options;
    // A robust server ignores empty lines before a request (RFC 9112 §2.2).
    while (scanned == 0 && unread().starts_with("\r\n")) {
        in_begin_ += 2;
    }
    const auto input = unread();
    if (!input.empty() && scanned == 0 && (input[0] < 'A' || input[0] > 'z') && input != "\r") {
        return refuse(exchange, {400, "bad_request", "not an HTTP/1.1 request"});
    }
    const auto line_end = input.find('\n');
    const auto line_bytes = std::min(line_end, input.size());
    if (line_bytes > options.url_bytes_max + kRequestLineSlackBytes) {
        return refuse(exchange,
                      {414,
                       "url_too_long",
                       fmt::format("the URL is longer than {} bytes (http.url_bytes_max)",
                                   options.url_bytes_max),
                       "http.url_bytes_max"});
    }
    if (line_end != std::string_view::npos && (line_end == 0 || input[line_end - 1] != '\r')) {
        return refuse(exchange, {400, "bad_request", "the request line ends without CR"});
    }
    const auto end = input.find("\r\n\r\n", scanned < 3 ? 0 : scanned - 3);
    scanned = input.size();
    const auto known = end == std::string_view::npos ? input.size() : end + 4;
    if (known - line_bytes > options.header_bytes_max + 4) {
        return refuse(exchange,
                      {431,
                       "headers_too_large",
                       fmt::format("the headers are larger than {} bytes (http.header_bytes_max)",
                                   options.header_bytes_max),
                       "http.header_bytes_max"});
    }
    head_bytes = end == std::string_view::npos ? 0 : end + 4;
    return Step::kGo;
}

bool HttpConnection::read_what_has_arrived() {
    make_room(kIdleBufferBytes);
    boost::system::error_code error;
    std::ignore = socket_.non_blocking(true, error);
    in_end_ += socket_.read_some(asio::buffer(in_.data() + in_end_, kIdleBufferBytes), error);
    return !error;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_head(Exchange& exchange) {
    phase_ = Phase::kIdle;
    if (in_begin_ == in_end_ && in_.size() > kIdleBufferBytes) {
        std::string().swap(in_);
        in_begin_ = in_end_ = 0;
        in_memory_.reset();
    }
    exchange.terms.request_id = make_ulid(engine_.clock.now(), engine_.random);
    const auto& options = engine_.options;
    set_deadline(served_one_ ? options.keepalive_timeout_ms : options.header_timeout_ms);
    std::size_t scanned = 0;
    std::size_t head_bytes = 0;
    while (true) {
        if (in_begin_ != in_end_) {
            const auto step = check_partial_head(exchange, scanned, head_bytes);
            if (step != Step::kGo) {
                co_return step;
            }
            if (head_bytes > 0) {
                co_return accept_head(exchange, head_bytes);
            }
            if (phase_ == Phase::kIdle) {
                phase_ = Phase::kHead;
                set_deadline(options.header_timeout_ms);
            }
        } else if (engine_.draining.load(std::memory_order_acquire)) {
            // What has arrived already is answered; nothing else is waited for.
            if (!read_what_has_arrived()) {
                co_return Step::kClosed;
            }
            continue;
        }
        if (phase_ == Phase::kIdle) {
            mark_idle();
        }
        const bool read = co_await read_more(kIdleBufferBytes);
        unmark_idle();
        if (read && !timed_out_) {
            continue;
        }
        if (phase_ == Phase::kHead && timed_out_) {
            co_return refuse(
                exchange,
                {408,
                 "timeout",
                 fmt::format("the request's head took longer than {} ms (http.header_timeout_ms)",
                             options.header_timeout_ms),
                 "http.header_timeout_ms"});
        }
        const bool drain_read = phase_ == Phase::kIdle && !timed_out_ && !gone_ && !evicted_ &&
                                engine_.draining.load(std::memory_order_acquire);
        if (!drain_read) {
            co_return Step::kClosed;
        }
    }
}

HttpConnection::Step HttpConnection::accept_head(Exchange& exchange, std::size_t head_bytes) {
    phase_ = Phase::kBody;
    deadline_ = SteadyNanos::never();
    // A cancelled request must not cancel the next one of the connection.
    cancel_ = CancelToken();
    if (input_ended_) {
        cancel_.cancel();
    }
    auto parsed = parse_request_head(unread().substr(0, head_bytes));
    in_begin_ += head_bytes;
    if (!parsed) {
        return refuse(exchange, {400, "bad_request", parsed.error().message()});
    }
    auto& head = exchange.head;
    head = *std::move(parsed);
    exchange.body = Body::kUnread;
    auto id = std::move(exchange.terms.request_id);
    if (const auto sent = find_header(head.headers, "X-Request-Id");
        sent.has_value() && acceptable_request_id(*sent)) {
        id = std::string(*sent);
    }
    auto& request = exchange.request;
    request.request_id = id;
    request.method = head.method;
    request.target = head.target;
    request.remote_address = remote_address_;
    request.listener = listener_;
    request.cancel = cancel_;
    exchange.terms = AnswerTerms::from(head, std::move(id));
    request.headers = std::move(head.headers);
    return check_head(exchange);
}

HttpConnection::Step HttpConnection::check_head(Exchange& exchange) {
    const auto& options = engine_.options;
    const auto& head = exchange.head;
    auto& request = exchange.request;
    if (head.target.size() > options.url_bytes_max) {
        return refuse(exchange,
                      {414,
                       "url_too_long",
                       fmt::format("the URL has {} bytes, the limit is {} (http.url_bytes_max)",
                                   head.target.size(),
                                   options.url_bytes_max),
                       "http.url_bytes_max"});
    }
    if (auto split = split_target(head.target, request); !split) {
        return refuse(exchange, {400, "bad_request", split.error().message()});
    }
    if (request.header("Expect").has_value() && !head.expect_continue && head.minor_version >= 1) {
        return refuse(exchange,
                      {417, "expectation_failed", "only 'Expect: 100-continue' is supported"});
    }
    if (head.framing.kind == BodyFraming::Kind::kLength &&
        head.framing.length > options.body_bytes_max) {
        return refuse_body_size(exchange);
    }
    return Step::kGo;
}

// --- Body
// -----------------------------------------------------------------------------------------

HttpConnection::Step HttpConnection::refuse_body_size(Exchange& exchange) {
    return refuse(
        exchange,
        {413,
         "body_too_large",
         fmt::format("the request body is larger than {} bytes (http.body_bytes_max), which counts "
                     "for what is sent and for what it decodes to",
                     engine_.options.body_bytes_max),
         "http.body_bytes_max"});
}

HttpConnection::Step HttpConnection::refuse_slow_body(Exchange& exchange) {
    const auto& options = engine_.options;
    if (engine_.clock.steady_now() >= transfer_by_) {
        return refuse(exchange,
                      {408,
                       "timeout",
                       fmt::format("the body took longer than {} ms (http.body_timeout_ms)",
                                   options.body_timeout_ms),
                       "http.body_timeout_ms"});
    }
    return refuse(
        exchange,
        {408,
         "timeout",
         fmt::format("in {} ms (http.body_idle_timeout_ms) less of the body came than {} bytes a "
                     "second (http.body_bytes_per_second_min)",
                     options.body_idle_timeout_ms,
                     options.body_bytes_per_second_min),
         "http.body_idle_timeout_ms"});
}

HttpConnection::Step HttpConnection::refuse_body_memory(Exchange& exchange, const Error& error) {
    return refuse(exchange, {503, "overloaded", error.message(), "http.inflight_body_bytes_max"});
}

HttpConnection::Step HttpConnection::take_body_memory(Exchange& exchange,
                                                      std::string& body,
                                                      std::size_t bytes) {
    // What is counted follows what has come, so that a length costs its sender as much as us. What
    // is allocated goes ahead of it, because memory that nobody has touched is none: a body is
    // moved once at most, and its pages appear as it is read.
    const std::size_t length = exchange.head.framing.length;
    const auto needed = bytes + kBodyPaddingBytes;
    if (auto taken = exchange.body_memory.resize(static_cast<std::int64_t>(needed)); !taken) {
        return refuse_body_memory(exchange, taken.error());
    }
    if (body.capacity() < needed) {
        const auto ahead =
            bytes <= kBodyReadBytesMax ? std::min(length, kBodyReadBytesMax) : length;
        body.reserve(ahead + kBodyPaddingBytes);
    }
    return Step::kGo;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_body(Exchange& exchange) {
    const auto& options = engine_.options;
    const auto& framing = exchange.head.framing;
    auto& request = exchange.request;
    if (framing.kind == BodyFraming::Kind::kNone ||
        (framing.kind == BodyFraming::Kind::kLength && framing.length == 0)) {
        request.body.reserve(kBodyPaddingBytes);
        exchange.body = Body::kRead;
        co_return Step::kGo;
    }
    const auto coding = parse_content_coding(content_encodings(request.headers));
    if (!coding) {
        co_return refuse(exchange, {415, "unsupported_encoding", coding.error().message()});
    }
    exchange.coding = *coding;
    exchange.body = Body::kUnknown;
    exchange.body_memory = MemoryReservation(engine_.body_memory);
    pace_ = TransferPace(std::chrono::milliseconds(options.body_idle_timeout_ms),
                         options.body_bytes_per_second_min);
    transfer_by_ = engine_.clock.steady_now() + std::chrono::milliseconds(options.body_timeout_ms);
    if (exchange.head.expect_continue && unread().empty()) {
        if (!co_await write_all("HTTP/1.1 100 Continue\r\n\r\n", {})) {
            co_return Step::kClosed;
        }
    }
    phase_ = Phase::kBody;
    auto& body = *coding == ContentCoding::kIdentity ? request.body : exchange.encoded;
    auto step = Step::kGo;
    if (framing.kind == BodyFraming::Kind::kLength) {
        step = co_await read_sized_body(exchange, body);
    } else {
        step = co_await read_chunked_body(exchange, body);
    }
    deadline_ = SteadyNanos::never();
    if (step == Step::kClosed && timed_out_) {
        co_return refuse_slow_body(exchange);
    }
    if (step == Step::kGo) {
        exchange.body = Body::kRead;
    }
    co_return step;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_sized_body(Exchange& exchange,
                                                                                std::string& body) {
    const std::size_t length = exchange.head.framing.length;
    const auto early = unread().substr(0, length);
    if (take_body_memory(exchange, body, early.size()) != Step::kGo) {
        co_return Step::kAnswered;
    }
    body.append(early);
    in_begin_ += early.size();
    std::size_t filled = body.size();
    auto& wire_bytes = exchange.request.body_wire_bytes;
    for (wire_bytes = filled; filled < length; wire_bytes = filled) {
        // Growing step by step zeroes what is about to be written while it is in the cache.
        const auto step = std::clamp(filled, kBodyReadBytesMin, kBodyReadBytesMax);
        const auto room = std::min(length, std::max(body.size(), filled + step));
        if (take_body_memory(exchange, body, room) != Step::kGo) {
            co_return Step::kAnswered;
        }
        body.resize(room);
        const auto began = engine_.clock.steady_now();
        timed_out_ = false;
        deadline_ = std::min(pace_.deadline(began), transfer_by_);
        const auto free = asio::buffer(body.data() + filled, body.size() - filled);
        const auto [error, size] = co_await socket_.async_read_some(free, kToken);
        if (error) {
            co_return Step::kClosed;
        }
        pace_.moved(engine_.clock.steady_now() - began, size);
        filled += size;
    }
    co_return Step::kGo;
}

HttpConnection::Awaitable<HttpConnection::Step> HttpConnection::read_chunked_body(
    Exchange& exchange, std::string& body) {
    auto& wire_bytes = exchange.request.body_wire_bytes;
    ChunkDecoder chunks;
    while (!chunks.done()) {
        if (unread().empty()) {
            const auto began = engine_.clock.steady_now();
            timed_out_ = false;
            deadline_ = std::min(pace_.deadline(began), transfer_by_);
            const auto before = in_end_ - in_begin_;
            const auto wanted =
                std::clamp<std::size_t>(wire_bytes, kIdleBufferBytes, kChunkedReadBytesMax);
            if (!co_await read_more(wanted)) {
                co_return Step::kClosed;
            }
            pace_.moved(engine_.clock.steady_now() - began, in_end_ - in_begin_ - before);
        }
        auto input = unread();
        const auto before = input.size();
        const auto piece = chunks.next(input);
        if (!piece) {
            co_return refuse(exchange, {400, "bad_request", piece.error().message()});
        }
        in_begin_ += before - input.size();
        wire_bytes += piece->size();
        if (wire_bytes > engine_.options.body_bytes_max) {
            co_return refuse_body_size(exchange);
        }
        if (auto taken = reserve_body(
                body, wire_bytes, engine_.options.body_bytes_max, exchange.body_memory);
            !taken) {
            co_return refuse_body_memory(exchange, taken.error());
        }
        body.append(*piece);
    }
    co_return Step::kGo;
}

HttpConnection::Awaitable<bool> HttpConnection::skip_body(std::uint64_t bytes) {
    phase_ = Phase::kBody;
    set_deadline(engine_.options.body_idle_timeout_ms);
    while (true) {
        const auto skipped = std::min<std::uint64_t>(bytes, in_end_ - in_begin_);
        in_begin_ += skipped;
        bytes -= skipped;
        if (bytes == 0) {
            co_return true;
        }
        if (!co_await read_more(kIdleBufferBytes) || timed_out_) {
            co_return false;
        }
    }
}

// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace molesignal
