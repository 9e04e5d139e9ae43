#include "api/http/http_api.h"

#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "metadata/open_catalogue.h"
#include "net/http_wire.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Verdict = HttpAdmission::Verdict;

HttpRequest head_of(std::string method,
                    std::string_view target,
                    std::vector<HttpHeader> headers = {}) {
    HttpRequest head;
    head.method = std::move(method);
    EXPECT_TRUE(split_target(target, head));
    head.headers = std::move(headers);
    head.headers.push_back({"Host", "localhost:5080"});
    head.request_id = "r1";
    return head;
}

/// An API whose server has not started yet, unless `sign_in` is called.
class HttpApiTest : public ::testing::Test {
protected:
    HttpApiTest() {
        folder_ = std::filesystem::temp_directory_path() /
                  fmt::format("molesignal-http-api-{}", ::getpid());
        std::filesystem::create_directories(folder_);
    }
    ~HttpApiTest() override { std::filesystem::remove_all(folder_); }

    /// As after the start, with tokens.
    void sign_in() {
        config_.auth.mode = AuthMode::kToken;
        live_.replace(config_);
        catalogue_ = *open_sqlite_catalogue(folder_ / "meta.db", clock_, random_);
        ASSERT_TRUE(catalogue_->migrate(context_));
        authenticator_ = *Authenticator::open(context_, *catalogue_, clock_, random_, config_.auth);
        services_.authenticator = authenticator_.get();
        services_.started = true;
    }
    HttpHeader token_with(const std::string& permission) {
        const auto made =
            authenticator_->create_token(context_,
                                         {.org = authenticator_->default_organization().id,
                                          .name = "test",
                                          .permissions = {permission},
                                          .expires_us = std::nullopt});
        return {"Authorization", "Bearer " + made->text};
    }

    HttpAdmission admit(const HttpRequest& head, HttpMayBlock may_block = HttpMayBlock::kNo) {
        return api_.admit(context_, head, may_block);
    }
    /// "404 message" of what is answered from the head.
    std::string answer(const HttpRequest& head) {
        const auto admission = admit(head);
        EXPECT_EQ(admission.verdict, Verdict::kAnswer);
        return fmt::format("{} {}", admission.answer.status, admission.answer.body);
    }
    Lane lane(const HttpRequest& head) {
        const auto admission = admit(head);
        EXPECT_EQ(admission.verdict, Verdict::kHandle) << admission.answer.body;
        return static_cast<Lane>(admission.lane);
    }

    std::filesystem::path folder_;
    SystemClock clock_;
    SystemRandom random_;
    MetricRegistry metrics_;
    Health health_;
    Config config_;
    const RequestContext context_ = RequestContext::background(clock_, "r1");
    std::unique_ptr<Catalogue> catalogue_;
    std::unique_ptr<Authenticator> authenticator_;
    LiveConfig live_{config_};
    ApiServices services_{.config = live_,
                          .clock = clock_,
                          .random = random_,
                          .metrics = metrics_,
                          .health = health_,
                          .version = "1.2.3",
                          .memory = nullptr};
    HttpApi api_{services_};
};

TEST_F(HttpApiTest, ProbesAreAnsweredFromTheHeadAlsoBeforeTheStart) {
    EXPECT_THAT(answer(head_of("GET", "/livez")), HasSubstr("200 "));
    EXPECT_THAT(answer(head_of("HEAD", "/readyz")), HasSubstr("503 "));
    health_.set_phase(Health::Phase::kReady);
    EXPECT_THAT(answer(head_of("GET", "/healthz")), HasSubstr("200 "));
    EXPECT_THAT(answer(head_of("GET", "/api/v1/version")), HasSubstr("1.2.3"));
    EXPECT_EQ(admit(head_of("GET", "/livez")).answer.route, "/livez");
}

TEST_F(HttpApiTest, TheHeadTellsWhatIsNotThere) {
    EXPECT_THAT(answer(head_of("GET", "/nothing")), HasSubstr("404 "));
    const auto other = admit(head_of("POST", "/livez"));
    EXPECT_EQ(other.answer.status, 405);
    EXPECT_EQ(find_header(other.answer.headers, "Allow"), "GET");
    EXPECT_EQ(other.answer.route, "unknown");
    EXPECT_THAT(answer(head_of("GET", "/api/v1/streams")), HasSubstr("503 "));
}

TEST_F(HttpApiTest, UnknownParametersAreRefusedWithTheNearest) {
    sign_in();
    const auto token = token_with("ingest");
    ASSERT_TRUE(authenticator_->authenticate(context_, token.value, {}));
    EXPECT_THAT(answer(head_of("POST", "/api/v1/ingest/logs/app?comit=force", {token})),
                HasSubstr("has no parameter 'comit'; did you mean 'commit'?"));
    EXPECT_THAT(answer(head_of("POST", "/api/v1/ingest/logs/app?xyz=1", {token})),
                HasSubstr("it takes commit"));
    EXPECT_THAT(
        answer(head_of("POST", "/api/v1/ingest/logs/app?commit=auto&commit=force", {token})),
        HasSubstr("400 "));
    EXPECT_THAT(answer(head_of("GET", "/livez?verbose")), HasSubstr("takes none"));
}

