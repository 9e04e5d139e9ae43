#include "roles/index_rebuild.h"

#include <utility>

#include <gmock/gmock.h>

#include "compaction/compaction_fixture.h"
#include "compaction/part_dumper.h"
#include "io/posix_fs.h"
#include "roles/open_stores.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kDay = 86'400'000'000'000;

/// What meets others that use the parts; the rest is in tests/e2e/test_index.py.
class IndexRebuildTest : public ::testing::Test {
protected:
    void SetUp() override {
        config_.node.data_dir = directory_.path();
        config_.compactor.cpu_percent = 100;
        catalogue_ = *open_catalogue(config_, clock_, random_);
        ASSERT_TRUE(catalogue_->migrate(context_));
        objects_ = *open_object_store(context_, config_, StoreUse::kServe, fs_, clock_, random_);
        const auto org = catalogue_->ensure_organization(context_, "default")->id;
        stream_ = *catalogue_->ensure_stream(context_, org, StreamType::kLogs, "app", 10);
        maker_.emplace(stream_.id, seed_);
        ASSERT_TRUE(catalogue_->ensure_fields(context_, stream_.id, maker_->fields()));
    }
    /// A flushed part without an index, whose rows are of this day since 1970.
    PartInfo add_part(std::int64_t day) {
        const auto shard = *catalogue_->create_shard(context_, stream_.id, "log");
        auto part =
            maker_->make(*objects_.store, context_, shard.id, 0, 200, day * kDay, kDay / 24);
        EXPECT_TRUE(catalogue_->add_flush_intent(context_,
                                                 {.flush_id = part.id,
                                                  .stream = stream_.id,
                                                  .shard = shard.id,
                                                  .epoch = shard.epoch,
                                                  .begin = part.position_begin,
                                                  .end = part.position_end,
                                                  .object_keys = {part.objects[0].key}}));
        EXPECT_TRUE(catalogue_->commit_flush(context_,
                                             {.flush_id = part.id,
                                              .shard = shard.id,
                                              .epoch = shard.epoch,
                                              .expected_checkpoint = Position{0},
                                              .new_checkpoint = part.position_end,
                                              .parts = {part}}));
        return part;
    }
    Result<IndexRebuildReport> rebuild(IndexRebuildOptions options = {}) {
        options.busy_wait = busy_wait_;
        return rebuild_indexes(context_, config_, options, fs_, clock_, random_);
    }
    Lease take_lease(std::int64_t day, const std::string& holder) {
        const auto name = fmt::format("compaction/{}/{}", stream_.id.value, day % 8);
        return *catalogue_->acquire_lease(context_, name, holder, 600'000'000, "");
    }
    std::size_t parts_without_index() {
        const auto parts = *catalogue_->list_stream_parts(context_, stream_.id, "", 100);
        return static_cast<std::size_t>(std::ranges::count_if(
            parts, [](const PartInfo& part) { return part.objects.size() == 1; }));
    }
    std::string scratch() const { return directory_.path() + "/compaction-rebuild"; }

    const std::uint64_t seed_ = test_seed();
    TemporaryDirectory directory_;
    SystemClock clock_;
    SeededRandom random_{seed_};
    PosixFs fs_;
    Config config_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    std::unique_ptr<Catalogue> catalogue_;
    OpenObjectStore objects_;
    StreamInfo stream_;
    std::optional<PartMaker> maker_;
    std::chrono::seconds busy_wait_{0};
};

