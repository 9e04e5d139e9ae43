#include "net/http.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace molesignal {
namespace {

constexpr std::string_view kHexDigits = "0123456789ABCDEF";

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// The length of the valid UTF-8 sequence at the start of `text`, 0 if there is none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    std::size_t length = 0;
    unsigned code = 0;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
        code = first & 0x1fU;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        code = first & 0x0fU;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        code = first & 0x07U;
    }
    if (length == 0 || text.size() < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0U) != 0x80U) {
            return 0;
        }
        code = (code << 6U) | (byte(i) & 0x3fU);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool outside = code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff);
    return overlong || outside ? 0 : length;
}

struct StatusPhrase {
    int status;
    std::string_view phrase;
};
constexpr std::array kPhrases = {
    StatusPhrase{100, "Continue"},
    StatusPhrase{200, "OK"},
    StatusPhrase{201, "Created"},
    StatusPhrase{202, "Accepted"},
    StatusPhrase{204, "No Content"},
    StatusPhrase{206, "Partial Content"},
    StatusPhrase{207, "Multi-Status"},
    StatusPhrase{301, "Moved Permanently"},
    StatusPhrase{302, "Found"},
    StatusPhrase{303, "See Other"},
    StatusPhrase{304, "Not Modified"},
    StatusPhrase{307, "Temporary Redirect"},
    StatusPhrase{308, "Permanent Redirect"},
    StatusPhrase{400, "Bad Request"},
    StatusPhrase{401, "Unauthorized"},
    StatusPhrase{403, "Forbidden"},
    StatusPhrase{404, "Not Found"},
    StatusPhrase{405, "Method Not Allowed"},
    StatusPhrase{406, "Not Acceptable"},
    StatusPhrase{408, "Request Timeout"},
    StatusPhrase{409, "Conflict"},
    StatusPhrase{410, "Gone"},
    StatusPhrase{411, "Length Required"},
    StatusPhrase{412, "Precondition Failed"},
    StatusPhrase{413, "Content Too Large"},
    StatusPhrase{414, "URI Too Long"},
    StatusPhrase{415, "Unsupported Media Type"},
    StatusPhrase{417, "Expectation Failed"},
    StatusPhrase{422, "Unprocessable Content"},
    StatusPhrase{428, "Precondition Required"},
    StatusPhrase{429, "Too Many Requests"},
    StatusPhrase{431, "Request Header Fields Too Large"},
    StatusPhrase{499, "Client Closed Request"},
    StatusPhrase{500, "Internal Server Error"},
    StatusPhrase{501, "Not Implemented"},
    StatusPhrase{502, "Bad Gateway"},
    StatusPhrase{503, "Service Unavailable"},
    StatusPhrase{504, "Gateway Timeout"},
    StatusPhrase{505, "HTTP Version Not Supported"},
    StatusPhrase{507, "Insufficient Storage"},
};

HttpResponse with_type(int status, std::string body, std::string type) {
    HttpResponse response;
    response.status = status;
    response.headers.push_back({"Content-Type", std::move(type)});
    response.body = std::move(body);
    return response;
}

}  // namespace

bool equal_ignoring_case(std::string_view left, std::string_view right) {
    return left.size() == right.size() &&
           std::ranges::equal(
               left, right, {}, [](char c) { return lower(c); }, [](char c) { return lower(c); });
}

std::string_view trim_spaces(std::string_view text) {
    const auto begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::optional<std::string_view> find_header(const std::vector<HttpHeader>& headers,
                                            std::string_view name) {
    for (const auto& header : headers) {
        if (equal_ignoring_case(header.name, name)) {
            return header.value;
        }
    }
    return std::nullopt;
}

std::optional<std::string_view> HttpRequest::query(std::string_view name) const {
    for (const auto& [key, value] : query_parameters) {
        if (key == name) {
            return value;
        }
    }
    return std::nullopt;
}

HttpResponse HttpResponse::text(int status, std::string body) {
    return with_type(status, std::move(body), "text/plain; charset=utf-8");
}

HttpResponse HttpResponse::json(int status, std::string body) {
    return with_type(status, std::move(body), "application/json");
}

HttpResponse HttpResponse::error(int status,
                                 std::string_view error,
                                 std::string_view message,
                                 std::string_view request_id) {
    std::string body = "{\"error\":";
    append_json_string(body, error);
    body += ",\"message\":";
    append_json_string(body, message);
    body += ",\"request_id\":";
    append_json_string(body, request_id);
    body += "}\n";
    return json(status, std::move(body));
}

HttpResponse& HttpResponse::set_header(std::string_view name, std::string value) {
    for (auto& header : headers) {
        if (equal_ignoring_case(header.name, name)) {
            header.value = std::move(value);
            return *this;
        }
    }
    headers.push_back({std::string(name), std::move(value)});
    return *this;
}

std::string_view http_reason(int status) {
    const auto* found = std::ranges::lower_bound(kPhrases, status, {}, &StatusPhrase::status);
    return found != kPhrases.end() && found->status == status ? found->phrase : std::string_view{};
}

void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    while (!text.empty()) {
        const char c = text.front();
        std::size_t length = 1;
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            length = utf8_length(text);
            out += length == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, length);
            length = std::max<std::size_t>(length, 1);
        }
        text.remove_prefix(length);
    }
    out += '"';
}

Result<std::string> percent_decode(std::string_view text, PlusSign plus) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '%') {
            const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return Error(ErrorCode::kInvalidArgument,
                             "a '%' in the URL is not followed by two hex digits");
            }
            c = static_cast<char>(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus == PlusSign::kIsSpace) {
            c = ' ';
        }
        if (c == '\0') {
            return Error(ErrorCode::kInvalidArgument, "the URL contains an encoded NUL");
        }
        out += c;
    }
    return out;
}

std::string percent_encode(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        const bool letter = lower(c) >= 'a' && lower(c) <= 'z';
        const bool digit = c >= '0' && c <= '9';
        if (letter || digit || c == '-' || c == '.' || c == '_' || c == '~') {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += kHexDigits[byte >> 4U];
        out += kHexDigits[byte & 15U];
    }
    return out;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_query_string(std::string_view text) {
    std::vector<std::pair<std::string, std::string>> out;
    while (!text.empty()) {
        const auto end = text.find('&');
        const auto item = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (item.empty()) {
            continue;
        }
        const auto equals = item.find('=');
        const auto value =
            equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1);
        MS_TRY(auto key, percent_decode(item.substr(0, equals), PlusSign::kIsSpace));
        MS_TRY(auto decoded, percent_decode(value, PlusSign::kIsSpace));
        out.emplace_back(std::move(key), std::move(decoded));
    }
    return out;
}

}  // namespace molesignal
