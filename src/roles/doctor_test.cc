#include "roles/doctor.h"

#include <algorithm>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "compaction/part_dumper.h"
#include "io/posix_fs.h"
#include "roles/open_stores.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

/// What doctor says of compactions; the rest is in tests/e2e/test_doctor.py.
class DoctorTest : public ::testing::Test {
protected:
    void SetUp() override {
        config_.node.data_dir = directory_.path();
        catalogue_ = *open_catalogue(config_, clock_, random_);
        ASSERT_TRUE(catalogue_->migrate(context_));
        objects_ = *open_object_store(context_, config_, StoreUse::kServe, fs_, clock_, random_);
        const auto org = catalogue_->ensure_organization(context_, "default")->id;
        stream_ = *catalogue_->ensure_stream(context_, org, StreamType::kLogs, "app", 10);
        lease_ = *catalogue_->acquire_lease(context_, "job", "me", 60'000'000, "");
    }
    PartInfo make_part(ShardId shard, std::int64_t rows) {
        PartInfo part;
        part.id = make_ulid(clock_.now(), random_);
        part.stream = stream_.id;
        part.objects.push_back({.kind = "parquet", .key = "o/" + part.id, .bytes = 1, .xxh3 = 0});
        part.rows = rows;
        part.shard = shard;
        part.position_end = Position{static_cast<std::uint64_t>(rows)};
        return part;
    }
    /// A part with the first rows of a new shard.
    PartInfo flush(std::int64_t rows) {
        const auto shard = *catalogue_->create_shard(context_, stream_.id, "log");
        const auto part = make_part(shard.id, rows);
        EXPECT_TRUE(catalogue_->add_flush_intent(context_,
                                                 {.flush_id = part.id,
                                                  .stream = stream_.id,
                                                  .shard = shard.id,
                                                  .epoch = shard.epoch,
                                                  .begin = Position{0},
                                                  .end = part.position_end,
                                                  .object_keys = {part.objects[0].key}}));
        EXPECT_TRUE(catalogue_->commit_flush(context_,
                                             {.flush_id = part.id,
                                              .shard = shard.id,
                                              .epoch = shard.epoch,
                                              .expected_checkpoint = Position{0},
                                              .new_checkpoint = part.position_end,
                                              .parts = {part}}));
        put(part);
        return part;
    }
    void put(const PartInfo& part) {
        EXPECT_TRUE(objects_.store->put(context_, part.objects[0].key, as_bytes("x")));
    }
    void add_intent(const PartInfo& part, std::chrono::seconds age) {
        const auto begun = clock_.now().value - std::chrono::nanoseconds(age).count();
        EXPECT_TRUE(catalogue_->add_compaction_intent(context_,
                                                      {.compaction_id = part.id,
                                                       .stream = stream_.id,
                                                       .lease = lease_.name,
                                                       .epoch = lease_.epoch,
                                                       .object_keys = {part.objects[0].key},
                                                       .created_us = begun / 1000}));
    }
    void compact(const std::vector<PartInfo>& replaced, const PartInfo& part) {
        put(part);
        add_intent(part, {});
        CompactionCommit commit{.compaction_id = part.id,
                                .stream = stream_.id,
                                .lease = lease_,
                                .replaced = {},
                                .parts = {part}};
        for (const auto& old : replaced) {
            commit.replaced.push_back(old.id);
        }
        EXPECT_TRUE(catalogue_->commit_compaction(context_, commit));
    }
    /// Findings of these areas that are no "ok", as text.
    std::string complaints(const std::vector<std::string>& areas) {
        // Every object is old enough to be an orphan.
        const auto findings = examine(
            context_, config_, {.reads_objects = false, .orphan_age = {}}, fs_, clock_, random_);
        EXPECT_TRUE(findings);
        std::string text;
        for (const auto& finding : *findings) {
            if (finding.level != FindingLevel::kOk &&
                std::ranges::find(areas, finding.area) != areas.end()) {
                text += finding.area + ": " + finding.text + "\n";
            }
        }
        return text;
    }

