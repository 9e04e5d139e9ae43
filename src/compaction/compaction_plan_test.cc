#include "compaction/compaction_plan.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kMinuteUs = 60'000'000;
constexpr std::int64_t kHourUs = 60 * kMinuteUs;
constexpr std::int64_t kDayUs = 24 * kHourUs;
constexpr std::uint64_t kMegabyte = 1U << 20U;
/// Noon of a day.
constexpr std::int64_t kNow = 19'676 * kDayUs + 12 * kHourUs;

class CompactionPlan : public ::testing::Test {
protected:
    /// A part of `bytes` with rows in [begin, begin + span].
    PartInfo& add(std::int64_t begin_us, std::int64_t span_us, std::uint64_t bytes) {
        PartInfo part;
        part.id = fmt::format("{}", parts_.size());
        part.objects = {
            {.kind = "parquet", .key = part.id, .bytes = static_cast<std::int64_t>(bytes)}};
        part.rows = static_cast<std::int64_t>(bytes / 70) + 1;
        part.raw_bytes = static_cast<std::int64_t>(bytes * 6);
        part.time_min_us = begin_us;
        part.time_max_us = begin_us + span_us;
        for (auto rows = part.rows; rows > 0; rows -= 32'768) {
            part.row_groups.push_back(
                {.rows = std::min<std::int64_t>(rows, 32'768), .byte_end = 1});
        }
        parts_.push_back(std::move(part));
        return parts_.back();
    }
    std::vector<std::vector<std::string>> plan() {
        std::vector<std::vector<std::string>> ids;
        for (const auto& group : plan_compactions(parts_, UnixNanos{kNow * 1000}, options_)) {
            auto& of_group = ids.emplace_back();
            for (const auto& part : group.parts) {
                of_group.push_back(part.id);
            }
        }
        return ids;
    }

    CompactionPlanOptions options_;
    std::vector<PartInfo> parts_;
};

TEST_F(CompactionPlan, NothingToDo) {
    EXPECT_THAT(plan(), IsEmpty());
    add(kNow, 1, kMegabyte);
    EXPECT_THAT(plan(), IsEmpty());
}

TEST_F(CompactionPlan, TodayWaitsForEnoughParts) {
    for (int i = 0; i < 7; ++i) {
        add(kNow - 3 * kHourUs + i * kMinuteUs, kMinuteUs, 20 * kMegabyte);
    }
    EXPECT_THAT(plan(), IsEmpty());
    add(kNow - 4 * kHourUs, kMinuteUs, 20 * kMegabyte);
    // In the order of their times.
    EXPECT_THAT(plan(), ElementsAre(ElementsAre("7", "0", "1", "2", "3", "4", "5", "6")));
}

TEST_F(CompactionPlan, ALargePartIsNotRewrittenForAFewSmallOnes) {
    add(kNow - 5 * kHourUs, kHourUs, 160 * kMegabyte);
    for (int i = 0; i < 8; ++i) {
        add(kNow - 3 * kHourUs + i * kMinuteUs, kMinuteUs, 20 * kMegabyte);
    }
    const auto groups = plan();
    ASSERT_EQ(groups.size(), 1U);
    EXPECT_EQ(groups[0].size(), 8U);
    EXPECT_THAT(groups[0], ::testing::Not(::testing::Contains("0")));
}

TEST_F(CompactionPlan, ADayThatIsOverIsMergedToTheTarget) {
    const auto yesterday = kNow - kDayUs;
    for (int i = 0; i < 5; ++i) {
        add(yesterday + i * kHourUs, kHourUs, 150 * kMegabyte);
    }
    // 450 MB and 300 MB of a target of 512.
    EXPECT_THAT(plan(), ElementsAre(ElementsAre("0", "1", "2"), ElementsAre("3", "4")));
}

TEST_F(CompactionPlan, ADayIsNotOverAtItsEnd) {
    const auto early = 19'676 * kDayUs + kHourUs;
    add(19'675 * kDayUs, kHourUs, kMegabyte);
    add(19'675 * kDayUs, kHourUs, kMegabyte);
    EXPECT_THAT(plan_compactions(parts_, UnixNanos{early * 1000}, options_), IsEmpty());
    EXPECT_EQ(plan_compactions(parts_, UnixNanos{(early + kHourUs) * 1000}, options_).size(), 1U);
}

TEST_F(CompactionPlan, LateRowsDoNotRewriteADay) {
    const auto yesterday = kNow - kDayUs;
    add(yesterday, 12 * kHourUs - 1, 250 * kMegabyte);
    add(yesterday, kHourUs, 10'000);
    EXPECT_THAT(plan(), IsEmpty());
    add(yesterday, kHourUs, 10'000);
    EXPECT_THAT(plan(), ElementsAre(ElementsAre("1", "2")));
}

TEST_F(CompactionPlan, DaysStayApart) {
    const auto midnight = 19'670 * kDayUs;
    add(midnight - kHourUs, kHourUs - 1, kMegabyte);
    add(midnight, kHourUs, kMegabyte);
    EXPECT_THAT(plan(), IsEmpty());
    add(midnight + kHourUs, kHourUs, kMegabyte);
    add(midnight - 2 * kHourUs, kHourUs, kMegabyte);
    EXPECT_THAT(plan(), ElementsAre(ElementsAre("3", "0"), ElementsAre("1", "2")));
}

TEST_F(CompactionPlan, PartsOfManyDaysAreMergedWithTheirLike) {
    const auto week = 7 * 2'800 * kDayUs;
    add(week, 6 * kDayUs, kMegabyte);
    add(week + kDayUs, 2 * kHourUs, kMegabyte);
    EXPECT_THAT(plan(), IsEmpty());
    add(week + kDayUs, 3 * kDayUs, kMegabyte);
    EXPECT_THAT(plan(), ElementsAre(ElementsAre("0", "2")));
}

TEST_F(CompactionPlan, TimesBefore1970) {
    add(-kHourUs, kMinuteUs, kMegabyte);
    add(-2 * kHourUs, kMinuteUs, kMegabyte);
    add(kHourUs, kMinuteUs, kMegabyte);
    EXPECT_THAT(plan(), ElementsAre(ElementsAre("1", "0")));
}

TEST_F(CompactionPlan, MemoryBoundsAGroup) {
    // Parts of one time: a row group of each is open.
    for (int i = 0; i < 12; ++i) {
        add(kNow - kDayUs, kHourUs, 20 * kMegabyte);
    }
    options_.memory_bytes = 400 * kMegabyte;
    EXPECT_EQ(plan().size(), 1U);
    options_.memory_bytes = 100 * kMegabyte;
    const auto groups = plan();
    EXPECT_GT(groups.size(), 1U);
    for (const auto& group : plan_compactions(parts_, UnixNanos{kNow * 1000}, options_)) {
        EXPECT_GE(group.parts.size(), 2U);
    }
}

/// Three days of flushes: every row is rewritten a few times, and few parts are left.
TEST_F(CompactionPlan, WritesEachRowAFewTimes) {
    SeededRandom random(test_seed());
    constexpr std::int64_t kFlushUs = 5 * kMinuteUs;
    std::uint64_t flushed = 0;
    std::uint64_t rewritten = 0;
    std::size_t most_parts = 0;
    int number = 0;
    for (std::int64_t now = kNow; now < kNow + 3 * kDayUs; now += kFlushUs) {
        const auto bytes = 2 * kMegabyte + random.next_u64() % (20 * kMegabyte);
        add(now - kFlushUs, kFlushUs, bytes).id = fmt::format("p{}", ++number);
        flushed += bytes;
        for (const auto& group : plan_compactions(parts_, UnixNanos{now * 1000}, options_)) {
            PartInfo merged = group.parts.front();
            for (const auto& part : group.parts) {
                std::erase_if(parts_, [&](const PartInfo& old) { return old.id == part.id; });
                merged.time_max_us = std::max(merged.time_max_us, part.time_max_us);
            }
            merged.id = fmt::format("p{}", ++number);
            merged.rows =
                std::accumulate(group.parts.begin(),
                                group.parts.end(),
                                std::int64_t{0},
                                [](auto sum, const auto& part) { return sum + part.rows; });
            merged.objects[0].bytes = static_cast<std::int64_t>(group.bytes);
            rewritten += group.bytes;
            parts_.push_back(std::move(merged));
        }
        most_parts = std::max(most_parts, parts_.size());
    }
    const auto times = static_cast<double>(rewritten) / static_cast<double>(flushed);
    EXPECT_LT(times, 3) << "each row is rewritten too often";
    EXPECT_GT(times, 0.9);
    EXPECT_LT(most_parts, 64U);  // 150 seeds: 55 at most.
    std::uint64_t bytes = 0;
    for (const auto& part : parts_) {
        bytes += static_cast<std::uint64_t>(part.objects[0].bytes);
    }
    EXPECT_EQ(bytes, flushed);
}

}  // namespace
}  // namespace molesignal
