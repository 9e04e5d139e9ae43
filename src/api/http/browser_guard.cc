#include "api/http/browser_guard.h"

#include <algorithm>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace molesignal {
namespace {

/// "127.0.0.1" of "127.0.0.1:5080", "::1" of "[::1]:5080".
std::string_view host_of(std::string_view authority) {
    if (authority.starts_with('[')) {
        const auto end = authority.find(']');
        return end == std::string_view::npos ? authority : authority.substr(1, end - 1);
    }
    return authority.substr(0, authority.find(':'));
}

bool is_loopback(std::string_view authority) {
    const std::string host(host_of(authority));
    if (equal_ignoring_case(host, "localhost")) {
        return true;
    }
    in_addr v4{};
    if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
        return ntohl(v4.s_addr) >> 24U == 127;
    }
    in6_addr v6{};
    return ::inet_pton(AF_INET6, host.c_str(), &v6) == 1 &&
           std::ranges::equal(v6.s6_addr, in6addr_loopback.s6_addr);
}

bool changes_nothing(std::string_view method) {
    return method == "GET" || method == "HEAD";
}

}  // namespace

Result<> check_not_from_foreign_page(const HttpRequest& request) {
    const auto host = request.header("Host");
    if (host.has_value() && !is_loopback(*host)) {
        return Error(ErrorCode::kForbidden,
                     "with auth.mode = none the Host header must be a loopback address or "
                     "localhost: other names may have been made to point here by a web page");
    }
    if (changes_nothing(request.method)) {
        return {};
    }
    const auto site = request.header("Sec-Fetch-Site").value_or("none");
    const auto origin = request.header("Origin");
    const bool own_page = !origin.has_value() ||
                          equal_ignoring_case(*origin, "http://" + std::string(host.value_or("")));
    if (!own_page || (site != "none" && site != "same-origin")) {
        return Error(ErrorCode::kForbidden,
                     "with auth.mode = none web pages of other origins may not send requests here; "
                     "set auth.mode = token");
    }
    return {};
}

}  // namespace molesignal
