#include "compaction/id_packer.h"

#include <gmock/gmock.h>

#include "common/failpoint.h"
#include "compaction/compactor_fixture.h"
#include "compaction/part_dumper.h"
#include "compaction/part_input.h"
#include "index/sidecar_reader.h"
#include "tests/support/fault_plan.h"

namespace molesignal {
namespace {

class IdPackerTest : public CompactorTest {
protected:
    IdPackerTest() {
        options_.packer.parts_min = 3;
        options_.packer.parts_max = 64;
        make();
    }
    /// Merged parts, which have an index, one for each of the days [begin, end).
    void add_merged(int begin, int end) {
        for (int days = begin; days < end; ++days) {
            add_part(rows_, days);
            add_part(rows_, days);
        }
        round();
    }
    /// The parts that packs are of, by pack.
    std::vector<std::vector<std::string>> packed() {
        std::vector<std::vector<std::string>> packed;
        for (const auto& pack : snapshot().id_packs) {
            ObjectRange source(context_, base_, pack.object);
            const auto index = SidecarReader::open(source);
            EXPECT_TRUE(index) << index.error().message();
            packed.push_back(index->directory().parts);
        }
        return packed;
    }
    /// Every live part is in a pack, and an id of each leads to it.
    void check_packs() {
        const auto now = snapshot();
        std::set<std::string> parts;
        for (const auto& pack : packed()) {
            parts.insert(pack.begin(), pack.end());
        }
        for (const auto& part : now.parts) {
            EXPECT_TRUE(parts.contains(part.id)) << part.id;
        }
        TestRows rows;
        for (const auto& part : now.parts) {
            TestRows of_part;
            maker_->read(base_, context_, part, of_part);
            for (const auto& [key, row] : of_part) {
                const auto id = row.find("trace_id/string");
                if (id != row.end()) {
                    check_found(now, part.id, id->second);
                    break;
                }
            }
        }
    }
    std::uint32_t rows_ = 300;

