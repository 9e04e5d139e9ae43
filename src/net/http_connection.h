#pragma once

#include <functional>
#include <list>
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
#include "net/http_lane.h"
#include "net/http_wire.h"
#include "net/transfer_pace.h"

namespace molesignal {

/// One client connection: a coroutine that reads a request, has it handled and answers, until one
/// side closes. Lives on the thread of its loop; only the handler runs elsewhere.
///
/// http_connection.cc has its life and its writes, http_reading.cc heads and bodies,
/// http_exchange.cc what happens to a request in between.
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
    /// Called from time to time: ends the operation in progress if its deadline is at or before
    /// `now`, and notices a client that has gone while nothing is read from it.
    void check(SteadyNanos now);
    /// Closes the connection if it waits for a request.
    void close_if_idle();
    /// Closes the connection, which waits for a request, to make room for another one.
    void evict();
    /// Cuts the connection and cancels its request.
    void abort();

private:
    enum class Phase : std::uint8_t { kIdle, kHead, kBody, kWork, kWrite, kLinger };
    using Socket = boost::asio::ip::tcp::socket;
    template <class T>
    using Awaitable = boost::asio::awaitable<T>;

    /// How much is known of where the next request begins.
    enum class Body : std::uint8_t {
        kUnknown = 0,  ///< Nothing: the connection must end.
        kUnread = 1,   ///< The head is understood, its body still comes.
        kRead = 2,
    };

    /// One request with its answer.
    struct Exchange {
        RequestHead head;
        HttpRequest request;
        AnswerTerms terms;
        Body body = Body::kUnknown;
        ContentCoding coding = ContentCoding::kIdentity;
        std::string encoded;            ///< The body as it came, if it has a coding.
        MemoryReservation body_memory;  ///< Of the body, as it came or decoded.
        HttpAdmission admission;
        HttpLane::Pass pass;
        SteadyNanos began;
        HttpAnswer answer;
        MemoryReservation answer_memory;
        std::uint64_t unread_body_bytes = 0;  ///< To be skipped after the answer.
        /// The parts of the request that the access record needs after the handler took it.
        std::string method;
        std::string path;
        std::uint64_t body_wire_bytes = 0;
        std::uint64_t answer_bytes = 0;
    };
    enum class Step : std::uint8_t { kGo, kAnswered, kClosed };

    /// An answer of the engine itself.
    struct Refusal {
        int status = 400;
        std::string_view error;
        std::string message;
        std::string_view limit = {};  ///< The setting, if it is a limit.
    };

    // NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)
    static Awaitable<void> run(std::shared_ptr<HttpConnection> self);
    Awaitable<bool> serve_one();
    Awaitable<void> refuse_connection();
    void finish(Exchange& exchange, bool complete);

    Awaitable<Step> read_head(Exchange& exchange);
    bool read_what_has_arrived();
    Step check_partial_head(Exchange& exchange, std::size_t& scanned, std::size_t& head_bytes);
    Step accept_head(Exchange& exchange, std::size_t head_bytes);
    Step check_head(Exchange& exchange);

    Awaitable<Step> read_body(Exchange& exchange);
    Awaitable<Step> read_sized_body(Exchange& exchange, std::string& body);
    Awaitable<Step> read_chunked_body(Exchange& exchange, std::string& body);
    Step refuse_slow_body(Exchange& exchange);
    Step refuse_body_size(Exchange& exchange);
    Step refuse_body_memory(Exchange& exchange, const Error& error);
    Step take_body_memory(Exchange& exchange, std::string& body, std::size_t bytes);
    Awaitable<bool> skip_body(std::uint64_t bytes);

    Awaitable<Step> admit(Exchange& exchange);
    Awaitable<Step> enter_lane(Exchange& exchange, std::size_t lane);
    Awaitable<Step> handle(Exchange& exchange);
    void work_on(Exchange& exchange);
    Awaitable<bool> write_answer(Exchange& exchange);
    Awaitable<void> linger();
    RequestContext context_of(const Exchange& exchange) const;

    /// Makes `response` the answer. The connection goes on if the rest of the request can be told
    /// from the next one.
    Step answer_with(Exchange& exchange, HttpResponse response);
    Step refuse(Exchange& exchange, Refusal refusal);

    // NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

    /// Runs `work` on the pool and waits. False: the server stops, it was not run.
    Awaitable<bool> run_on_pool(std::function<void()> work);
    /// What wait_for_signal waits for; may be called from any thread, once per wait.
    std::function<void()> make_signal();
    /// Waits for the signal; reads ahead meanwhile, so that the end of the connection shows. False:
    /// the deadline passed or, with `kSignalOrEnd`, the client has gone.
    enum class Until : std::uint8_t { kSignal, kSignalOrEnd };
    Awaitable<bool> wait_for_signal(Until until);
    /// Reads at least one byte to the end of `in_`. False: end, error or time-out.
    Awaitable<bool> read_more(std::size_t bytes_max);
    Awaitable<bool> write_all(std::string_view first, std::string_view second);

    void set_deadline(std::int64_t timeout_ms);
    std::string_view unread() const {
        return std::string_view(in_).substr(in_begin_, in_end_ - in_begin_);
    }
    void make_room(std::size_t bytes);
    void note_input_end();
    bool reading_is_paused() const;
    void mark_idle();
    void unmark_idle();

    HttpEngine& engine_;
    HttpLoop& loop_;
    Socket socket_;
    const std::size_t listener_;
    const Admission admission_;
    std::string remote_address_;
    std::list<HttpConnection*> idle_entry_;  // Empty while it is in the loop's list.
    std::list<HttpConnection*>::iterator idle_position_;

    // Unread bytes are in_[in_begin_, in_end_); in_.size() is the room there is.
    std::string in_;
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;
    MemoryReservation in_memory_;

    Phase phase_ = Phase::kIdle;
    SteadyNanos deadline_ = SteadyNanos::never();
    TransferPace pace_;                               // Of the body or answer in transfer.
    SteadyNanos transfer_by_ = SteadyNanos::never();  // … and its end at the latest.
    bool timed_out_ = false;
    bool gone_ = false;         // Nothing can be written any more, or the connection is being cut.
    bool input_ended_ = false;  // The client has closed or will at least send no more.
    bool evicted_ = false;
    bool served_one_ = false;
    bool signalled_ = true;
    std::uint64_t signal_number_ = 0;  // Tells a late signal of an earlier wait.
    boost::asio::steady_timer signal_timer_;
    CancelToken cancel_;  // Of the exchange in progress.
};

}  // namespace molesignal
