#include "compaction/compactor.h"

#include <thread>

#include <gmock/gmock.h>

#include "common/failpoint.h"
#include "compaction/compactor_fixture.h"
#include "tests/support/fault_plan.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;

TEST_F(CompactorTest, NothingToDo) {
    EXPECT_EQ(round().groups_merged, 0);
    add_part(100);
    EXPECT_EQ(round().groups_merged, 0);
}

TEST_F(CompactorTest, MergesADayAndKeepsTheOldObjectsForQueries) {
    std::vector<PartInfo> old;
    for (int i = 0; i < 5; ++i) {
        old.push_back(add_part(1'500));
    }
    const auto report = round();
    EXPECT_EQ(report.groups_merged, 1);
    EXPECT_EQ(report.parts_replaced, 5);
    EXPECT_EQ(report.failures, 0);
    const auto parts = live_parts();
    ASSERT_EQ(parts.size(), 1U);
    EXPECT_EQ(parts[0].rows, 7'500);
    EXPECT_EQ(parts[0].raw_bytes, 5 * 1'500 * 200);
    EXPECT_EQ(parts[0].shard, ShardId{0});
    EXPECT_EQ(parts[0].row_groups.size(), 8U);
    EXPECT_EQ(parts[0].objects.size(), 2U);
    EXPECT_NE(parts[0].footer_xxh3, 0U);
    for (const auto& part : old) {
        EXPECT_TRUE(base_.head(context_, part.objects[0].key)->has_value());
    }
    check_rows();
    EXPECT_EQ(round().groups_merged, 0);
    check_no_orphans();
}

TEST_F(CompactorTest, ALargePartHasSeveralIndexObjects) {
    options_.index_rows_max = 2'000;
    make();
    add_part(2'500);
    add_part(2'500);
    EXPECT_EQ(round().groups_merged, 1);
    const auto parts = live_parts();
    ASSERT_EQ(parts.size(), 1U);
    ASSERT_EQ(parts[0].objects.size(), 5U);
    EXPECT_EQ(parts[0].objects[1].kind, "values");
    EXPECT_EQ(parts[0].objects[2].kind, "index");
    EXPECT_THAT(parts[0].objects[2].key, HasSubstr("-1.idx"));
    check_rows();
}

TEST_F(CompactorTest, WithoutIndex) {
    options_.writes_index = false;
    make();
    add_part(100);
    add_part(100);
    EXPECT_EQ(round().groups_merged, 1);
    EXPECT_EQ(live_parts().at(0).objects.size(), 1U);
    check_rows();
}

TEST_F(CompactorTest, ADamagedPartIsNamedAndLeftAlone) {
    add_part(500);
    const auto bad = add_part(500);
    auto object = *base_.get(context_, bad.objects[0].key, 0, UINT64_MAX);
    const auto good = object;
    object[object.size() / 2] ^= std::byte{1};
    ASSERT_TRUE(base_.put(context_, bad.objects[0].key, object));
    EXPECT_EQ(round().failures, 1);
    EXPECT_EQ(live_parts().size(), 2U);
    // The next round does not try it again, and merges what it can.
    add_part(500);
    const auto report = round();
    EXPECT_EQ(report.failures, 0);
    EXPECT_EQ(report.parts_replaced, 2);
    ASSERT_TRUE(base_.put(context_, bad.objects[0].key, good));
    check_rows();
    check_no_orphans();
}

TEST_F(CompactorTest, AnotherCompactorHasTheLease) {
    add_part(100);
    add_part(100);
    const auto day = clock_.now().value / (24 * kHour) - 2;
    const auto name = fmt::format("compaction/{}/{}", stream_.id.value, day % 8);
    const auto lease = catalogue_->acquire_lease(context_, name, "two", 60'000'000, "");
    ASSERT_TRUE(lease);
    const auto report = round();
    EXPECT_EQ(report.groups_held_elsewhere, 1);
    EXPECT_EQ(live_parts().size(), 2U);
    ASSERT_TRUE(catalogue_->release_lease(context_, *lease));
    EXPECT_EQ(round().groups_merged, 1);
    check_rows();
}

TEST_F(CompactorTest, ACompactorThatLostItsLeaseChangesNothing) {
    add_part(100);
    add_part(100);
    // The lease goes to another while this one stands still after the upload.
    ASSERT_TRUE(arm_failpoints("compaction_verified=pause"));
    std::thread first([this] { EXPECT_EQ(round().failures, 1); });
    await_failpoint("compaction_verified");
    clock_.advance(std::chrono::hours(1));
    const auto day = clock_.now().value / (24 * kHour) - 2;
    const auto name = fmt::format("compaction/{}/{}", stream_.id.value, day % 8);
    ASSERT_TRUE(catalogue_->acquire_lease(context_, name, "two", 60'000'000, ""));
    disarm_failpoints();
    first.join();
    EXPECT_EQ(live_parts().size(), 2U);
    check_rows();
    check_no_orphans();
}

TEST_F(CompactorTest, RetentionWins) {
    add_part(100);
    add_part(100);
    ASSERT_TRUE(arm_failpoints("compaction_verified=pause"));
    std::thread compaction([this] { EXPECT_EQ(round().failures, 1); });
    await_failpoint("compaction_verified");
    ASSERT_EQ(*catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 1), 1);
    disarm_failpoints();
    compaction.join();
    EXPECT_EQ(live_parts().size(), 1U);
    check_no_orphans();
}

TEST_F(CompactorTest, EndsWhenItIsTold) {
    add_part(3'000);
    add_part(3'000);
    context_.cancel.cancel();
    EXPECT_FALSE(compactor_->run_once(context_));
    context_ = RequestContext::background(clock_, "test");
    EXPECT_EQ(live_parts().size(), 2U);
    check_no_orphans();
}

TEST_F(CompactorTest, WaitsForDiskAndMemory) {
    add_part(1'000);
    add_part(1'000);
    compactor_ = *Compactor::make(options_,
                                  *catalogue_,
                                  store_,
                                  fs_,
                                  clock_,
                                  random_,
                                  metrics_,
                                  MemoryBudget::make_root("process", "none", 10'000));
    EXPECT_EQ(round().groups_postponed, 1);
    EXPECT_EQ(live_parts().size(), 2U);
}

/// A process that ends anywhere leaves the old parts or the new one; the next cleans up behind it.
TEST_F(CompactorTest, EndedAtAnyStep) {
    int names = 0;
    for (const auto name : failpoint_names()) {
        if (!name.starts_with("compaction_") && !name.starts_with("catalogue_compaction_") &&
            name != "catalogue_part_replaced" && name != "catalogue_part_inserted") {
            continue;
        }
        SCOPED_TRACE(std::string(name));
        // A day of its own, although the clock goes on.
        ++names;
        add_part(800, 2 * names);
        add_part(900, 2 * names);
        ASSERT_TRUE(arm_failpoints(std::string(name) + "=error(internal)@1+"));
        static_cast<void>(compactor_->run_once(context_));
        disarm_failpoints();
        check_rows();
        clock_.advance(std::chrono::hours(1));
        make(std::string(name));
        const auto report = compactor_->run_once(context_);
        ASSERT_TRUE(report) << report.error().message();
        // One of each day.
        EXPECT_EQ(live_parts().size(), static_cast<std::size_t>(names));
        check_rows();
        check_no_orphans();
    }
    EXPECT_GT(names, 12);
}

/// The N-th call of the object store fails, before or after it happened, once and for ever.
TEST_F(CompactorTest, FailingStore) {
    for (const auto effect : {ObjectFaultEffect::kErrorBefore,
                              ObjectFaultEffect::kErrorAfter,
                              ObjectFaultEffect::kShortBody,
                              ObjectFaultEffect::kCorruptBody}) {
        const auto calls = for_each_failure([&](const FaultPlan& plan) {
            EXPECT_TRUE(catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 1'000));
            expected_.clear();
            add_part(1'100);
            add_part(1'100);
            ObjectFault fault;
            if (effect == ObjectFaultEffect::kShortBody ||
                effect == ObjectFaultEffect::kCorruptBody) {
                fault.verbs = {ObjectVerb::kGet};
            }
            fault.plan = plan;
            fault.effect = effect;
            store_.arm(fault);
            static_cast<void>(compactor_->run_once(context_));
            const bool fired = store_.fired() > 0;
            store_.disarm();
            check_rows();
            make();
            return fired;
        });
        EXPECT_GE(calls, 2U);
        round();
        check_no_orphans();
    }
}

/// What the store keeps is not what it was given: the old parts stay.
TEST_F(CompactorTest, AStoreThatKeepsSomethingElse) {
    add_part(1'100);
    add_part(1'100);
    for (const auto step : {"compaction_part_put", "compaction_index_put"}) {
        SCOPED_TRACE(step);
        ASSERT_TRUE(arm_failpoints(std::string(step) + "=pause"));
        std::thread compaction([this] { EXPECT_EQ(round().failures, 1); });
        await_failpoint(step);
        std::string newest;
        EXPECT_TRUE(base_.list(context_, "", [&](const ObjectMeta& object) {
            if (object.key.find('/') != std::string::npos) {
                newest = object.key;  // Not one of the fixture's.
            }
            return true;
        }));
        auto content = *base_.get(context_, newest, 0, UINT64_MAX);
        content[content.size() / 3] ^= std::byte{4};
        ASSERT_TRUE(base_.put(context_, newest, content));
        disarm_failpoints();
        compaction.join();
        EXPECT_EQ(live_parts().size(), 2U);
        check_rows();
    }
    EXPECT_EQ(round().groups_merged, 1);
    check_rows();
    check_no_orphans();
}

/// A part that is written anew: the same rows, with an index.
class RewriteTest : public CompactorTest {
protected:
    StreamSnapshot stream() {
        std::int64_t total = 0;
        return *catalogue_->snapshot(context_, stream_.id, INT64_MAX, INT64_MIN, total);
    }
    Result<bool> rewrite(const PartInfo& part) {
        return compactor_->rewrite_part(context_, stream(), part);
    }
};

TEST_F(RewriteTest, GivesAPartAnIndex) {
    const auto old = add_part(2'500);
    const auto other = add_part(100);
    const auto done = rewrite(old);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_TRUE(*done);
    auto parts = live_parts();
    ASSERT_EQ(parts.size(), 2U);
    std::erase_if(parts, [&](const PartInfo& part) { return part.id == other.id; });
    ASSERT_EQ(parts.size(), 1U);
    EXPECT_NE(parts[0].id, old.id);
    EXPECT_EQ(parts[0].rows, old.rows);
    EXPECT_EQ(parts[0].raw_bytes, old.raw_bytes);
    EXPECT_EQ(parts[0].shard, old.shard);
    EXPECT_EQ(parts[0].time_min_us, old.time_min_us);
    EXPECT_EQ(parts[0].time_max_us, old.time_max_us);
    EXPECT_EQ(parts[0].position_begin, old.position_begin);
    EXPECT_EQ(parts[0].position_end, old.position_end);
    EXPECT_EQ(parts[0].sort_order, old.sort_order);
    ASSERT_EQ(parts[0].objects.size(), 2U);
    EXPECT_EQ(parts[0].objects[1].kind, "index");
    check_rows();
    // It is not live any more.
    const auto again = rewrite(old);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::kConflict) << again.error().message();
    check_rows();
    check_no_orphans();
}

TEST_F(RewriteTest, LeavesAPartToWhoHasItsLease) {
    const auto part = add_part(100);
    const auto day = clock_.now().value / (24 * kHour) - 2;
    const auto name = fmt::format("compaction/{}/{}", stream_.id.value, day % 8);
    const auto lease = catalogue_->acquire_lease(context_, name, "two", 60'000'000, "");
    ASSERT_TRUE(lease);
    const auto held = rewrite(part);
    ASSERT_TRUE(held) << held.error().message();
    EXPECT_FALSE(*held);
    EXPECT_EQ(live_parts().at(0).id, part.id);
    ASSERT_TRUE(catalogue_->release_lease(context_, *lease));
    EXPECT_TRUE(rewrite(part).value_or(false));
}

TEST_F(RewriteTest, NamesADamagedPart) {
    const auto part = add_part(500);
    auto object = *base_.get(context_, part.objects[0].key, 0, UINT64_MAX);
    object[object.size() / 2] ^= std::byte{1};
    ASSERT_TRUE(base_.put(context_, part.objects[0].key, object));
    const auto done = rewrite(part);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(done.error().message(), HasSubstr(part.id));
    EXPECT_EQ(live_parts().at(0).id, part.id);
}

TEST_F(RewriteTest, SaysWhatIsShort) {
    const auto part = add_part(1'000);
    compactor_ =
        *Compactor::make(options_,
                         *catalogue_,
                         store_,
                         fs_,
                         clock_,
                         random_,
                         metrics_,
                         MemoryBudget::make_root("process", "compactor.memory_mb", 10'000));
    const auto done = rewrite(part);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_THAT(done.error().message(), HasSubstr("compactor.memory_mb"));
}

/// The next round, of whatever process, finds the old part or the new one, and no other objects.
TEST_F(RewriteTest, EndedAtAnyStep) {
    int names = 0;
    for (const auto name : failpoint_names()) {
        if (!name.starts_with("compaction_") && !name.starts_with("catalogue_compaction_")) {
            continue;
        }
        SCOPED_TRACE(std::string(name));
        ++names;
        const auto part = add_part(800, 2 * names);
        ASSERT_TRUE(arm_failpoints(std::string(name) + "=error(internal)@1+"));
        static_cast<void>(rewrite(part));
        disarm_failpoints();
        check_rows();
        EXPECT_EQ(live_parts().size(), static_cast<std::size_t>(names));
        check_no_orphans();
    }
    EXPECT_GT(names, 10);
}

}  // namespace
}  // namespace molesignal