    void check_found(const StreamSnapshot& now, const std::string& part, const std::string& id) {
        bool is_found = false;
        for (const auto& pack : now.id_packs) {
            ObjectRange source(context_, base_, pack.object);
            const auto index = SidecarReader::open(source);
            ASSERT_TRUE(index);
            SidecarReadStats stats;
            const auto rows = index->select(source, IndexQuery::equals(FieldId{5}, id), stats);
            ASSERT_TRUE(rows) << rows.error().message();
            for (const auto row : rows->rows.to_list()) {
                is_found = is_found || index->directory().parts[row] == part;
            }
        }
        EXPECT_TRUE(is_found) << id << " in " << part;
    }
};

TEST_F(IdPackerTest, PacksWhatHasNoPack) {
    add_merged(2, 6);
    EXPECT_TRUE(snapshot().id_packs.empty()) << "merged first";
    EXPECT_EQ(round().packs_written, 1);
    const auto packs = snapshot().id_packs;
    ASSERT_EQ(packs.size(), 1U);
    check_packs();
    std::int64_t time_min = INT64_MAX;
    std::int64_t time_max = INT64_MIN;
    for (const auto& part : live_parts()) {
        time_min = std::min(time_min, part.time_min_us);
        time_max = std::max(time_max, part.time_max_us);
    }
    EXPECT_EQ(packs[0].time_min_us, time_min);
    EXPECT_EQ(packs[0].time_max_us, time_max);
    // By time, and seen by who asks for a time of its parts only.
    std::int64_t total = 0;
    EXPECT_EQ(
        catalogue_->snapshot(context_, stream_.id, time_max, INT64_MAX, total)->id_packs.size(),
        1U);
    EXPECT_TRUE(catalogue_->snapshot(context_, stream_.id, time_max + 1, INT64_MAX, total)
                    ->id_packs.empty());
    EXPECT_EQ(round().packs_written, 0);
    // Another process finds out what the packs are of.
    make("two");
    EXPECT_EQ(round().packs_written, 0);
    add_merged(6, 8);
    EXPECT_EQ(round().packs_written, 0) << "two parts are few";
    add_merged(8, 9);
    EXPECT_EQ(round().packs_written, 1);
    EXPECT_EQ(snapshot().id_packs.size(), 2U);
    check_packs();
    check_no_orphans();
}

TEST_F(IdPackerTest, PutsSmallPacksTogether) {
    for (int days = 2; days < 14; days += 3) {
        add_merged(days, days + 3);
        EXPECT_EQ(round().packs_written, 1);
    }
    EXPECT_EQ(snapshot().id_packs.size(), 4U);
    EXPECT_EQ(round().packs_written, 1);
    ASSERT_EQ(packed().size(), 1U);
    EXPECT_EQ(packed()[0].size(), 12U);
    check_packs();
    EXPECT_EQ(round().packs_written, 0);
    check_no_orphans();
}

TEST_F(IdPackerTest, APackOfPartsThatAreGoneGoes) {
    add_merged(2, 10);
    EXPECT_EQ(round().packs_written, 1);
    const auto hours = [&](int days) { return (clock_.now().value - days * 24 * kHour) / 1000; };
    ASSERT_TRUE(catalogue_->expire_parts(context_, stream_.id, hours(7), 100));
    EXPECT_EQ(round().packs_written, 0) << "most of it lives";
    ASSERT_TRUE(catalogue_->expire_parts(context_, stream_.id, hours(5), 100));
    expected_.clear();
    EXPECT_EQ(round().packs_written, 1);
    ASSERT_EQ(packed().size(), 1U);
    EXPECT_EQ(packed()[0].size(), live_parts().size());
    ASSERT_TRUE(catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 100));
    EXPECT_EQ(round().packs_written, 0);
    EXPECT_TRUE(snapshot().id_packs.empty());
    check_no_orphans();
}

TEST_F(IdPackerTest, ADamagedPackIsMadeAnew) {
    add_merged(2, 6);
    EXPECT_EQ(round().packs_written, 1);
    const auto key = snapshot().id_packs[0].object.key;
    auto content = *base_.get(context_, key, 0, UINT64_MAX);
    content.back() ^= std::byte{1};
    ASSERT_TRUE(base_.put(context_, key, content));
    EXPECT_EQ(round().packs_written, 1);
    ASSERT_EQ(snapshot().id_packs.size(), 1U);
    EXPECT_NE(snapshot().id_packs[0].object.key, key);
    check_packs();
    check_no_orphans();
}

TEST_F(IdPackerTest, ADamagedIndexIsLeftOut) {
    add_merged(2, 7);
    const auto part = live_parts()[1];
    const auto* index = find_object(part, "index");
    auto content = *base_.get(context_, index->key, 0, UINT64_MAX);
    content.back() ^= std::byte{1};
    ASSERT_TRUE(base_.put(context_, index->key, content));
    EXPECT_EQ(round().packs_written, 1);
    ASSERT_EQ(packed().size(), 1U);
    EXPECT_EQ(packed()[0].size(), 4U);
    EXPECT_THAT(packed()[0], testing::Not(testing::Contains(part.id)));
    EXPECT_EQ(round().packs_written, 0);
}

TEST_F(IdPackerTest, ADeletedStreamTakesItsPacksAlong) {
    add_merged(2, 6);
    EXPECT_EQ(round().packs_written, 1);
    ASSERT_TRUE(catalogue_->delete_stream(context_, stream_.org, stream_.id));
    Retention retention({.retention_days = 0}, *catalogue_, base_, clock_, metrics_);
    clock_.advance(std::chrono::hours(1));
    ASSERT_TRUE(retention.run_once(context_));
    clock_.advance(std::chrono::hours(1));
    ASSERT_TRUE(retention.run_once(context_));
    EXPECT_TRUE(base_.list(context_, "", [&](const ObjectMeta& object) {
        EXPECT_EQ(object.key.find(".ids"), std::string::npos) << object.key;
        return true;
    }));
    EXPECT_TRUE(catalogue_->list_id_packs(context_, "", 10)->empty());
}

TEST_F(IdPackerTest, PartsOfLargeTablesAreAskedThemselves) {
    options_.packer.part_bytes_max = 100;
    make();
    add_merged(2, 6);
    EXPECT_EQ(round().packs_written, 0);
    options_.packer.part_bytes_max = 1U << 20U;
    options_.packer.table_bytes_max = 3'000;
    make();
    EXPECT_EQ(round().packs_written, 1);
    EXPECT_EQ(packed().at(0).size(), 3U) << "the tables of all four do not fit";
}

/// A process that ends anywhere leaves the packs of before or the new one; the next cleans up.
TEST_F(IdPackerTest, EndedAtAnyStep) {
    int names = 0;
    add_merged(1, 4);
    for (const auto name : failpoint_names()) {
        if (!name.starts_with("id_pack_") && !name.starts_with("catalogue_id_pack_") &&
            !name.starts_with("catalogue_compaction_intent_")) {
            continue;
        }
        SCOPED_TRACE(std::string(name));
        ++names;
        ASSERT_TRUE(arm_failpoints(std::string(name) + "=error(internal)@1+"));
        static_cast<void>(compactor_->run_once(context_));
        disarm_failpoints();
        clock_.advance(std::chrono::hours(1));
        make(std::string(name));
        ASSERT_TRUE(compactor_->run_once(context_));
        check_packs();
        check_no_orphans();
        // Something new to pack for the next.
        add_merged(4 + 3 * names, 7 + 3 * names);
    }
    EXPECT_GE(names, 8);
    check_rows();
}

TEST_F(IdPackerTest, RetentionThatEndsInBetweenGoesOn) {
    add_merged(2, 6);
    EXPECT_EQ(round().packs_written, 1);
    ASSERT_TRUE(catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 100));
    expected_.clear();
    round();
    ASSERT_EQ(catalogue_->list_removed_id_packs(context_, 0, 10)->size(), 1U);
    clock_.advance(std::chrono::hours(1));
    Retention retention({.retention_days = 0}, *catalogue_, base_, clock_, metrics_);
    ASSERT_TRUE(arm_failpoints("retention_id_pack_removed=error(internal)@1+"));
    EXPECT_FALSE(retention.run_once(context_));
    disarm_failpoints();
    EXPECT_EQ(catalogue_->list_removed_id_packs(context_, 0, 10)->size(), 1U);
    ASSERT_TRUE(retention.run_once(context_));
    EXPECT_TRUE(catalogue_->list_removed_id_packs(context_, 0, 10)->empty());
}

