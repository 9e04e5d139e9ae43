// Parts whose objects are not what was written: a query ends with an error, never with wrong rows.
#include <array>

#include "query/sql/engine_fixture.h"
#include "query/sql/parts/page_checks.h"

namespace molesignal {
namespace {

class DamagedObjects : public EngineFixture {
protected:
    /// A part whose object is larger than what is read of its end.
    PartInfo large_part() {
        std::vector<std::int64_t> times;
        std::vector<std::optional<std::uint64_t>> numbers;
        std::vector<std::optional<std::string>> texts;
        for (std::uint64_t i = 0; i < 16'000; ++i) {
            times.push_back(1'700'000'000'000'000'000 + static_cast<std::int64_t>(i));
            numbers.emplace_back(i * 2'654'435'761 % 1'000'003);
            texts.emplace_back(fmt::format("text {:x}", i * 0x9e3779b97f4a7c15));
        }
        return add_part("app",
                        ChunkBuilder(0, times)
                            .fixed("n", FieldType::kInt64, numbers)
                            .text("s", FieldType::kString, texts)
                            .build());
    }
    ByteBuffer content(const PartInfo& part) {
        const auto& object = part.objects.front();
        return *objects_.get(context(), object.key, 0, static_cast<std::uint64_t>(object.bytes));
    }
    void store(const PartInfo& part, const ByteBuffer& bytes) {
        ASSERT_TRUE(objects_.put(context(), part.objects.front().key, bytes));
    }
    std::string outcome() {
        const auto error = failure("SELECT * FROM logs.app");
        return error.code() == ErrorCode::kInternal ? "read" : error.message();
    }
};

TEST_F(DamagedObjects, AFlippedBitIsNeverReadAsAValue) {
    const auto part = large_part();
    const auto good = content(part);
    ASSERT_GT(good.size(), 100'000U);
    ASSERT_EQ(outcome(), "read");
    const auto expected = answer("SELECT sum(n), max(s), count(*) FROM logs.app");
    int damaged = 0;
    for (std::size_t at = 4; at < good.size(); at += 997) {
        auto bad = good;
        bad[at] ^= std::byte{0x10};
        store(part, bad);
        const auto error = failure(
            "SELECT sum(n), max(s), min(_timestamp), max(_position), "
            "max(_timestamp_nanos), max(_shard) FROM logs.app");
        if (error.code() != ErrorCode::kInternal) {
            EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.message();
            ++damaged;
        } else {
            // Nothing that was read is damaged: a page index.
            EXPECT_EQ(answer("SELECT sum(n), max(s), count(*) FROM logs.app"), expected) << at;
        }
    }
    EXPECT_GT(damaged, 80);
    store(part, good);
    EXPECT_EQ(outcome(), "read");
}

/// MS_DAMAGE_CASES sets the number of flips.
TEST_F(DamagedObjects, ARandomFlipIsAnErrorThatNamesThePartOrChangesNothing) {
    std::vector<PartInfo> parts{large_part(), large_part(), add_part("app", numbered_chunk(3))};
    std::vector<ByteBuffer> good;
    for (const auto& part : parts) {
        good.push_back(content(part));
    }
    const std::array<std::string, 4> statements{
        "SELECT sum(n), max(s), count(*), min(_timestamp), max(_position) FROM logs.app",
        "SELECT count(*) FROM logs.app WHERE n > 500000",
        "SELECT n, s FROM logs.app ORDER BY _timestamp DESC, _event_id LIMIT 20",
        "SELECT count(DISTINCT s), sum(length(s)) FROM logs.app WHERE s LIKE '%7%'"};
    std::array<std::string, 4> expected;
    for (std::size_t i = 0; i < statements.size(); ++i) {
        expected[i] = answer(statements[i]);
        ASSERT_FALSE(expected[i].starts_with("error")) << expected[i];
    }
    const auto wanted = test_variable("MS_DAMAGE_CASES");
    const auto cases = wanted.empty() ? 400 : std::strtoull(wanted.c_str(), nullptr, 10);
    const auto seed = test_seed();
    SeededRandom random(seed);
    testing::internal::CaptureStderr();  // Each damage is logged.
    std::uint64_t errors = 0;
    for (std::uint64_t i = 0; i < cases; ++i) {
        const auto which = random.next_u64() % parts.size();
        auto bad = good[which];
        const auto bit = random.next_u64() % (bad.size() * 8);
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        store(parts[which], bad);
        const auto query = random.next_u64() % statements.size();
        const auto seen = answer(statements[query]);
        const bool is_error = seen.starts_with("error: ");
        errors += is_error ? 1 : 0;
        EXPECT_TRUE(is_error ? seen.find(parts[which].id) != std::string::npos
                             : seen == expected[query])
            << "bit " << bit << " of part " << which << ", " << statements[query] << "\n"
            << seen;
        store(parts[which], good[which]);
    }
    (void)testing::internal::GetCapturedStderr();
    EXPECT_GT(errors, cases / 4);
    if (HasFailure()) {
        return;
    }
    record_figure(
        "damaged-files",
        "unit/query/sql",
        fmt::format(
            "{} flips of parts: {} errors that name the part, no wrong answer", cases, errors),
        seed);
}

/// The header of a page has no checksum: what is wrong with it is found by parsing it, here or
/// there.
TEST_F(DamagedObjects, ADamagedPageHeaderNamesThePart) {
    const auto part = large_part();
    const auto good = content(part);
    const std::string statement =
        "SELECT n, s FROM logs.app ORDER BY _timestamp DESC, _event_id LIMIT 20";
    const auto expected = answer(statement);
    testing::internal::CaptureStderr();  // Each damage is logged.
    int errors = 0;
    constexpr std::size_t kBegin = 4;  // Behind "PAR1".
    constexpr std::size_t kEnd = 40;
    for (auto bit = kBegin * 8; bit < kEnd * 8; ++bit) {
        auto bad = good;
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        store(part, bad);
        const auto seen = answer(statement);
        const bool is_error = seen.starts_with("error: ");
        errors += is_error ? 1 : 0;
        EXPECT_TRUE(is_error ? seen.find(part.id) != std::string::npos : seen == expected)
            << "bit " << bit << "\n"
            << seen;
    }
    (void)testing::internal::GetCapturedStderr();
    EXPECT_GT(errors, 100);
}

TEST_F(DamagedObjects, SmallObjectsAreHashedAsAWhole) {
    const auto part = add_part("app", numbered_chunk(3));
    const auto good = content(part);
    for (const std::size_t at : {std::size_t{10}, good.size() / 2, good.size() - 20}) {
        auto bad = good;
        bad[at] ^= std::byte{1};
        store(part, bad);
        EXPECT_NE(outcome().find("its hash is not the catalogue's"), std::string::npos);
    }
}

TEST_F(DamagedObjects, SizeAndPresenceAreTheCatalogues) {
    const auto part = large_part();
    const auto good = content(part);
    auto longer = good;
    longer.push_back(std::byte{0});
    store(part, longer);
    EXPECT_NE(outcome().find("longer than the catalogue says"), std::string::npos);
    auto shorter = good;
    shorter.pop_back();
    store(part, shorter);
    EXPECT_NE(outcome().find("shorter than the catalogue says"), std::string::npos);
    ASSERT_TRUE(objects_.remove(context(), part.objects.front().key));
    EXPECT_NE(outcome().find("it is missing"), std::string::npos);
    EXPECT_EQ(outcome().find(part.objects.front().key), std::string::npos) << "keys are ours";
}

TEST_F(DamagedObjects, AFooterThatIsLargerThanTheTailIsVerifiedToo) {
    ChunkBuilder wide(0, {1, 2});
    for (int i = 0; i < 900; ++i) {
        wide.fixed(fmt::format("a_field_with_a_long_name_{}", i), FieldType::kInt64, {1, 2});
    }
    const auto part = add_part("app", wide.build());
    const auto good = content(part);
    const auto footer = load_le<std::uint32_t>(good, good.size() - 8);
    ASSERT_GT(footer, 70'000U);
    const auto read = [this] {
        const auto error = failure("SELECT a_field_with_a_long_name_7 FROM logs.app");
        return error.code() == ErrorCode::kInternal ? "read" : error.message();
    };
    ASSERT_EQ(read(), "read");
    for (const std::size_t from_end : {std::size_t{footer}, std::size_t{footer} / 2}) {
        auto bad = good;
        bad[good.size() - from_end] ^= std::byte{1};
        store(part, bad);
        EXPECT_NE(read(), "read") << from_end;
    }
}

TEST_F(DamagedObjects, PagesAreWalkedWithoutTrust) {
    EXPECT_TRUE(check_pages(""));
    EXPECT_FALSE(check_pages("x"));
    EXPECT_FALSE(check_pages(std::string(100, '\0')));
    // Random bytes: an answer, not a crash.
    for (int round = 0; round < 20'000; ++round) {
        std::array<std::byte, 64> bytes{};
        random_.fill(bytes);
        (void)check_pages(as_text(bytes));
    }
}

}  // namespace
}  // namespace molesignal
