#include "compaction/retention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/failpoint.h"
#include "common/random.h"
#include "metadata/open_catalogue.h"
#include "objectstore/memory_object_store.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr auto kDay = std::chrono::hours(24);

class RetentionTest : public ::testing::Test {
protected:
    RetentionTest() {
        catalogue_ = *open_sqlite_catalogue(directory_.path() + "/meta.db", clock_, random_);
        EXPECT_TRUE(catalogue_->migrate(context_));
        org_ = catalogue_->ensure_organization(context_, "default")->id;
        options_.retention_days = 7;
        make();
    }
    /// A new process: what retention remembers is gone.
    void make() {
        retention_ = std::make_unique<Retention>(options_, *catalogue_, objects_, clock_, metrics_);
    }
    StreamInfo stream(const std::string& name) {
        return *catalogue_->ensure_stream(context_, org_, StreamType::kLogs, name, 100);
    }
    /// A part whose rows are so old.
    PartInfo add_part(const std::string& name, std::chrono::nanoseconds age) {
        const auto info = stream(name);
        const auto shard = *catalogue_->create_shard(context_, info.id, "log");
        PartInfo part;
        part.id = fmt::format("part{:022}", ++parts_);
        part.stream = info.id;
        part.objects.push_back({.kind = "parquet", .key = part.id + ".parquet", .bytes = 1});
        part.rows = 1;
        part.time_min_us = (clock_.now().value - age.count()) / 1000;
        part.time_max_us = part.time_min_us;
        part.shard = shard.id;
        part.position_begin = Position{0};
        part.position_end = Position{1};
        EXPECT_TRUE(objects_.put(context_, part.objects[0].key, as_bytes("x")));
        FlushIntent intent{.flush_id = part.id,
                           .stream = info.id,
                           .shard = shard.id,
                           .epoch = shard.epoch,
                           .begin = Position{0},
                           .end = Position{1},
                           .object_keys = {part.objects[0].key}};
        EXPECT_TRUE(catalogue_->add_flush_intent(context_, intent));
        EXPECT_TRUE(catalogue_->commit_flush(context_,
                                             {.flush_id = part.id,
                                              .shard = shard.id,
                                              .epoch = shard.epoch,
                                              .expected_checkpoint = Position{0},
                                              .new_checkpoint = Position{1},
                                              .parts = {part}}));
        return part;
    }
    void add_parts(const std::string& name, int count, std::chrono::nanoseconds age) {
        for (int i = 0; i < count; ++i) {
            add_part(name, age);
        }
    }
    RetentionReport round() {
        const auto report = retention_->run_once(context_);
        EXPECT_TRUE(report);
        return report ? *report : RetentionReport();
    }
    std::int64_t live(const std::string& name) {
        return catalogue_->count_parts(context_, stream(name).id, 0)->live;
    }

    TemporaryDirectory directory_;
    ManualClock clock_;
    SeededRandom random_{7};
    MetricRegistry metrics_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    std::unique_ptr<Catalogue> catalogue_;
    OrgId org_;
    MemoryObjectStore stored_;
    FaultyObjectStore objects_{stored_};
    RetentionOptions options_;
    std::unique_ptr<Retention> retention_;
    int parts_ = 0;
};

TEST_F(RetentionTest, AnObjectThatCannotBeRemovedHoldsUpNothing) {
    const auto stuck = add_part("app", 8 * kDay);
    add_parts("app", 3, 8 * kDay);
    add_parts("app", 6, kDay);
    EXPECT_EQ(round().parts_expired, 4);
    clock_.advance(options_.grace);
    objects_.arm({.verbs = {ObjectVerb::kRemove},
                  .key_contains = stuck.id,
                  .plan = {.nth = 1, .times = FaultTimes::kForEver}});
    auto report = round();
    EXPECT_EQ(report.parts_purged, 3);
    EXPECT_EQ(report.failures, 1);
    objects_.disarm();
    report = round();
    EXPECT_EQ(report.parts_purged, 1);
    EXPECT_EQ(report.failures, 0);
}