/// The N-th call of the object store fails, before or after it happened, once and for ever.
TEST_F(IdPackerTest, FailingStore) {
    rows_ = 30;
    for (const auto effect : {ObjectFaultEffect::kErrorBefore,
                              ObjectFaultEffect::kErrorAfter,
                              ObjectFaultEffect::kShortBody,
                              ObjectFaultEffect::kCorruptBody}) {
        const auto calls = for_each_failure([&](const FaultPlan& plan) {
            EXPECT_TRUE(catalogue_->expire_parts(context_, stream_.id, INT64_MAX, 1'000));
            expected_.clear();
            add_merged(2, 5);
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
            round();
            return fired;
        });
        EXPECT_GE(calls, 2U);
        check_packs();
        check_no_orphans();
    }
}

/// Parts that an object lists are not in the catalogue's table; they are live all the same.
TEST_F(IdPackerTest, APackOfDumpedPartsStays) {
    add_merged(2, 6);
    ASSERT_EQ(round().packs_written, 1);
    const auto packs = *catalogue_->list_id_packs(context_, "", 10);
    ASSERT_EQ(packs.size(), 1U);
    PartDumper dumper({.plan = options_.plan, .cold_after_days = 0, .holder = {.name = "one"}},
                      *catalogue_,
                      base_,
                      clock_,
                      random_,
                      metrics_,
                      nullptr);
    ASSERT_EQ(dumper.run_once(context_)->dumps_written, 4);
    EXPECT_EQ(round().packs_written, 0);
    const auto after = *catalogue_->list_id_packs(context_, "", 10);
    ASSERT_EQ(after.size(), 1U);
    EXPECT_EQ(after[0].id, packs[0].id);
}

}  // namespace
}  // namespace molesignal
