#include "api/http/browser_guard.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

bool passes(std::string method, std::vector<HttpHeader> headers) {
    HttpRequest request;
    request.method = std::move(method);
    request.headers = std::move(headers);
    const auto checked = check_not_from_foreign_page(request);
    return checked.has_value();
}

TEST(BrowserGuard, TakesLoopbackHostsOnly) {
    for (const auto* host : {"localhost",
                             "LocalHost:5080",
                             "127.0.0.1",
                             "127.0.0.1:5080",
                             "127.8.9.10:1",
                             "[::1]",
                             "[::1]:5080"}) {
        EXPECT_TRUE(passes("GET", {{"Host", host}})) << host;
        EXPECT_TRUE(passes("POST", {{"Host", host}})) << host;
    }
    for (const auto* host : {"",
                             "evil.example",
                             "evil.example:5080",
                             "localhost.evil.example",
                             "127.0.0.1.evil.example",
                             "10.0.0.1:5080",
                             "0.0.0.0",
                             "2130706433",
                             "127.1",
                             "[::1",
                             "[fe80::1]:5080"}) {
        EXPECT_FALSE(passes("GET", {{"Host", host}})) << host;
    }
    EXPECT_TRUE(passes("GET", {})) << "HTTP/1.0 of a tool; browsers always name a host";
}

TEST(BrowserGuard, PagesOfOtherOriginsMayNotChangeAnything) {
    const HttpHeader host{"Host", "127.0.0.1:5080"};
    EXPECT_TRUE(passes("POST", {host, {"Origin", "http://127.0.0.1:5080"}}));
    EXPECT_TRUE(passes(
        "POST", {host, {"Origin", "http://127.0.0.1:5080"}, {"Sec-Fetch-Site", "same-origin"}}));
    for (const auto* origin : {"null",
                               "",
                               "https://evil.example",
                               "http://127.0.0.1:3000",
                               "http://127.0.0.1:50800",
                               "http://localhost:5080"}) {
        EXPECT_FALSE(passes("POST", {host, {"Origin", origin}})) << origin;
        EXPECT_FALSE(passes("DELETE", {host, {"Origin", origin}})) << origin;
        EXPECT_TRUE(passes("GET", {host, {"Origin", origin}})) << "the browser keeps the answer";
    }
    EXPECT_FALSE(passes("POST", {host, {"Sec-Fetch-Site", "cross-site"}}));
    EXPECT_FALSE(passes("POST", {host, {"Sec-Fetch-Site", "same-site"}}));
    EXPECT_TRUE(passes("POST", {host, {"Sec-Fetch-Site", "none"}}));
}

}  // namespace
}  // namespace molesignal
