#include "parquet/part_plan.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "common/random.h"
#include "parquet/part_fixture.h"

namespace molesignal {
namespace {

constexpr std::int64_t kHour = 3'600'000'000'000;
constexpr std::int64_t kDay = 24 * kHour;
/// 2023-11-14 22:13:20 UTC.
constexpr UnixNanos kNow{1'700'000'000'000'000'000};

std::int64_t time_of(const std::vector<HotChunk>& chunks, RowRef ref) {
    return chunks[ref.chunk()].timestamps[ref.row()];
}

TEST(PartPlan, NewestHoursApartOlderRowsByDay) {
    const auto now = kNow.value;
    const std::vector<HotChunk> chunks = {ChunkBuilder(0,
                                                       {now,
                                                        now - kHour,
                                                        now - 2 * kHour,
                                                        now - 5 * kHour,
                                                        now - 6 * kHour,
                                                        now - 2 * kDay,
                                                        now + kHour,
                                                        -1})
                                              .build()};
    const auto slices = plan_parts(chunks, kNow, 100);
    std::vector<std::size_t> sizes;
    for (const auto& slice : slices) {
        sizes.push_back(slice.rows.size());
        EXPECT_TRUE(slice.sort_field.empty());
    }
    // Before 1970, two days ago, five and six hours ago (one day), then an hour each.
    EXPECT_EQ(sizes, (std::vector<std::size_t>{1, 1, 2, 1, 1, 1, 1}));
    EXPECT_EQ(slices[2].time_min_ns, now - 6 * kHour);
    EXPECT_EQ(slices[2].time_max_ns, now - 5 * kHour);
}

TEST(PartPlan, ABackfillOfManyDaysMakesFewParts) {
    std::vector<std::int64_t> times = {kNow.value};
    for (int day = 1; day <= 700; ++day) {
        times.push_back(kNow.value - day * kDay);
    }
    const std::vector<HotChunk> chunks = {ChunkBuilder(0, times).build()};
    EXPECT_EQ(plan_parts(chunks, kNow, 100).size(), 701U);
    for (const std::size_t parts_max : {200U, 64U, 10U, 2U}) {
        const auto slices = plan_parts(chunks, kNow, 100, parts_max);
        EXPECT_LE(slices.size(), parts_max);
        EXPECT_GT(slices.size(), parts_max / 9);
        std::size_t rows = 0;
        std::int64_t end = INT64_MIN;
        for (const auto& slice : slices) {
            rows += slice.rows.size();
            EXPECT_GT(slice.time_min_ns, end) << "parts are disjoint in time";
            end = slice.time_max_ns;
        }
        EXPECT_EQ(rows, times.size());
        EXPECT_EQ(slices.back().rows.size(), 1U) << "the newest hours stay apart";
    }
}

TEST(PartPlan, RowGroupsAreDisjointInTimeNewestFirstAndSortedByService) {
    const auto now = kNow.value;
    const std::vector<HotChunk> chunks = {
        ChunkBuilder(0, {now - 1, now - 2, now - 3, now - 4, now - 5})
            .coded("service", {"web", "api"}, {0, 1, 0, 1, 1})
            .build()};
    const auto slices = plan_parts(chunks, kNow, 3);
    ASSERT_EQ(slices.size(), 1U);
    EXPECT_EQ(slices[0].sort_field, "service");
    EXPECT_EQ(slices[0].group_ends, (std::vector<std::size_t>{3, 5}));
    std::vector<std::int64_t> ages;
    for (const auto ref : slices[0].rows) {
        ages.push_back(now - time_of(chunks, ref));
    }
    // First group: the newest three, api before web, each newest first.
    EXPECT_EQ(ages, (std::vector<std::int64_t>{2, 1, 3, 4, 5}));
}

TEST(PartPlan, RowsBelowTheBeginOfAViewAreNotPlanned) {
    auto chunk = ChunkBuilder(0, {kNow.value, kNow.value - 1, kNow.value - 2}).build();
    chunk.begin = 2;
    const std::vector<HotChunk> chunks = {chunk};
    const auto slices = plan_parts(chunks, kNow, 10);
    ASSERT_EQ(slices.size(), 1U);
    EXPECT_EQ(slices[0].rows.size(), 1U);
    EXPECT_TRUE(plan_parts({}, kNow, 10).empty());
}

TEST(PartPlan, EveryRowOnceWhateverTheTimes) {
    SeededRandom random(11);
    std::vector<HotChunk> chunks;
    std::size_t rows = 0;
    for (int i = 0; i < 5; ++i) {
        std::vector<std::int64_t> times;
        std::vector<std::optional<std::string>> services;
        for (int row = 0; row < 500; ++row) {
            times.push_back(kNow.value - static_cast<std::int64_t>(random.next_u64() % (5 * kDay)));
            services.emplace_back(random.next_u64() % 7 == 0
                                      ? std::nullopt
                                      : std::optional("s" + std::to_string(random.next_u64() % 9)));
        }
        chunks.push_back(ChunkBuilder(500 * static_cast<std::uint64_t>(i), times)
                             .text("service.name", FieldType::kString, services)
                             .build());
        rows += 500;
    }
    const auto slices = plan_parts(chunks, kNow, 64);
    std::set<std::uint32_t> seen;
    for (const auto& slice : slices) {
        ASSERT_EQ(slice.group_ends.back(), slice.rows.size());
        std::size_t begin = 0;
        auto group_oldest = INT64_MAX;
        for (const auto end : slice.group_ends) {
            auto newest = INT64_MIN;
            auto oldest = INT64_MAX;
            for (auto i = begin; i < end; ++i) {
                EXPECT_TRUE(seen.insert(slice.rows[i].value).second) << "planned twice";
                newest = std::max(newest, time_of(chunks, slice.rows[i]));
                oldest = std::min(oldest, time_of(chunks, slice.rows[i]));
            }
            EXPECT_LE(newest, group_oldest) << "groups overlap in time";
            EXPECT_LE(end - begin, 64U);
            EXPECT_GE(oldest, slice.time_min_ns);
            EXPECT_LE(newest, slice.time_max_ns);
            group_oldest = oldest;
            begin = end;
        }
    }
    EXPECT_EQ(seen.size(), rows);
}

TEST(PartPlan, TooManyServicesAreNoSortField) {
    std::vector<HotChunk> chunks;
    for (int i = 0; i < 2; ++i) {
        std::vector<std::int64_t> times(3000, kNow.value);
        std::vector<std::optional<std::string>> names;
        std::vector<std::optional<std::string>> hosts;
        for (int row = 0; row < 3000; ++row) {
            names.emplace_back(std::to_string(i * 3000 + row));
            hosts.emplace_back("h" + std::to_string(row % 3));
        }
        chunks.push_back(ChunkBuilder(0, times)
                             .text("service", FieldType::kString, names)
                             .text("host", FieldType::kString, hosts)
                             .build());
    }
    EXPECT_EQ(plan_parts(chunks, kNow, 1000).at(0).sort_field, "host");
}

TEST(PartPlan, LargeTextsEndARowGroupEarly) {
    // One text of 40 MB that most rows repeat: a dictionary keeps it once, a writer may not.
    const std::string large(40U << 20U, 'x');
    std::vector<std::int64_t> times;
    std::vector<std::uint16_t> codes;
    for (std::int64_t row = 0; row < 12; ++row) {
        times.push_back(row);
        codes.push_back(row % 4 == 3 ? 1 : 0);
    }
    const auto chunk = ChunkBuilder(0, times).coded("trace", {large, "small"}, codes).build();
    const auto slices = plan_parts(std::span(&chunk, 1), UnixNanos{0}, 1000);
    ASSERT_EQ(slices.size(), 1U);
    // From the newest on: s L L L s L | L L s L L L would be more than four large ones each.
    std::size_t begin = 0;
    for (const auto end : slices[0].group_ends) {
        std::size_t bytes = 0;
        for (auto i = begin; i < end; ++i) {
            bytes += chunk.columns[0].text_at(slices[0].rows[i].row()).size();
        }
        EXPECT_LE(bytes, (128U << 20U) + large.size());
        begin = end;
    }
    EXPECT_EQ(begin, 12U);
    EXPECT_GT(slices[0].group_ends.size(), 1U);
}

}  // namespace
}  // namespace molesignal
