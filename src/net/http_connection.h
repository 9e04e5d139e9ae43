#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "common/memory_budget.h"
#include "net/compression.h"
#include "net/http.h"
#include "net/http_answer.h"
#include "net/http_engine.h"
#include "net/http_wire.h"

namespace molesignal {

/// One client connection: a coroutine that reads a request, has it handled and answers, until one
/// side closes. Lives on the thread of its loop; only the handler runs elsewhere.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
public:
    enum class Admission : std::uint8_t { kServe = 0, kRefuse = 1 };

    HttpConnection(HttpEngine& engine,
                   HttpLoop& loop,
                   boost::asio::ip::tcp::socket socket,
                   std::size_t listener,
                   Admission admission);
    ~HttpConnection();
    HttpConnection(const HttpConnection&) = delete;
    HttpConnection& operator=(const HttpConnection&) = delete;

    /// Starts the coroutine, which keeps the connection alive.
    void start();
    /// Ends the operation in progress if its deadline is at or before `now`.
    void check_deadline(SteadyNanos now);
    /// Closes the connection if it waits for a request.
    void close_if_idle();
    /// Cuts the connection and cancels its request.
    void abort();

private:
    enum class Phase : std::uint8_t { kIdle, kHead, kBody, kHandler, kWrite, kLinger };
    using Socket = boost::asio::ip::tcp::socket;
    template <class T>
    using Awaitable = boost::asio::awaitable<T>;

    /// One request with its answer.
    struct Exchange {
        RequestHead head;
        HttpRequest request;
        MemoryReservation reservation;
        SteadyNanos began;
        HttpAnswer answer;
        bool head_seen = false;
        bool keep_alive = false;
        /// The parts of the request that the access record needs after the handler took it.
        std::string method;
        std::string path;
        std::string request_id;
        std::uint64_t body_wire_bytes = 0;
        std::uint64_t answer_bytes = 0;
    };
    enum class Step : std::uint8_t { kGo, kRefused, kClosed };

    // NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)
    static Awaitable<void> run(std::shared_ptr<HttpConnection> self);
    Awaitable<bool> serve_one();
    Awaitable<void> refuse_connection();

    Awaitable<Step> read_head(Exchange& exchange);
    Step check_partial_head(Exchange& exchange, std::size_t& scanned, std::size_t& head_bytes);
    Step accept_head(Exchange& exchange, std::size_t head_bytes);
    Awaitable<Step> read_body(Exchange& exchange);
    Awaitable<Step> read_plain_body(Exchange& exchange);
    Awaitable<Step> read_coded_body(Exchange& exchange, ContentCoding coding);
    Step take_coded_piece(Exchange& exchange, StreamDecoder& decoder, Bytes piece);
    Step reserve_body(Exchange& exchange, std::size_t bytes);
    Step refuse_body_size(Exchange& exchange);
    Awaitable<void> handle(Exchange& exchange);
    Awaitable<bool> write_answer(Exchange& exchange);
    Awaitable<void> linger();
    void finish(Exchange& exchange, bool complete);

    // NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

    /// Runs `work` on the pool and waits; notices meanwhile when the client goes away.
    Awaitable<bool> run_on_pool(std::function<void()> work);
    /// Reads at least one byte to the end of `in_`. False: end, error or time-out.
    Awaitable<bool> read_more(std::size_t bytes_max);
    Awaitable<bool> write_all(std::string_view first, std::string_view second);

    Step refuse(Exchange& exchange, int status, std::string_view error, std::string_view message);
    void set_deadline(std::int64_t timeout_ms);
    std::string_view unread() const {
        return std::string_view(in_).substr(in_begin_, in_end_ - in_begin_);
    }
    void make_room(std::size_t bytes);

    HttpEngine& engine_;
    HttpLoop& loop_;
    Socket socket_;
    const std::size_t listener_;
    const Admission admission_;
    std::string remote_address_;

    // Unread bytes are in_[in_begin_, in_end_); in_.size() is the room there is.
    std::string in_;
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;

    Phase phase_ = Phase::kIdle;
    SteadyNanos deadline_ = SteadyNanos::never();
    bool timed_out_ = false;
    bool gone_ = false;         // Nothing can be written any more, or the connection is being cut.
    bool input_ended_ = false;  // The client has closed or will at least send no more.
    bool served_one_ = false;
    bool work_done_ = true;
    boost::asio::steady_timer work_signal_;
    CancelToken cancel_;
};

}  // namespace molesignal
