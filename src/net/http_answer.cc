#include "net/http_answer.h"

#include <array>
#include <ctime>

#include <fmt/format.h>

namespace molesignal {
namespace {

/// Whether a body of this type shrinks enough to be worth the time.
bool compressible(std::string_view type) {
    type = trim_spaces(type.substr(0, type.find(';')));
    constexpr std::array<std::string_view, 10> kTypes = {
        "application/json",
        "application/x-ndjson",
        "application/ndjson",
        "application/csv",
        "application/javascript",
        "application/vnd.apache.arrow.stream",
        "application/xml",
        "application/vnd.apache.arrow.file",
        "image/svg+xml",
        "application/openmetrics-text",
    };
    if (type.size() > 5 && equal_ignoring_case(type.substr(0, 5), "text/")) {
        return true;
    }
    if (type.size() > 5 && equal_ignoring_case(type.substr(type.size() - 5), "+json")) {
        return true;
    }
    for (const auto known : kTypes) {
        if (equal_ignoring_case(type, known)) {
            return true;
        }
    }
    return false;
}

/// Sends a header of the handler; what could end the line early becomes a space.
void append_header(std::string& out, std::string_view name, std::string_view value) {
    out += name;
    out += ": ";
    for (const char c : value) {
        const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
        out += control && c != '\t' ? ' ' : c;
    }
    out += "\r\n";
}

bool set_by_engine(std::string_view name) {
    constexpr std::array<std::string_view, 6> kNames = {
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Date",
        "X-Request-Id",
        "X-Content-Type-Options",
    };
    for (const auto known : kNames) {
        if (equal_ignoring_case(name, known)) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::string http_date(UnixNanos now) {
    constexpr std::array<std::string_view, 7> kDays = {
        "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<std::string_view, 12> kMonths = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::time_t seconds = now.value / 1'000'000'000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                       kDays[static_cast<std::size_t>(parts.tm_wday)],
                       parts.tm_mday,
                       kMonths[static_cast<std::size_t>(parts.tm_mon)],
                       parts.tm_year + 1900,
                       parts.tm_hour,
                       parts.tm_min,
                       parts.tm_sec);
}

AnswerTerms AnswerTerms::from(const RequestHead& head, std::string request_id) {
    AnswerTerms terms;
    terms.head_method = head.method == "HEAD";
    terms.minor_version = head.minor_version;
    terms.keep_alive = head.keep_alive;
    terms.coding = choose_content_coding(find_header(head.headers, "Accept-Encoding").value_or(""));
    terms.request_id = std::move(request_id);
    return terms;
}

bool HttpAnswer::wants_coding() const {
    return body_allowed_ && !terms_.head_method && terms_.coding != ContentCoding::kIdentity &&
           !find_header(response_.headers, "Content-Encoding").has_value() &&
           compressible(find_header(response_.headers, "Content-Type").value_or(""));
}

void HttpAnswer::prepare(HttpResponse response,
                         AnswerTerms terms,
                         const HttpServerOptions& options,
                         UnixNanos now) {
    response_ = std::move(response);
    terms_ = std::move(terms);
    const int status = response_.status;
    body_allowed_ = status >= 200 && status != 204 && status != 304;
    if (!body_allowed_ || terms_.head_method) {
        chunked_ = static_cast<bool>(response_.stream) && body_allowed_;
        response_.stream = nullptr;
    }
    if (response_.stream) {
        first_pull();
    }
    if (!chunked_) {
        encode_body(options);
    }
    more_ = static_cast<bool>(response_.stream);
    build_head(now);
}

void HttpAnswer::first_pull() {
    chunk_.clear();
    auto more = response_.stream(chunk_);
    if (!more) {
        auto failed =
            HttpResponse::error(500, "internal", "the answer could not be made", terms_.request_id);
        failed.route = std::move(response_.route);
        response_ = std::move(failed);
        return;
    }
    if (!*more) {
        response_.stream = nullptr;
        response_.body = std::move(chunk_);
        return;
    }
    chunked_ = true;
    if (wants_coding()) {
        coding_ = terms_.coding;
        encoder_ = StreamEncoder::make(coding_);
    }
    // The first piece goes out together with the head.
    std::string first = std::move(chunk_);
    chunk_.clear();
    if (encoder_ && !first.empty()) {
        if (!encoder_->write(as_bytes(first), chunk_) || !encoder_->flush(chunk_)) {
            chunk_.clear();
        }
    } else {
        chunk_ = std::move(first);
    }
    if (terms_.minor_version == 0) {
        terms_.keep_alive = false;
        piece_ = std::move(chunk_);
    } else if (!chunk_.empty()) {
        piece_ = fmt::format("{:x}\r\n", chunk_.size());
        piece_ += chunk_;
        piece_ += "\r\n";
    }
}

void HttpAnswer::encode_body(const HttpServerOptions& options) {
    if (!body_allowed_) {
        return;
    }
    if (response_.body.size() >= options.compress_bytes_min && wants_coding()) {
        if (auto encoded = compress_all(terms_.coding, as_bytes(response_.body));
            encoded.has_value()) {
            coding_ = terms_.coding;
            response_.body = *std::move(encoded);
        }
    }
    content_length_ = response_.body.size();
    if (!terms_.head_method) {
        piece_ = std::move(response_.body);
    }
}

void HttpAnswer::build_head(UnixNanos now) {
    head_.reserve(512);
    head_ = fmt::format("HTTP/1.1 {} {}\r\n", response_.status, http_reason(response_.status));
    bool varies = false;
    for (const auto& header : response_.headers) {
        if (!set_by_engine(header.name)) {
            append_header(head_, header.name, header.value);
            varies = varies || equal_ignoring_case(header.name, "Vary");
        }
    }
    if (coding_ != ContentCoding::kIdentity) {
        append_header(head_, "Content-Encoding", to_string(coding_));
        if (!varies) {
            append_header(head_, "Vary", "Accept-Encoding");
        }
    }
    if (chunked_) {
        if (terms_.minor_version >= 1) {
            append_header(head_, "Transfer-Encoding", "chunked");
        }
    } else if (body_allowed_) {
        append_header(head_, "Content-Length", std::to_string(content_length_));
    }
    append_header(head_, "Date", http_date(now));
    append_header(head_, "X-Request-Id", terms_.request_id);
    append_header(head_, "X-Content-Type-Options", "nosniff");
    append_header(head_, "Connection", terms_.keep_alive ? "keep-alive" : "close");
    head_ += "\r\n";
}

Result<> HttpAnswer::next_piece() {
    chunk_.clear();
    MS_TRY(more_, response_.stream(chunk_));
    if (!encoder_) {
        return {};
    }
    std::string encoded;
    if (!chunk_.empty()) {
        MS_TRY_VOID(encoder_->write(as_bytes(chunk_), encoded));
    }
    if (!more_) {
        MS_TRY_VOID(encoder_->finish(encoded));
    } else if (!chunk_.empty()) {
        MS_TRY_VOID(encoder_->flush(encoded));
    }
    chunk_ = std::move(encoded);
    return {};
}

void HttpAnswer::abandon() {
    more_ = false;
    response_.stream = nullptr;
}

bool HttpAnswer::pull() {
    piece_.clear();
    if (!next_piece()) {
        abandon();
        return false;
    }
    if (terms_.minor_version == 0) {
        piece_.swap(chunk_);
    } else {
        if (!chunk_.empty()) {
            piece_ = fmt::format("{:x}\r\n", chunk_.size());
            piece_ += chunk_;
            piece_ += "\r\n";
        }
        if (!more_) {
            piece_ += "0\r\n\r\n";
        }
    }
    if (!more_) {
        response_.stream = nullptr;
    }
    return true;
}

}  // namespace molesignal
