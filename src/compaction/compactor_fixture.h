#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/failpoint.h"
#include "compaction/compaction_fixture.h"
#include "compaction/compactor.h"
#include "compaction/retention.h"
#include "compaction/verify_part.h"
#include "io/memory_fs.h"
#include "metadata/open_catalogue.h"
#include "objectstore/memory_object_store.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"

namespace molesignal {

inline constexpr std::int64_t kHour = 3'600'000'000'000;

/// A stream in a catalogue and a store of its own, and a compactor.
class CompactorTest : public ::testing::Test {
protected:
    CompactorTest() {
        catalogue_ = *open_sqlite_catalogue(directory_.path() + "/meta.db", clock_, random_);
        EXPECT_TRUE(catalogue_->migrate(context_));
        const auto org = catalogue_->ensure_organization(context_, "default")->id;
        stream_ = *catalogue_->ensure_stream(context_, org, StreamType::kLogs, "app", 100);
        maker_.emplace(stream_.id, seed_);
        EXPECT_TRUE(catalogue_->ensure_fields(context_, stream_.id, maker_->fields()));
        options_.writer.rows_per_group = 1'000;
        options_.plan.parts_min = 2;
        make();
    }
    ~CompactorTest() override { disarm_failpoints(); }

    /// A process of this name: what the one before remembered is gone, and its scratch files too.
    void make(const std::string& holder = "one") {
        options_.holder.name = holder;
        compactor_ = *Compactor::make(options_,
                                      *catalogue_,
                                      store_,
                                      fs_,
                                      clock_,
                                      random_,
                                      metrics_,
                                      MemoryBudget::make_root("process", "none", 1LL << 40));
    }

    /// A flushed part whose rows are as many days old.
    PartInfo add_part(std::uint32_t rows, int days = 2) {
        const auto shard = *catalogue_->create_shard(context_, stream_.id, "log");
        const auto day = clock_.now().value / (24 * kHour) - days;
        auto part = maker_->make(base_,
                                 context_,
                                 shard.id,
                                 0,
                                 rows,
                                 day * 24 * kHour + static_cast<std::int64_t>(parts_ % 20) * kHour,
                                 kHour);
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
        maker_->read(base_, context_, part, expected_);
        ++parts_;
        return part;
    }
    CompactionReport round() {
        const auto report = compactor_->run_once(context_);
        EXPECT_TRUE(report) << report.error().message();
        return report ? *report : CompactionReport();
    }
    StreamSnapshot snapshot() {
        std::int64_t total = 0;
        auto snapshot = catalogue_->snapshot(context_, stream_.id, INT64_MIN, INT64_MAX, total);
        EXPECT_TRUE(snapshot);
        return std::move(*snapshot);
    }
    std::vector<PartInfo> live_parts() { return snapshot().parts; }
    /// The live parts have exactly the rows that were added, and each object is as recorded.
    void check_rows() {
        TestRows rows;
        for (const auto& part : live_parts()) {
            maker_->read(base_, context_, part, rows);
            for (const auto& object : part.objects) {
                ObjectVerification verification(base_, object);
                while (!verification.is_done()) {
                    const auto read = verification.read_next(context_, 1U << 20U);
                    ASSERT_TRUE(read) << read.error().message();
                }
            }
        }
        EXPECT_TRUE(rows == expected_) << rows.size() << " rows, not " << expected_.size();
    }
    /// After all leases and graces, the store has the objects of live parts and packs and no
    /// others.
    void check_no_orphans() {
        clock_.advance(std::chrono::hours(1));
        make("last");
        round();
        EXPECT_TRUE(catalogue_->list_compaction_intents(context_)->empty());
        Retention retention({.retention_days = 0}, *catalogue_, base_, clock_, metrics_);
        clock_.advance(std::chrono::hours(1));
        EXPECT_TRUE(retention.run_once(context_));
        std::set<std::string> named;
        for (const auto& part : live_parts()) {
            for (const auto& object : part.objects) {
                named.insert(object.key);
            }
        }
        for (const auto& pack : snapshot().id_packs) {
            named.insert(pack.object.key);
        }
        std::set<std::string> stored;
        EXPECT_TRUE(base_.list(context_, "", [&](const ObjectMeta& object) {
            stored.insert(object.key);
            return true;
        }));
        EXPECT_EQ(stored, named);
        EXPECT_TRUE(fs_.list(options_.scratch_directory)->empty());
    }

    const std::uint64_t seed_ = test_seed();
    TemporaryDirectory directory_;
    ManualClock clock_{UnixNanos{1'700'000'000'000'000'000}};
    RequestContext context_ = RequestContext::background(clock_, "test");
    SeededRandom random_{seed_};
    MetricRegistry metrics_;
    MemoryFs fs_;
    MemoryObjectStore base_{&fs_};
    FaultyObjectStore store_{base_};
    std::unique_ptr<Catalogue> catalogue_;
    StreamInfo stream_;
    std::optional<PartMaker> maker_;
    CompactorOptions options_;
    std::unique_ptr<Compactor> compactor_;
    TestRows expected_;
    int parts_ = 0;
};

}  // namespace molesignal
