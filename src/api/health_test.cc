#include "api/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molesignal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<> failure() {
    return Error(ErrorCode::kUnavailable, "no route to \"host\"");
}

TEST(Health, IsReadyOnlyBetweenReplayAndDrain) {
    Health health;
    EXPECT_EQ(health.readyz().status, 503);
    EXPECT_EQ(Health::livez().status, 200);
    health.set_phase(Health::Phase::kReplaying);
    health.set_replayed_rows(123);
    EXPECT_EQ(health.readyz().status, 503);
    EXPECT_THAT(health.readyz().body, HasSubstr(R"("replayed_rows":123)"));
    health.set_phase(Health::Phase::kReady);
    EXPECT_EQ(health.readyz().status, 200);
    EXPECT_EQ(health.healthz().status, 200);
    health.set_phase(Health::Phase::kDraining);
    EXPECT_EQ(health.readyz().status, 503);
    EXPECT_EQ(health.healthz().status, 503);
    EXPECT_EQ(Health::livez().status, 200);
}

TEST(Health, TheListOfComponentsDoesNotDependOnWhoReportsFirst) {
    Health health;
    health.set_phase(Health::Phase::kReady);
    const auto before = health.healthz().body;
    health.report_probe("catalogue", {});
    health.set_problem("wal", Health::Severity::kDegraded, "");
    EXPECT_EQ(health.healthz().body, before);
    EXPECT_THAT(before, HasSubstr(R"("object_store":{"ok":true,)"));
}

TEST(Health, ThreeFailedProbesDegradeOneSuccessRestores) {
    Health health;
    health.set_phase(Health::Phase::kReady);
    for (int i = 1; i < Health::kFailuresMax; ++i) {
        health.report_probe("object_store", failure());
        EXPECT_TRUE(health.healthy()) << i;
    }
    health.report_probe("object_store", failure());
    EXPECT_FALSE(health.healthy());
    EXPECT_TRUE(health.ready()) << "rows are still taken into the log";
    EXPECT_EQ(health.healthz().status, 503);
    EXPECT_THAT(health.healthz().body, HasSubstr(R"(no route to \"host\")"));
    health.report_probe("object_store", {});
    EXPECT_TRUE(health.healthy());
}

TEST(Health, AStandingProblemDegradesAtOnceAWarningDoesNot) {
    Health health;
    health.set_phase(Health::Phase::kReady);
    health.set_problem("wal_damage", Health::Severity::kWarning, "two records are lost");
    EXPECT_TRUE(health.healthy());
    EXPECT_THAT(health.problems(), ElementsAre(HasSubstr("two records are lost")));
    health.set_problem("wal", Health::Severity::kDegraded, "read-only");
    EXPECT_FALSE(health.healthy());
    health.set_problem("wal", Health::Severity::kDegraded, "");
    EXPECT_TRUE(health.healthy());
}

}  // namespace
}  // namespace molesignal