TEST_F(IndexRebuildTest, APartThatAnotherCompactorHasIsWaitedForAndThenNamed) {
    const auto busy = add_part(19'000);
    add_part(19'001);
    const auto lease = take_lease(19'000, "two");
    const auto named = rebuild();
    ASSERT_TRUE(named) << named.error().message();
    EXPECT_EQ(named->rebuilt, 1U);
    ASSERT_EQ(named->failures.size(), 1U);
    EXPECT_EQ(named->failures[0].part, busy.id);
    EXPECT_THAT(named->failures[0].reason, HasSubstr("another compactor"));

    // It is given back while the part waits.
    busy_wait_ = std::chrono::seconds(600);
    IndexRebuildOptions options;
    bool released = false;
    add_part(19'002);
    options.found = [&](const IndexFinding&) {
        if (!std::exchange(released, true)) {
            EXPECT_TRUE(catalogue_->release_lease(context_, lease));
        }
    };
    const auto done = rebuild(options);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(done->rebuilt, 2U);
    EXPECT_TRUE(done->failures.empty());
    EXPECT_EQ(parts_without_index(), 0U);
}

TEST_F(IndexRebuildTest, AKilledRunIsCleanedUpAtOnce) {
    add_part(19'000);
    std::string identity;
    {
        ASSERT_TRUE(fs_.create_directories(scratch()));
        const auto lock = fs_.lock_directory(scratch());
        ASSERT_TRUE(lock);
        identity = (*lock)->identity();
    }
    if (identity.empty()) {
        GTEST_SKIP() << "this machine cannot name a directory";
    }
    const auto dead = fmt::format("index-rebuild/{}/dead", identity);
    (void)take_lease(19'000, dead);
    // What it had begun on a day where nothing is to be done now.
    const auto lease = take_lease(19'001, dead);
    ASSERT_TRUE(objects_.store->put(context_, "a/left.parquet", as_bytes("x")));
    ASSERT_TRUE(
        catalogue_->add_compaction_intent(context_,
                                          {.compaction_id = make_ulid(clock_.now(), random_),
                                           .stream = stream_.id,
                                           .lease = lease.name,
                                           .epoch = lease.epoch,
                                           .object_keys = {"a/left.parquet"},
                                           .created_us = clock_.now().value / 1000}));
    const auto done = rebuild();
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(done->rebuilt, 1U);
    EXPECT_TRUE(catalogue_->list_compaction_intents(context_)->empty());
    EXPECT_FALSE(objects_.store->head(context_, "a/left.parquet")->has_value());
}

TEST_F(IndexRebuildTest, APartThatGoesMeanwhileIsNoFailure) {
    add_part(19'000);
    add_part(19'001);
    add_part(19'002);
    IndexRebuildOptions options;
    options.found = [&](const IndexFinding&) {
        EXPECT_TRUE(catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 100));
    };
    const auto done = rebuild(options);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(done->parts, 3U);
    EXPECT_EQ(done->rebuilt, 1U);
    EXPECT_EQ(done->gone, 2U);
    EXPECT_TRUE(done->failures.empty());
}

TEST_F(IndexRebuildTest, ASecondRunIsRefused) {
    add_part(19'000);
    ASSERT_TRUE(fs_.create_directories(scratch()));
    auto lock = fs_.lock_directory(scratch());
    ASSERT_TRUE(lock);
    const auto refused = rebuild();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
    EXPECT_THAT(refused.error().message(), HasSubstr("another 'index rebuild'"));
    EXPECT_EQ(parts_without_index(), 1U);
    // Looking is free.
    const auto looked = rebuild({.dry_run = true});
    ASSERT_TRUE(looked) << looked.error().message();
    EXPECT_EQ(looked->rebuilt, 1U);
    EXPECT_EQ(parts_without_index(), 1U);
}

TEST_F(IndexRebuildTest, NothingIsMadeWhereNoServerWas) {
    TemporaryDirectory empty;
    config_.node.data_dir = empty.path();
    const auto no_objects = rebuild();
    ASSERT_FALSE(no_objects);
    EXPECT_EQ(no_objects.error().code(), ErrorCode::kNotFound);
    ASSERT_TRUE(fs_.create_directories(resolve_path(config_, config_.store.object.root)));
    const auto no_catalogue = rebuild();
    ASSERT_FALSE(no_catalogue);
    EXPECT_EQ(no_catalogue.error().code(), ErrorCode::kNotFound);
    EXPECT_THAT(no_catalogue.error().message(), HasSubstr("there is no catalogue"));
    EXPECT_FALSE(*fs_.exists(resolve_path(config_, config_.store.meta.path)));
}

TEST_F(IndexRebuildTest, PartsThatAnObjectListsAreRebuilt) {
    add_part(19'000);
    add_part(19'001);
    const auto damaged = add_part(19'002);
    MetricRegistry metrics;
    PartDumper dumper({.merges = false, .cold_after_days = 1, .holder = {.name = "me"}},
                      *catalogue_,
                      *objects_.store,
                      clock_,
                      random_,
                      metrics,
                      nullptr);
    ASSERT_EQ(dumper.run_once(context_)->dumps_written, 3);
    ASSERT_TRUE(catalogue_->list_stream_parts(context_, stream_.id, "", 100)->empty());
    const auto dumps = *catalogue_->list_part_dumps(context_, {});
    for (const auto& dump : dumps) {
        if (dump.partition == "2022-01-10") {  // Of part `damaged`.
            ASSERT_TRUE(objects_.store->put(context_, dump.object.key, as_bytes("nothing")));
        }
    }
    const auto done = rebuild();
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(done->rebuilt, 2U);
    ASSERT_EQ(done->failures.size(), 1U);
    EXPECT_EQ(done->failures[0].part, "list of 2022-01-10");
    EXPECT_EQ(catalogue_->list_stream_parts(context_, stream_.id, "", 100)->size(), 2U);
    EXPECT_EQ(parts_without_index(), 0U);
    EXPECT_EQ(catalogue_->list_part_dumps(context_, {})->size(), 1U);
    EXPECT_EQ(damaged.rows, 200);
    // Those that have an index stay where they are.
    ASSERT_EQ(dumper.run_once(context_)->dumps_written, 2);
    EXPECT_EQ(rebuild()->rebuilt, 0U);
    EXPECT_EQ(catalogue_->list_part_dumps(context_, {})->size(), 3U);
}

}  // namespace
}  // namespace molesignal
