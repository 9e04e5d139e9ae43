#include "compaction/part_dumper.h"

#include <set>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <xxhash.h>

#include "common/failpoint.h"
#include "compaction/compactor.h"
#include "compaction/retention.h"
#include "compaction/scrubber.h"
#include "io/memory_fs.h"
#include "metadata/open_catalogue.h"
#include "objectstore/memory_object_store.h"
#include "storage/part_dump/part_dump_reader.h"
#include "tests/states/faulty_catalogue.h"
#include "tests/states/sqlite_mount.h"
#include "tests/support/fault_plan.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kDayNs = 86'400'000'000'000;
constexpr std::int64_t kHourNs = 3'600'000'000'000;

// Before any catalogue of this process is opened: its checksums sit on the VFS that is the default
// then.
MemoryFs no_files;
const SqliteMount first_mount(no_files);

class PartDumperTest : public ::testing::Test {
protected:
    PartDumperTest() {
        base_catalogue_ = *open_sqlite_catalogue(mount_.database("meta.db"), clock_, random_);
        catalogue_ = std::make_unique<FaultyCatalogue>(*base_catalogue_);
        EXPECT_TRUE(catalogue_->migrate(context_));
        reader_ = std::make_shared<ObjectReader>(
            base_, ObjectReaderOptions{}, nullptr, nullptr, clock_, metrics_);
        catalogue_->use_part_dumps(std::make_shared<CachedPartDumpReader>(
            reader_, PartDumpReaderOptions{}, clock_, metrics_));
        org_ = catalogue_->ensure_organization(context_, "default")->id;
        stream_ = *catalogue_->ensure_stream(context_, org_, StreamType::kLogs, "app", 100);
        options_.merges = false;
        options_.cold_after_days = 2;
        make();
    }
    ~PartDumperTest() override { disarm_failpoints(); }

