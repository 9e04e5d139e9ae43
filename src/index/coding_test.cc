#include "index/coding.h"

#include <algorithm>
#include <array>
#include <set>

#include <gmock/gmock.h>

#include "common/random.h"
#include "index/row_set.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::uint32_t> random_rows(Random& random, std::uint32_t rows) {
    std::set<std::uint32_t> chosen;
    const auto shape = random.next_u64() % 4;
    const auto count = random.next_u64() % (shape == 0 ? rows + 1 : rows / 50 + 2);
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto row = static_cast<std::uint32_t>(random.next_u64() % rows);
        chosen.insert(row);
        for (std::uint32_t run = 0; shape == 3 && run < 40; ++run) {
            chosen.insert(std::min(row + run, rows - 1));
        }
    }
    return {chosen.begin(), chosen.end()};
}

TEST(Coding, varints_have_one_form) {
    for (const std::uint64_t value : {0ULL, 127ULL, 128ULL, 1ULL << 32U, ~0ULL}) {
        ByteBuffer out;
        append_varint(out, value);
        ByteReader in(out);
        EXPECT_EQ(in.varint(), value);
        EXPECT_TRUE(in.ok() && in.left() == 0);
        ByteReader small(out);
        EXPECT_TRUE(value == 0 || (small.varint(value - 1) == 0 && !small.ok()));
    }
    const std::vector<std::string> damaged = {
        "", "\x80", std::string("\x80\0", 2), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"};
    for (const auto& bytes : damaged) {
        ByteReader in(as_bytes(bytes));
        (void)in.varint();
        EXPECT_FALSE(in.ok());
    }
}

TEST(Coding, ascending_numbers_come_back) {
    SeededRandom random(test_seed());
    for (int round = 0; round < 2'000; ++round) {
        const auto universe = static_cast<std::uint32_t>(random.next_u64() % 5'000 + 1);
        const auto rows = random_rows(random, universe);
        if (rows.empty()) {
            continue;
        }
        ByteBuffer out;
        append_ascending(out, rows);
        std::vector<std::uint32_t> read;
        ASSERT_TRUE(read_ascending(out, rows.size(), universe, read));
        ASSERT_EQ(read, rows);
        // Not with another count, a smaller universe, or fewer bytes.
        ASSERT_FALSE(read_ascending(out, rows.size(), rows.back(), read));
        ASSERT_FALSE(read_ascending(out, rows.size() + 9, universe + 9, read));
        out.pop_back();
        ASSERT_FALSE(read_ascending(out, rows.size(), universe, read));
    }
}

TEST(Coding, far_numbers_and_damage_are_read_in_bounds) {
    ByteBuffer out;
    const std::vector<std::uint32_t> far = {0, 1, 2, 3, UINT32_MAX - 1};
    append_ascending(out, far);
    std::vector<std::uint32_t> read;
    EXPECT_TRUE(read_ascending(out, far.size(), UINT32_MAX, read));
    EXPECT_EQ(read, far);
    SeededRandom random(test_seed());
    for (int round = 0; round < 20'000; ++round) {
        ByteBuffer bytes(random.next_u64() % 40);
        random.fill(bytes);
        if (!bytes.empty()) {
            bytes[0] = static_cast<std::byte>(random.next_u64() % 34);
        }
        read.clear();
        if (read_ascending(bytes, random.next_u64() % 300, 1'000, read)) {
            ASSERT_TRUE(std::ranges::is_sorted(read) && read.back() < 1'000);
        }
    }
}

TEST(RowSet, works_like_a_set_of_numbers) {
    SeededRandom random(test_seed());
    for (const std::uint32_t rows : {1U, 63U, 64U, 65U, 1'000U, 10'000U}) {
        for (int round = 0; round < 50; ++round) {
            const auto a = random_rows(random, rows);
            const auto b = random_rows(random, rows);
            const auto set_a = RowSet::from_list(rows, a);
            const auto set_b = RowSet::from_list(rows, b);
            std::vector<std::uint32_t> expected;
            std::ranges::set_intersection(a, b, std::back_inserter(expected));
            ASSERT_EQ(set_a.intersected(set_b).to_list(), expected);
            expected.clear();
            std::ranges::set_union(a, b, std::back_inserter(expected));
            ASSERT_EQ(set_a.united(set_b).to_list(), expected);
            ASSERT_EQ(set_a.united(set_b).count(), expected.size());
            ASSERT_EQ(set_a.united(set_a.complement()), RowSet::all(rows));
            ASSERT_EQ(set_a.intersected(set_a.complement()), RowSet::none(rows));
            ASSERT_EQ(set_a.complement().complement(), set_a);
            ASSERT_EQ(RowSet::from_ranges(rows, set_a.ranges()), set_a);
            RowSetBuilder builder(rows, round % 2 == 0 ? 1 : rows);
            builder.add(b);
            builder.add(a);
            builder.add(RowRange{0, 1});
            ASSERT_EQ(std::move(builder).build(),
                      set_a.united(set_b).united(RowSet::from_list(rows, {0})));
            ASSERT_EQ(set_a.contains(0), !a.empty() && a[0] == 0);
        }
    }
}

TEST(RowSet, lists_what_lies_between) {
    constexpr std::uint32_t kRows = 1'000;
    std::vector<std::uint32_t> many;
    for (std::uint32_t row = 0; row < kRows; ++row) {
        if (row % 3 == 1 || (row > 200 && row < 400)) {
            many.push_back(row);
        }
    }
    const std::vector<RowSet> sets = {
        RowSet::none(kRows),
        RowSet::all(kRows),
        RowSet::from_list(kRows, {0, 63, 64, 65, 127, 999}),
        RowSet::from_list(kRows, many)
            .united(RowSet::from_ranges(kRows, std::array{RowRange{640, 800}}))};
    for (const auto& set : sets) {
        for (std::uint32_t begin = 0; begin < kRows; begin += 7) {
            for (const auto end :
                 {begin, begin + 1, begin + 63, begin + 64, begin + 300, kRows + 50}) {
                std::vector<std::uint32_t> expected;
                for (auto row = begin; row < std::min(end, kRows); ++row) {
                    if (set.contains(row)) {
                        expected.push_back(row - begin);
                    }
                }
                std::vector<std::uint32_t> found(end - begin + 1);
                found.resize(set.list_between(begin, end, found.data()));
                ASSERT_EQ(found, expected) << begin << " " << end;
                ASSERT_EQ(set.has_between(begin, end), !expected.empty()) << begin << " " << end;
            }
        }
    }
}

TEST(RowSelection, knows_what_is_exact) {
    const auto some = RowSelection{RowSet::from_list(9, {1, 2}), true};
    const auto maybe = RowSelection{RowSet::from_list(9, {2, 3}), false};
    EXPECT_TRUE((some & some).exact);
    EXPECT_FALSE((some & maybe).exact);
    EXPECT_FALSE((some | maybe).exact);
    EXPECT_TRUE((RowSelection::none(9) & maybe).exact);
    EXPECT_TRUE((RowSelection::all(9) | maybe).exact);
    // Nothing is left of what could be.
    EXPECT_TRUE((RowSelection{RowSet::from_list(9, {7}), true} & maybe).exact);
    EXPECT_TRUE((!some).exact);
    EXPECT_EQ((!some).rows.count(), 7U);
    EXPECT_TRUE((!maybe).rows.is_all());
    EXPECT_FALSE((!maybe).exact);
}

}  // namespace
}  // namespace molesignal