    TemporaryDirectory directory_;
    PosixFs fs_;
    SystemClock clock_;
    SystemRandom random_;
    Config config_;
    const RequestContext context_ = RequestContext::background(clock_, "test");
    std::unique_ptr<Catalogue> catalogue_;
    OpenObjectStore objects_;
    StreamInfo stream_;
    Lease lease_;
};

TEST_F(DoctorTest, APartOfSeveralShardsIsWhole) {
    const auto few = flush(3);
    const auto many = flush(50);
    auto merged = make_part(kSeveralShards, 53);
    merged.position_end = many.position_end;
    compact({few, many}, merged);
    EXPECT_EQ(complaints({"catalogue", "objects", "orphans"}), "");
}

TEST_F(DoctorTest, APartOfOneShardReachesToItsCheckpointAtMost) {
    const auto old = flush(3);
    auto merged = make_part(old.shard, 3);
    merged.position_end = Position{4};
    compact({old}, merged);
    EXPECT_EQ(
        complaints({"objects"}),
        fmt::format("objects: part {}: its rows, times or positions do not fit\n", merged.id));
}

TEST_F(DoctorTest, ACompactionUnderWayHasNoOrphansAndAnOldOneIsNamed) {
    const auto young = make_part(kSeveralShards, 1);
    put(young);
    EXPECT_NE(complaints({"orphans"}), "") << "nothing names it";
    add_intent(young, std::chrono::hours(23));
    EXPECT_EQ(complaints({"catalogue", "objects", "orphans"}), "");
    add_intent(make_part(kSeveralShards, 1), std::chrono::hours(25));
    EXPECT_EQ(complaints({"catalogue", "objects", "orphans"}),
              "catalogue: 1 compactions were begun more than a day ago and did not end; the next "
              "compactor that takes their lease undoes them\n");
}

TEST_F(DoctorTest, PartsThatAnObjectListsAreLookedAtLikeOthers) {
    const auto listed = flush(3);
    MetricRegistry metrics;
    PartDumper dumper({.merges = false, .cold_after_days = 1, .holder = {.name = "me"}},
                      *catalogue_,
                      *objects_.store,
                      clock_,
                      random_,
                      metrics,
                      nullptr);
    const auto report = dumper.run_once(context_);
    ASSERT_TRUE(report) << report.error().message();
    ASSERT_EQ(report->dumps_written, 1);
    flush(4);
    EXPECT_EQ(complaints({"catalogue", "objects", "orphans"}), "");
    // A part of the list that is missing, then the list.
    ASSERT_TRUE(objects_.store->remove(context_, listed.objects[0].key));
    EXPECT_EQ(
        complaints({"objects"}),
        fmt::format(
            "objects: part {}: object {}: it is missing\n", listed.id, listed.objects[0].key));
    put(listed);
    const auto dump = catalogue_->list_part_dumps(context_, {})->front();
    const auto list = *objects_.store->get(context_, dump.object.key, 0, UINT64_MAX);
    ASSERT_TRUE(objects_.store->remove(context_, dump.object.key));
    EXPECT_EQ(complaints({"catalogue", "objects", "orphans"}),
              fmt::format("objects: the list of 1 parts of 1970-01-01: object {}: it is missing; "
                          "without it their rows are not found\n",
                          dump.object.key))
        << "and nobody calls its parts orphans";
    // One that was brought back waits for its grace like a removed part.
    ASSERT_TRUE(objects_.store->put(context_, dump.object.key, list));
    catalogue_->use_part_dumps(make_part_dump_reader(
        plain_object_reader(*objects_.store, clock_, metrics), nullptr, clock_, metrics));
    ASSERT_TRUE(catalogue_->restore_part_dump(context_, dump.id));
    EXPECT_EQ(complaints({"catalogue", "objects", "orphans"}), "");
}

}  // namespace
}  // namespace molesignal
