#include "storage/part_dump/part_list_file.h"

#include <algorithm>

#include <gmock/gmock.h>

#include "storage/part_dump/part_list_fixture.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;

TEST(PartListFile, GivesBackWhatWasWritten) {
    SeededRandom random(test_seed());
    for (const std::size_t count : {1U, 2U, 500U}) {
        const auto parts = random_parts(random, count);
        const auto file = encode_part_list(parts, "2026-11-26", nullptr);
        ASSERT_TRUE(file) << file.error().message();
        const auto back = decode_part_list(*file, nullptr);
        ASSERT_TRUE(back) << back.error().message();
        EXPECT_TRUE(*back == parts);
    }
}

TEST(PartListFile, AllocationsAreCountedAndGivenBack) {
    SeededRandom random(test_seed());
    const auto memory = MemoryBudget::make_root("test", "none", 1LL << 40);
    const auto file = encode_part_list(random_parts(random, 300), "2026-11-26", memory);
    ASSERT_TRUE(file);
    EXPECT_GT(memory->peak_bytes(), 10'000);
    ASSERT_TRUE(decode_part_list(*file, memory));
    EXPECT_EQ(memory->used_bytes(), 0);
}

TEST(PartListFile, SomethingElseIsNamed) {
    SeededRandom random(test_seed());
    const auto nothing = decode_part_list({}, nullptr);
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().code(), ErrorCode::kCorruption);
    auto file = *encode_part_list(random_parts(random, 3), "2026-11-26", nullptr);
    // A later version's.
    const std::string_view name = "molesignal.part_list_version";
    auto text = std::string(as_text(file));
    const auto at = text.find(name);
    ASSERT_NE(at, std::string::npos);
    ASSERT_EQ(text.find(name, at + 1), std::string::npos) << "the value is searched behind it";
    text[text.find('1', at)] = '2';
    const auto later = decode_part_list(as_bytes(text), nullptr);
    ASSERT_FALSE(later);
    EXPECT_EQ(later.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(later.error().message(), HasSubstr("version '2' is unknown"));
}

/// The reader verifies the whole object before; what is decoded all the same must not end the
/// process.
TEST(PartListFile, DamageIsAnErrorOrHarmless) {
    SeededRandom random(test_seed());
    const auto parts = random_parts(random, 4);
    const auto file = *encode_part_list(parts, "2026-11-26", nullptr);
    for (std::size_t size = 0; size < file.size(); size += 7) {
        EXPECT_FALSE(decode_part_list(Bytes(file).first(size), nullptr)) << size;
    }
    for (int i = 0; i < 500; ++i) {
        auto damaged = file;
        damaged[random.next_u64() % damaged.size()] ^=
            static_cast<std::byte>(1U << random.next_u64() % 8);
        const auto decoded = decode_part_list(damaged, nullptr);
        if (!decoded) {
            EXPECT_EQ(decoded.error().code(), ErrorCode::kCorruption);
        }
    }
}

}  // namespace
}  // namespace molesignal