    /// A process of this name.
    void make(const std::string& holder = "one") {
        options_.holder.name = holder;
        dumper_ = std::make_unique<PartDumper>(
            options_, *catalogue_, store_, clock_, random_, metrics_, nullptr);
    }
    /// A flushed part whose row is of so many days before today, at this hour.
    PartInfo add_part(int days, int hour = 12, const std::string& stream = "app") {
        const auto info = *catalogue_->ensure_stream(context_, org_, StreamType::kLogs, stream, 9);
        const auto shard = *catalogue_->create_shard(context_, info.id, "log");
        const auto midnight = (clock_.now().value / kDayNs - days) * kDayNs;
        const std::string body = "part " + std::to_string(++parts_);
        PartInfo part;
        part.id = make_ulid(clock_.now(), random_);
        part.stream = info.id;
        part.objects.push_back({.kind = "parquet",
                                .key = part.id + ".parquet",
                                .bytes = static_cast<std::int64_t>(body.size()),
                                .xxh3 = XXH3_64bits(body.data(), body.size())});
        part.rows = parts_;
        part.time_min_us = part.time_max_us = (midnight + hour * kHourNs) / 1000;
        part.shard = shard.id;
        part.position_end = Position{static_cast<std::uint64_t>(parts_)};
        EXPECT_TRUE(base_.put(context_, part.objects[0].key, as_bytes(body)));
        EXPECT_TRUE(catalogue_->add_flush_intent(context_,
                                                 {.flush_id = part.id,
                                                  .stream = info.id,
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
        return part;
    }
    PartDumpReport round() {
        const auto report = dumper_->run_once(context_);
        EXPECT_TRUE(report) << report.error().message();
        return report ? *report : PartDumpReport();
    }
    /// What a query sees, wherever it is listed.
    std::vector<PartInfo> seen() {
        std::int64_t total = 0;
        auto snapshot =
            base_catalogue_->snapshot(context_, stream_.id, INT64_MIN, INT64_MAX, total);
        EXPECT_TRUE(snapshot) << snapshot.error().message();
        auto parts = snapshot ? std::move(snapshot->parts) : std::vector<PartInfo>();
        EXPECT_EQ(total, static_cast<std::int64_t>(parts.size()));
        for (auto& part : parts) {
            part.dump.clear();
        }
        return parts;
    }
    std::size_t table() {
        return base_catalogue_->list_stream_parts(context_, stream_.id, "", 1'000)->size();
    }
    std::vector<PartDump> dumps() { return *base_catalogue_->list_part_dumps(context_, {}); }
    PartDump dump_of(std::string_view partition) {
        const auto live = dumps();
        const auto found = std::ranges::find(live, partition, &PartDump::partition);
        EXPECT_NE(found, live.end());
        return found == live.end() ? PartDump() : *found;
    }
    /// "2023-11-10 2, 2023-11-11 1": the partitions and how many parts they have.
    std::string partitions() {
        std::map<std::string, std::int64_t> found;
        for (const auto& dump : dumps()) {
            found[dump.partition] += dump.parts;
        }
        std::string text;
        for (const auto& [partition, parts] : found) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", partition, parts);
        }
        return text;
    }
    /// After all leases and graces the store has the objects of live parts and live dumps only.
    void check_no_orphans() {
        clock_.advance(std::chrono::hours(1));
        make("last");
        round();
        if (const auto stale = *catalogue_->list_compaction_intents(context_); !stale.empty()) {
            clear_stale();
        }
        Retention retention({.retention_days = 0}, *catalogue_, base_, clock_, metrics_);
        clock_.advance(std::chrono::hours(1));
        EXPECT_TRUE(retention.run_once(context_));
        std::set<std::string> named;
        for (const auto& part : seen()) {
            named.insert(part.objects[0].key);
        }
        for (const auto& dump : dumps()) {
            named.insert(dump.object.key);
        }
        std::set<std::string> stored;
        EXPECT_TRUE(base_.list(context_, "", [&](const ObjectMeta& object) {
            stored.insert(object.key);
            return true;
        }));
        EXPECT_EQ(stored, named);
        EXPECT_TRUE(catalogue_->list_compaction_intents(context_)->empty());
    }
    /// As a compactor's round does.
    void clear_stale() {
        const auto compactor = *Compactor::make({.holder = {.name = "compactor"}},
                                                *catalogue_,
                                                base_,
                                                fs_,
                                                clock_,
                                                random_,
                                                metrics_,
                                                nullptr);
        EXPECT_TRUE(compactor->clear_abandoned(context_));
    }
    void flip(const std::string& key) {
        auto bytes = *base_.get(context_, key, 0, UINT64_MAX);
        bytes[bytes.size() / 2] ^= std::byte{1};
        EXPECT_TRUE(base_.put(context_, key, bytes));
    }

    const std::uint64_t seed_ = test_seed();
    MemoryFs files_;  // A catalogue on a disk would wait for thousands of syncs.
    SqliteMount mount_{files_};
    ManualClock clock_{UnixNanos{1'700'000'000'000'000'000}};  // 2023-11-14 22:13
    RequestContext context_ = RequestContext::background(clock_, "test");
    SeededRandom random_{seed_};
    MetricRegistry metrics_;
    MemoryFs fs_;
    MemoryObjectStore base_{&fs_};
    FaultyObjectStore store_{base_};
    std::shared_ptr<ObjectReader> reader_;
    std::unique_ptr<Catalogue> base_catalogue_;
    std::unique_ptr<FaultyCatalogue> catalogue_;
    OrgId org_;
    StreamInfo stream_;
    PartDumperOptions options_;
    std::unique_ptr<PartDumper> dumper_;
    int parts_ = 0;
};

TEST_F(PartDumperTest, OldDaysAreListedByObjects) {
    add_part(0);
    add_part(1);
    add_part(2);  // Its day ended less than two days ago.
    add_part(3);
    add_part(3, 1);
    add_part(4);
    const auto before = seen();
    const auto report = round();
    EXPECT_EQ(report.dumps_written, 2);
    EXPECT_EQ(report.parts_moved, 3);
    EXPECT_EQ(report.failures, 0);
    EXPECT_EQ(partitions(), "2023-11-10 1, 2023-11-11 2");
    EXPECT_EQ(table(), 3U);
    EXPECT_EQ(seen(), before);
    const auto key = dumps()[0].object.key;
    EXPECT_THAT(key,
                ::testing::MatchesRegex(fmt::format(
                    "{}/_parquet_file_meta_dump/logs/{}/2023-11-1[01]/[0-9a-z]+\\.parquet",
                    org_.value,
                    stream_.id.value)));
    EXPECT_EQ(round().dumps_written, 0);
    check_no_orphans();
}

TEST_F(PartDumperTest, AtMostSoManyARoundTheOldestFirst) {
    for (int day = 3; day < 9; ++day) {
        add_part(day);
        add_part(day, 12, "other");
    }
    options_.partitions_max = 4;
    make();
    EXPECT_EQ(round().dumps_written, 4);
    EXPECT_EQ(partitions(), "2023-11-06 1, 2023-11-07 1, 2023-11-08 1, 2023-11-09 1");
    EXPECT_EQ(round().dumps_written, 4);
    EXPECT_EQ(round().dumps_written, 4);
    EXPECT_EQ(round().dumps_written, 0);
    EXPECT_EQ(dumps().size(), 12U);
}

TEST_F(PartDumperTest, Hourly) {
    add_part(3, 0);
    add_part(3, 0);
    add_part(3, 23);
    add_part(1, 21);  // Cold after no days: the hour is over since one.
    const auto before = seen();
    options_.level = DumpLevel::kHourly;
    options_.cold_after_days = 1;
    make();
    EXPECT_EQ(round().dumps_written, 3);
    EXPECT_EQ(partitions(), "2023-11-11T00 2, 2023-11-11T23 1, 2023-11-13T21 1");
    // A late part of a day that the other level has dumped gets a dump of its own.
    options_.level = DumpLevel::kDaily;
    make();
    add_part(3, 5);
    EXPECT_EQ(round().dumps_written, 1);
    EXPECT_EQ(partitions(), "2023-11-11 1, 2023-11-11T00 2, 2023-11-11T23 1, 2023-11-13T21 1");
    EXPECT_EQ(seen().size(), before.size() + 1);
    EXPECT_EQ(table(), 0U);
}

TEST_F(PartDumperTest, LatePartsJoinTheirDaysDump) {
    add_part(3);
    EXPECT_EQ(round().dumps_written, 1);
    const auto first = dumps().front();
    add_part(3, 4);
    add_part(3, 20);
    const auto before = seen();
    ASSERT_EQ(before.size(), 3U);
    const auto report = round();
    EXPECT_EQ(report.dumps_written, 1);
    EXPECT_EQ(report.parts_moved, 2);
    EXPECT_EQ(partitions(), "2023-11-11 3");
    EXPECT_NE(dumps().front().object.key, first.object.key);
    EXPECT_EQ(seen(), before);
    EXPECT_TRUE(base_.head(context_, first.object.key)->has_value()) << "queries may read it";
    check_no_orphans();
    EXPECT_FALSE(base_.head(context_, first.object.key)->has_value());
}

TEST_F(PartDumperTest, DaysThatAreStillMergedWait) {
    add_part(3);
    add_part(3, 4);
    add_part(4);
    options_.merges = true;
    make();
    const auto report = round();
    EXPECT_EQ(report.dumps_written, 1);
    EXPECT_EQ(report.skipped, 1);
    EXPECT_EQ(partitions(), "2023-11-10 1");
    EXPECT_THAT(
        metrics_.expose(),
        HasSubstr(R"(parquet_file_meta_dump_partitions_skipped_total{reason="merging"} 1)"));
}

TEST_F(PartDumperTest, DaysThatRetentionTakesSoonStay) {
    add_part(4);
    add_part(5);
    options_.retention_days = 6;
    make();
    EXPECT_EQ(round().dumps_written, 1);
    EXPECT_EQ(partitions(), "2023-11-10 1");
    // The stream's own setting wins.
    auto settings = stream_.settings;
    settings.retention_days = 0;
    ASSERT_TRUE(
        catalogue_->update_stream_settings(context_, org_, stream_.id, stream_.settings, settings));
    EXPECT_EQ(round().dumps_written, 1);
    EXPECT_EQ(partitions(), "2023-11-09 1, 2023-11-10 1");
}

TEST_F(PartDumperTest, ADayOfTooManyPartsStays) {
    options_.parts_max = 3;
    make();
    for (int i = 0; i < 3; ++i) {
        add_part(3);
    }
    EXPECT_EQ(round().dumps_written, 1);
    add_part(3);
    EXPECT_EQ(round().skipped, 1);
    EXPECT_EQ(table(), 1U);
    EXPECT_EQ(seen().size(), 4U);
}

TEST_F(PartDumperTest, RetentionTakesPartsOutOfDumps) {
    for (int hour : {2, 12, 23}) {
        add_part(9, hour);
        add_part(8, hour);
    }
    for (int day = 0; day < 8; ++day) {
        add_part(day);
    }
    EXPECT_EQ(round().dumps_written, 7);
    RetentionOptions options{.retention_days = 8};
    Retention retention(options, *catalogue_, base_, clock_, metrics_);
    // 22:13 eight days ago: day 9 wholly, of day 8 the first two and not the last.
    const auto report = retention.run_once(context_);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->dumps_restored, 2);
    EXPECT_EQ(report->parts_expired, 5);
    EXPECT_EQ(report->failures, 0);
    EXPECT_EQ(seen().size(), 9U);
    clock_.advance(std::chrono::hours(1));
    const auto later = retention.run_once(context_);
    ASSERT_TRUE(later);
    EXPECT_EQ(later->parts_purged, 5);
    EXPECT_EQ(later->dumps_purged, 2);
    options_.retention_days = 8;
    check_no_orphans();
    EXPECT_EQ(seen().size(), 8U);
}

TEST_F(PartDumperTest, RetentionDoesNotBelieveAClockThatMakesAllDumpsOld) {
    for (int day = 3; day < 9; ++day) {
        add_part(day);
    }
    round();
    Retention retention({.retention_days = 30}, *catalogue_, base_, clock_, metrics_);
    clock_.advance(std::chrono::hours(24 * 365));
    const auto report = retention.run_once(context_);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->parts_held, 6);
    EXPECT_EQ(report->dumps_restored, 0);
    EXPECT_EQ(seen().size(), 6U);
}

TEST_F(PartDumperTest, ADeletedStreamsDumpsGoWithIt) {
    add_part(3, 1, "gone");
    add_part(4, 1, "gone");
    add_part(3);
    EXPECT_EQ(round().dumps_written, 3);
    const auto gone = *catalogue_->find_stream(context_, org_, StreamType::kLogs, "gone");
    ASSERT_TRUE(catalogue_->delete_stream(context_, org_, gone->id));
    Retention retention({}, *catalogue_, base_, clock_, metrics_);
    ASSERT_TRUE(retention.run_once(context_));
    EXPECT_EQ(dumps().size(), 1U);
    EXPECT_EQ(catalogue_->list_removed_parts(context_, 0, 10)->size(), 2U);
    check_no_orphans();
    EXPECT_TRUE(catalogue_->list_removed_parts(context_, 0, 10)->empty());
}

TEST_F(PartDumperTest, ADamagedListHoldsUpNobodyElse) {
    for (int day = 5; day < 10; ++day) {
        add_part(day);
    }
    round();
    const auto bad = dump_of("2023-11-05");
    flip(bad.object.key);
    std::int64_t total = 0;
    const auto all = catalogue_->snapshot(context_, stream_.id, INT64_MIN, INT64_MAX, total);
    ASSERT_FALSE(all);
    EXPECT_EQ(all.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(all.error().message(), HasSubstr(bad.partition));
    EXPECT_TRUE(catalogue_->snapshot(context_, stream_.id, bad.time_max_us + 1, INT64_MAX, total));
    // Late parts of that day stay in the table, those of others are dumped.
    add_part(9);
    add_part(8);
    const auto report = round();
    EXPECT_EQ(report.failures, 1);
    EXPECT_EQ(report.dumps_written, 1);
    EXPECT_EQ(table(), 1U);
    // Retention names it and goes on.
    Retention retention(
        {.retention_days = 8, .share_max = 1}, *catalogue_, base_, clock_, metrics_);
    const auto expired = retention.run_once(context_);
    ASSERT_TRUE(expired);
    EXPECT_EQ(expired->failures, 1);
    EXPECT_EQ(expired->dumps_restored, 1);
    EXPECT_EQ(expired->parts_expired, 3);
}

TEST_F(PartDumperTest, TheScrubberReadsListsAndTheirParts) {
    const auto bad = add_part(5);
    add_part(5);
    add_part(4);
    add_part(0);
    round();
    Scrubber scrubber({}, *catalogue_, base_, fs_, clock_, metrics_);
    const auto scrub = [&] {
        clock_.advance(std::chrono::hours(24 * 8));
        EXPECT_TRUE(scrubber.work(context_));
        clock_.advance(std::chrono::seconds(5));
        EXPECT_TRUE(scrubber.work(context_));
    };
    scrub();
    EXPECT_TRUE(scrubber.damaged().empty());
    EXPECT_THAT(metrics_.expose(), HasSubstr("scrub_objects_total 6\n"));
    const auto list = dump_of("2023-11-09");
    flip(bad.objects[0].key);
    scrub();
    ASSERT_EQ(scrubber.damaged().size(), 1U);
    EXPECT_THAT(scrubber.damaged()[0], HasSubstr("part " + bad.id));
    // While its list is damaged, nobody knows of the part; it stays named until it is good.
    flip(list.object.key);
    scrub();
    EXPECT_THAT(scrubber.damaged(),
                ::testing::UnorderedElementsAre(
                    HasSubstr("part " + bad.id),
                    HasSubstr("part list of 2023-11-09: object " + list.object.key)));
    flip(bad.objects[0].key);
    flip(list.object.key);
    scrub();
    EXPECT_TRUE(scrubber.damaged().empty());
}

TEST_F(PartDumperTest, AnotherDumperHasTheLease) {
    add_part(3);
    const auto name = fmt::format("compaction/{}/dump", stream_.id.value);
    const auto lease = catalogue_->acquire_lease(context_, name, "two", 600'000'000, "");
    ASSERT_TRUE(lease);
    const auto report = round();
    EXPECT_EQ(report.dumps_written, 0);
    EXPECT_EQ(report.skipped, 1);
    ASSERT_TRUE(catalogue_->release_lease(context_, *lease));
    EXPECT_EQ(round().dumps_written, 1);
}

TEST_F(PartDumperTest, ADumperThatLostItsLeaseChangesNothing) {
    add_part(3);
    const auto before = seen();
    ASSERT_TRUE(arm_failpoints("part_dump_verified=pause"));
    std::thread first([this] { EXPECT_EQ(round().failures, 1); });
    await_failpoint("part_dump_verified");
    clock_.advance(std::chrono::hours(1));
    const auto name = fmt::format("compaction/{}/dump", stream_.id.value);
    ASSERT_TRUE(catalogue_->acquire_lease(context_, name, "two", 60'000'000, ""));
    disarm_failpoints();
    first.join();
    EXPECT_TRUE(dumps().empty());
    EXPECT_EQ(seen(), before);
    check_no_orphans();
}

TEST_F(PartDumperTest, RetentionWins) {
    add_part(3);
    add_part(3);
    ASSERT_TRUE(arm_failpoints("part_dump_verified=pause"));
    std::thread first([this] { EXPECT_EQ(round().failures, 1); });
    await_failpoint("part_dump_verified");
    ASSERT_EQ(*catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 1), 1);
    disarm_failpoints();
    first.join();
    EXPECT_TRUE(dumps().empty());
    EXPECT_EQ(seen().size(), 1U);
    check_no_orphans();
}

/// What the store keeps is not what it was given: the rows stay.
TEST_F(PartDumperTest, AStoreThatKeepsSomethingElse) {
    add_part(3);
    ASSERT_TRUE(arm_failpoints("part_dump_put=pause"));
    std::thread first([this] { EXPECT_EQ(round().failures, 1); });
    await_failpoint("part_dump_put");
    flip(catalogue_->list_compaction_intents(context_)->front().object_keys.front());
    disarm_failpoints();
    first.join();
    EXPECT_EQ(table(), 1U);
    check_no_orphans();
}

/// A process that ends anywhere leaves the rows or the dump; the next cleans up behind it.
TEST_F(PartDumperTest, EndedAtAnyStep) {
    int steps = 0;
    for (const auto name : failpoint_names()) {
        if (!name.starts_with("part_dump_") && !name.starts_with("catalogue_dump_") &&
            !name.starts_with("catalogue_compaction_intent") && name != "catalogue_answer_lost" &&
            name != "compaction_intent_abandoned" && name != "compaction_object_removed") {
            continue;
        }
        SCOPED_TRACE(std::string(name));
        ++steps;
        // Of a day that has a dump, and of one that has none.
        add_part(3);
        add_part(3 + steps);
        const auto before = seen();
        const bool cleans = name.starts_with("compaction_");
        ASSERT_TRUE(arm_failpoints(fmt::format(
            "{}=error(internal)@1+{}", name, cleans ? ",part_dump_put=error(internal)@1+" : "")));
        static_cast<void>(dumper_->run_once(context_));
        disarm_failpoints();
        EXPECT_EQ(seen(), before);
        clock_.advance(std::chrono::minutes(10));
        make(std::string(name));
        EXPECT_EQ(round().failures, 0);
        EXPECT_EQ(table(), 0U);
        EXPECT_EQ(seen(), before);
        check_no_orphans();
    }
    EXPECT_GE(steps, 13);
}

/// The N-th call of the object store fails, before or after it happened, once and for ever.
TEST_F(PartDumperTest, FailingStore) {
    for (const auto effect : {ObjectFaultEffect::kErrorBefore,
                              ObjectFaultEffect::kErrorAfter,
                              ObjectFaultEffect::kShortBody,
                              ObjectFaultEffect::kCorruptBody}) {
        const auto calls = for_each_failure([&](const FaultPlan& plan) {
            add_part(3);
            const auto before = seen();
            ObjectFault fault;
            if (effect == ObjectFaultEffect::kShortBody ||
                effect == ObjectFaultEffect::kCorruptBody) {
                fault.verbs = {ObjectVerb::kGet};
            }
            fault.plan = plan;
            fault.effect = effect;
            store_.arm(fault);
            static_cast<void>(dumper_->run_once(context_));
            const bool fired = store_.fired() > 0;
            store_.disarm();
            EXPECT_EQ(seen(), before);
            return fired;
        });
        EXPECT_GE(calls, 2U);
        check_no_orphans();
    }
}

/// The N-th call of the catalogue fails, before or after it happened, once and for ever: while
/// dumps are written, and while retention takes their parts.
TEST_F(PartDumperTest, FailingCatalogue) {
    for (const auto effect :
         {CatalogueFaultEffect::kErrorBefore, CatalogueFaultEffect::kErrorAfter}) {
        const auto calls = for_each_failure([&](const FaultPlan& plan) {
            add_part(3);
            add_part(4);
            const auto before = seen();
            catalogue_->arm({.verb = {}, .plan = plan, .effect = effect});
            static_cast<void>(dumper_->run_once(context_));
            bool fired = catalogue_->fired() > 0;
            catalogue_->disarm();
            EXPECT_EQ(seen(), before);
            return fired;
        });
        EXPECT_GE(calls, 18U);
        check_no_orphans();
        const auto expiring = for_each_failure([&](const FaultPlan& plan) {
            add_part(40);
            add_part(3);
            round();
            const auto before = seen().size();
            Retention retention(
                {.retention_days = 30, .share_max = 1}, *catalogue_, base_, clock_, metrics_);
            catalogue_->arm({.verb = {}, .plan = plan, .effect = effect});
            static_cast<void>(retention.run_once(context_));
            const bool fired = catalogue_->fired() > 0;
            catalogue_->disarm();
            EXPECT_TRUE(seen().size() == before || seen().size() == before - 1);
            EXPECT_TRUE(retention.run_once(context_));
            EXPECT_EQ(seen().size(), before - 1);
            return fired;
        });
        EXPECT_GE(expiring, 8U);
        options_.retention_days = 30;
        check_no_orphans();
    }
}

/// Differential: random days, late parts, dumps, restores and retention; after each step a query of
/// any time sees the parts that a catalogue without dumps would have.
TEST_F(PartDumperTest, AnyQuerySeesThePartsThatAreLive) {
    std::map<std::string, PartInfo> expected;
    options_.retention_days = 50;
    options_.partitions_max = 3;
    make();
    Retention retention(
        {.retention_days = 50, .share_max = 1}, *catalogue_, base_, clock_, metrics_);
    const auto pick = [this](std::uint64_t below) {
        return static_cast<std::int64_t>(random_.next_u64() % below);
    };
    for (int step = 0; step < 200; ++step) {
        switch (pick(6)) {
            case 0:
                round();
                break;
            case 1: {
                clock_.advance(std::chrono::hours(pick(30)));
                ASSERT_TRUE(retention.run_once(context_));
                const auto before_us = clock_.now().value / 1000 - 50 * kDayNs / 1000;
                std::erase_if(expected, [&](const auto& entry) {
                    return entry.second.time_max_us < before_us;
                });
                break;
            }
            case 2:
                if (const auto live = dumps(); !live.empty()) {
                    const auto& dump = live[static_cast<std::size_t>(pick(live.size()))];
                    ASSERT_TRUE(catalogue_->restore_part_dump(context_, dump.id));
                }
                break;
            default: {
                auto part = add_part(static_cast<int>(pick(49)), static_cast<int>(pick(22)));
                expected[part.id] = part;
            }
        }
        const auto now_us = clock_.now().value / 1000;
        const auto begin_us = now_us - pick(60 * kDayNs / 1000);
        const auto end_us = begin_us + pick(20 * kDayNs / 1000);
        std::int64_t total = 0;
        const auto snapshot = catalogue_->snapshot(context_, stream_.id, begin_us, end_us, total);
        ASSERT_TRUE(snapshot) << snapshot.error().message();
        EXPECT_EQ(total, static_cast<std::int64_t>(expected.size()));
        std::set<std::string> wanted;
        for (const auto& [id, part] : expected) {
            if (part.time_max_us >= begin_us && part.time_min_us <= end_us) {
                wanted.insert(id);
            }
        }
        std::set<std::string> found;
        for (const auto& part : snapshot->parts) {
            EXPECT_TRUE(found.insert(part.id).second) << "a part came twice";
            EXPECT_EQ(part.rows, expected.at(part.id).rows);
            EXPECT_EQ(part.objects, expected.at(part.id).objects);
        }
        ASSERT_EQ(found, wanted) << "step " << step << ", seed " << seed_;
    }
    options_.partitions_max = 100;
    check_no_orphans();
}

}  // namespace
}  // namespace molesignal