TEST_F(HttpApiTest, WithoutCredentialsForeignPagesAreKeptOut) {
    auto foreign = head_of("GET", "/livez");
    foreign.headers.back().value = "evil.example";
    EXPECT_THAT(answer(foreign), HasSubstr("403 "));
    EXPECT_THAT(answer(head_of("POST", "/api/v1/query", {{"Origin", "https://evil.example"}})),
                HasSubstr("403 "));
    config_.auth.mode = AuthMode::kToken;
    live_.replace(config_);
    EXPECT_THAT(answer(foreign), HasSubstr("200 "));
}

TEST_F(HttpApiTest, CredentialsAreCheckedBeforeTheBodyAndThePoolIsAskedOnlyOnce) {
    sign_in();
    const auto query = token_with("query");
    EXPECT_THAT(answer(head_of("POST", "/api/v1/query")), HasSubstr("401 "));
    const auto unknown = head_of("POST", "/api/v1/query", {query});
    const auto first = admit(unknown);
    EXPECT_EQ(first.verdict, Verdict::kAskAgain);
    EXPECT_EQ(static_cast<Lane>(first.lane), Lane::kSignIn);
    EXPECT_EQ(admit(unknown, HttpMayBlock::kYes).verdict, Verdict::kHandle);
    EXPECT_EQ(admit(unknown).verdict, Verdict::kHandle) << "remembered";
    EXPECT_THAT(answer(head_of("POST", "/api/v1/ingest/logs/app", {query})), HasSubstr("403 "));
    EXPECT_THAT(answer(head_of("POST", "/api/v1/query", {query, {"X-Org-Id", "other"}})),
                HasSubstr("403 "));
}

TEST_F(HttpApiTest, KindsOfRequestsHaveLanesOfTheirOwn) {
    sign_in();
    const auto ingest = token_with("ingest");
    const auto query = token_with("query");
    const auto admin = token_with("admin");
    for (const auto& token : {ingest, query, admin}) {
        ASSERT_TRUE(authenticator_->authenticate(context_, token.value, {}));
    }
    EXPECT_EQ(lane(head_of("POST", "/api/v1/ingest/logs/app", {ingest})), Lane::kIngest);
    EXPECT_EQ(lane(head_of("POST", "/v1/logs", {ingest})), Lane::kIngest);
    EXPECT_EQ(lane(head_of("POST", "/api/v1/ingest/logs/app?commit=auto", {ingest})),
              Lane::kIngest);
    EXPECT_EQ(lane(head_of("POST", "/api/v1/ingest/logs/app?commit=wait_for", {ingest})),
              Lane::kCommit);
    EXPECT_EQ(lane(head_of("POST", "/api/v1/ingest/logs/app?commit=force", {ingest})),
              Lane::kFlush);
    EXPECT_EQ(lane(head_of("POST", "/api/v1/flush", {admin})), Lane::kFlush);
    EXPECT_EQ(lane(head_of("POST", "/api/v1/query", {query})), Lane::kQuery);
    EXPECT_EQ(lane(head_of("POST", "/api/v1/query/x/cancel", {query})), Lane::kLight);
    EXPECT_EQ(lane(head_of("GET", "/metrics")), Lane::kLight);
    EXPECT_EQ(lane(head_of("GET", "/api/v1/streams", {query})), Lane::kAdmin);
    const auto lanes = http_lanes(config_);
    EXPECT_EQ(lanes.at(static_cast<std::size_t>(Lane::kQuery)).name, "queries");
    EXPECT_EQ(lanes.size(), static_cast<std::size_t>(Lane::kSignIn) + 1);
}

TEST_F(HttpApiTest, CountsAnswersWhatBrokeOffAndWhatLimitsRefused) {
    HttpAccessRecord access;
    access.route = "/api/v1/query";
    access.status = 200;
    api_.record(access);
    access.complete = false;
    api_.record(access);
    access = {};
    access.route = "of a stranger";
    access.status = 429;
    access.limit = "query.queue_requests_max";
    api_.record(access);
    api_.record(access);
    HttpServerStats stats;
    stats.connections_open = 7;
    stats.connections_total = 9;
    stats.lanes = {{.name = "queries", .running = 3, .waiting = 2}};
    api_.export_stats(stats);
    stats.connections_total = 12;
    api_.export_stats(stats);
    auto request = head_of("GET", "/metrics");
    request.ticket = admit(request).ticket;
    const auto page = api_.handle(context_, std::move(request)).body;
    for (const auto* line :
         {R"(http_requests_total{route="/api/v1/query",status="2xx"} 1)",
          R"(http_requests_total{route="/api/v1/query",status="incomplete"} 1)",
          R"(http_requests_total{route="engine",status="4xx"} 2)",
          R"(requests_refused_total{limit="query.queue_requests_max",protocol="http"} 2)",
          "http_connections_open 7",
          "http_connections_total 12",
          R"(http_lane_running{lane="queries"} 3)",
          R"(http_lane_waiting{lane="queries"} 2)"}) {
        EXPECT_THAT(page, HasSubstr(line));
    }
    EXPECT_THAT(page, Not(HasSubstr("stranger")));
}

TEST_F(HttpApiTest, EveryRouteIsInTheDocumentWithItsParameters) {
    auto request = head_of("GET", "/api/v1/openapi.json");
    request.ticket = admit(request).ticket;
    const auto document = api_.handle(context_, std::move(request)).body;
    for (const auto& route : api_.routes().routes()) {
        EXPECT_THAT(document, HasSubstr("\"" + route.path + "\""));
        for (const auto& parameter : route.parameters) {
            EXPECT_THAT(document, HasSubstr("{\"name\":\"" + parameter.name + "\""));
        }
    }
}

}  // namespace
}  // namespace molesignal