TEST_F(RetentionTest, PartsThatFailLeaveRoomForOthers) {
    options_.parts_per_round_max = 2;
    make();
    add_parts("app", 4, 8 * kDay);
    add_parts("app", 6, kDay);
    EXPECT_EQ(round().parts_expired, 2);
    EXPECT_EQ(round().parts_expired, 2);
    clock_.advance(options_.grace);
    // The two that come first can never be removed.
    const auto removed = catalogue_->list_removed_parts(context_, 0, 2);
    ASSERT_TRUE(removed);
    objects_.arm({.verbs = {ObjectVerb::kRemove},
                  .key_contains = removed->at(0).id,
                  .plan = {.nth = 1, .times = FaultTimes::kForEver}});
    std::int64_t purged = 0;
    for (int i = 0; i < 3; ++i) {
        purged += round().parts_purged;
    }
    EXPECT_EQ(purged, 3);
}

TEST_F(RetentionTest, AClockThatJumpedDeletesNothing) {
    add_parts("app", 10, kDay);
    EXPECT_EQ(round().parts_expired, 0);
    const auto before = clock_.now();
    clock_.set_wall(UnixNanos{before.value + std::chrono::nanoseconds(365 * kDay).count()});
    auto report = round();
    EXPECT_EQ(report.parts_expired, 0);
    EXPECT_EQ(report.parts_held, 10);
    clock_.advance(std::chrono::hours(5));
    EXPECT_EQ(round().parts_held, 10);
    clock_.set_wall(
        UnixNanos{before.value + std::chrono::nanoseconds(std::chrono::hours(5)).count()});
    clock_.advance(std::chrono::hours(5));
    report = round();
    EXPECT_EQ(report.parts_held, 0);
    EXPECT_EQ(report.parts_expired, 0);
    EXPECT_EQ(live("app"), 10);
}

TEST_F(RetentionTest, AJumpStartsTheWaitAnew) {
    add_parts("app", 10, 8 * kDay);
    EXPECT_EQ(round().parts_held, 10);
    clock_.advance(std::chrono::hours(5));
    clock_.set_wall(UnixNanos{clock_.now().value + std::chrono::nanoseconds(kDay).count()});
    EXPECT_EQ(round().parts_held, 10);
    clock_.advance(std::chrono::hours(2));
    EXPECT_EQ(round().parts_held, 10) << "seven hours since the first, two since the jump";
    clock_.advance(std::chrono::hours(4));
    EXPECT_EQ(round().parts_expired, 10);
}

TEST_F(RetentionTest, APassThatWouldTakeMostOfAStreamWaits) {
    add_parts("app", 4, kDay);
    add_parts("app", 4, 8 * kDay);
    EXPECT_EQ(round().parts_expired, 4) << "half is believed";
    add_parts("app", 5, 8 * kDay);
    auto report = round();
    EXPECT_EQ(report.parts_expired, 0);
    EXPECT_EQ(report.parts_held, 5);
    clock_.advance(options_.confirm);
    EXPECT_EQ(round().parts_expired, 5);
    // A new process has seen nothing yet.
    add_parts("app", 20, 8 * kDay);
    make();
    EXPECT_EQ(round().parts_held, 20);
}

TEST_F(RetentionTest, AStreamThatFailsDoesNotStopTheOthers) {
    add_parts("a", 1, 8 * kDay);
    add_parts("b", 1, 8 * kDay);
    ASSERT_TRUE(arm_failpoints("retention_parts_expired=error"));
    const auto report = round();
    EXPECT_EQ(report.failures, 1);
    EXPECT_EQ(live("a") + live("b"), 0) << "the failpoint is behind the change";
    disarm_failpoints();
}

TEST_F(RetentionTest, DeletedStreamsAreForgotten) {
    add_parts("app", 2, kDay);
    const auto info = stream("app");
    ASSERT_TRUE(
        catalogue_->ensure_fields(context_, info.id, {{.name = "n", .type = FieldType::kInt64}}));
    ASSERT_TRUE(catalogue_->delete_stream(context_, org_, info.id));
    EXPECT_EQ(round().streams_forgotten, 0);
    clock_.advance(options_.grace);
    const auto report = round();
    EXPECT_EQ(report.parts_purged, 2);
    EXPECT_EQ(report.streams_forgotten, 1) << "its fields go with its last part";
}

}  // namespace
}  // namespace molesignal
