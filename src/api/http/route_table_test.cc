#include "api/http/route_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molesignal {
namespace {

using ::testing::HasSubstr;

Route route(const std::string& method, const std::string& path) {
    Route made;
    made.method = method;
    made.path = path;
    made.summary = "does \"something\"";
    made.handler = [](ApiCall&) -> Result<HttpResponse> { return HttpResponse::json(200, "{}"); };
    return made;
}

class RouteTableTest : public ::testing::Test {
protected:
    RouteTableTest() {
        table_.add(route("GET", "/api/v1/streams"));
        table_.add(route("POST", "/api/v1/streams"));
        table_.add(route("GET", "/api/v1/streams/{id}"));
        table_.add(route("PUT", "/api/v1/streams/{id}/settings"));
    }
    std::string path_of(std::string_view method, std::string_view path) {
        const auto match = table_.find(method, path);
        return match.route == nullptr ? "" : match.route->path;
    }

    RouteTable table_;
};

TEST_F(RouteTableTest, FindsByMethodAndSegments) {
    EXPECT_EQ(path_of("GET", "/api/v1/streams"), "/api/v1/streams");
    EXPECT_EQ(path_of("HEAD", "/api/v1/streams"), "/api/v1/streams");
    const auto match = table_.find("PUT", "/api/v1/streams/a%2Fb/settings");
    ASSERT_NE(match.route, nullptr);
    EXPECT_EQ(match.path_parameters.size(), 1U);
    EXPECT_EQ(path_of("GET", "/api/v1/streams/x/y"), "");
    EXPECT_EQ(path_of("GET", "/api/v1"), "");
    EXPECT_EQ(path_of("GET", "/api/v1/streams/"), "/api/v1/streams") << "a slash at the end";
    EXPECT_EQ(path_of("GET", ""), "");
}

TEST_F(RouteTableTest, AnotherMethodNamesThoseThatFit) {
    const auto match = table_.find("DELETE", "/api/v1/streams");
    EXPECT_EQ(match.route, nullptr);
    EXPECT_THAT(match.allowed_methods, ::testing::UnorderedElementsAre("GET", "POST"));
    EXPECT_TRUE(table_.find("DELETE", "/nothing").allowed_methods.empty());
}

TEST_F(RouteTableTest, OpenApiHasEveryRouteAndItsParameters) {
    const auto document = table_.openapi_json("1.2.3");
    EXPECT_THAT(document, HasSubstr(R"("openapi":"3.1)"));
    EXPECT_THAT(document, HasSubstr(R"("version":"1.2.3")"));
    EXPECT_THAT(document, HasSubstr(R"("/api/v1/streams/{id}/settings")"));
    EXPECT_THAT(document, HasSubstr(R"(does \"something\")"));
    EXPECT_THAT(document, HasSubstr(R"("name":"id","in":"path")"));
}

TEST_F(RouteTableTest, PathParametersAreOfTheRouteThatFits) {
    table_.add(route("GET", "/api/v1/{kind}/{id}"));
    const auto match = table_.find("GET", "/api/v1/streams/7");
    EXPECT_EQ(match.route->path, "/api/v1/streams/{id}");
    EXPECT_EQ(match.path_parameters, (PathParameters{{"id", "7"}}));
}

TEST(ErrorResponse, HasTheStatusOfItsCodeAndSaysWhenToTryAgain) {
    const auto full = error_response(Error(ErrorCode::kResourceExhausted, "full"), "r1");
    EXPECT_EQ(full.status, 429);
    EXPECT_EQ(find_header(full.headers, "Retry-After").value_or(""), "1");
    const auto down = error_response(Error(ErrorCode::kUnavailable, "down"), "r1");
    EXPECT_EQ(down.status, 503);
    EXPECT_EQ(find_header(down.headers, "Retry-After").value_or(""), "1");
    const auto bad = error_response(Error(ErrorCode::kInvalidArgument, "line\n\"x\""), "r1");
    EXPECT_EQ(bad.status, 400);
    EXPECT_EQ(find_header(bad.headers, "Retry-After").value_or(""), "");
    EXPECT_THAT(bad.body, HasSubstr(R"("message":"line\n\"x\"")"));
    EXPECT_THAT(bad.body, HasSubstr(R"("request_id":"r1")"));
    for (const auto code : {ErrorCode::kTooLarge, ErrorCode::kLimitReached}) {
        const auto permanent = error_response(Error(code, "too much"), "r1");
        EXPECT_EQ(permanent.status, code == ErrorCode::kTooLarge ? 413 : 422);
        EXPECT_EQ(find_header(permanent.headers, "Retry-After"), std::nullopt);
    }
    EXPECT_EQ(error_response(Error(ErrorCode::kTimeout, "late"), "").status, 504);
    EXPECT_EQ(error_response(Error(ErrorCode::kNotFound, ""), "").status, 404);
    EXPECT_EQ(error_response(Error(ErrorCode::kConflict, ""), "").status, 409);
    EXPECT_EQ(error_response(Error(ErrorCode::kForbidden, ""), "").status, 403);
    EXPECT_EQ(error_response(Error(ErrorCode::kInternal, ""), "").status, 500);
    const auto who = error_response(Error(ErrorCode::kUnauthenticated, "who"), "r1");
    EXPECT_EQ(who.status, 401);
    EXPECT_NE(find_header(who.headers, "WWW-Authenticate").value_or(""), "");
}

}  // namespace
}  // namespace molesignal
