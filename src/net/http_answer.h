#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/compression.h"
#include "net/http.h"
#include "net/http_server.h"
#include "net/http_wire.h"

namespace molesignal {

/// What the answer's form depends on, taken from the request before the handler owns it.
struct AnswerTerms {
    bool head_method = false;
    int minor_version = 1;
    bool keep_alive = true;
    ContentCoding coding = ContentCoding::kIdentity;  ///< The best that the client accepts.
    std::string request_id;

    static AnswerTerms from(const RequestHead& head, std::string request_id);
};

/// An answer ready for the wire. Filled on a pool thread (compression costs), written on the loop.
class HttpAnswer {
public:
    /// Chooses framing and coding and builds the head. Pulls the first piece of a stream: one that
    /// ends there gets a Content-Length, one that fails there becomes a 500 (a handler that can say
    /// more pulls the first piece itself).
    void prepare(HttpResponse response,
                 AnswerTerms terms,
                 const HttpServerOptions& options,
                 UnixNanos now);

    /// Puts the next piece of the stream, framed, into `piece()`. False: the stream failed, cut the
    /// connection. Call while `more()`.
    bool pull();

    /// Destroys the stream, if there is one still, with what it holds.
    void abandon();

    bool prepared() const { return !head_.empty(); }
    bool more() const { return more_; }
    bool keep_alive() const { return terms_.keep_alive; }
    int status() const { return response_.status; }
    std::string_view route() const { return response_.route; }
    std::string_view limit() const { return response_.limit; }
    std::string_view request_id() const { return terms_.request_id; }
    SteadyNanos write_by() const { return response_.write_by; }
    /// The memory of what is to be sent.
    std::size_t memory_bytes() const {
        return head_.capacity() + piece_.capacity() + chunk_.capacity();
    }
    std::string_view head() const { return head_; }
    std::string_view piece() const { return piece_; }

private:
    void first_pull();
    void encode_body(const HttpServerOptions& options);
    void build_head(UnixNanos now);
    bool wants_coding() const;
    Result<> next_piece();

    HttpResponse response_;
    AnswerTerms terms_;
    std::unique_ptr<StreamEncoder> encoder_;
    ContentCoding coding_ = ContentCoding::kIdentity;
    bool chunked_ = false;
    bool more_ = false;
    bool body_allowed_ = true;
    std::size_t content_length_ = 0;
    std::string head_;
    std::string piece_;
    std::string chunk_;
};

/// "Tue, 24 Nov 2026 10:53:49 GMT"
std::string http_date(UnixNanos now);

}  // namespace molesignal
