#include "index/id_pack.h"

#include <map>
#include <set>

#include <gmock/gmock.h>

#include "common/random.h"
#include "index/sidecar_fixture.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr FieldId kTrace{3};
constexpr FieldId kUser{4};
constexpr FieldId kLevel{5};

/// Parts with ids, some of several parts; the field of users has many values in some parts, few in
/// others and none in the rest.
class IdPackTest : public testing::Test {
protected:
    void add_part(std::uint32_t rows) {
        TestColumn trace{.id = kTrace.value};
        TestColumn user{.id = kUser.value};
        TestColumn level{.id = kLevel.value};
        const auto number = static_cast<std::uint32_t>(parts_.size());
        const auto users = number % 3 == 0 ? 5'000U : number % 3 == 1 ? 7U : 0U;
        for (std::uint32_t row = 0; row < rows; ++row) {
            trace.values.emplace_back("trace-" + std::to_string(random_.next_u64() % 50'000));
            if (users > 0) {
                user.values.emplace_back("user-" + std::to_string(random_.next_u64() % users));
            }
            level.values.emplace_back(row % 2 == 0 ? "info" : "warn");
        }
        for (const auto* column : {&trace, &user}) {
            for (const auto& value : column->values) {
                has_[*value].insert(number);
            }
        }
        auto columns = std::vector{trace, level};
        if (users > 0) {
            columns.push_back(user);
        }
        parts_.push_back(std::make_unique<OpenSidecar>(make_sidecar(columns, rows)));
    }
    std::vector<IdPackInput> inputs() const {
        std::vector<IdPackInput> inputs;
        for (const auto& part : parts_) {
            inputs.push_back({.part = "part-" + std::to_string(inputs.size()),
                              .index = &part->reader,
                              .source = &part->source});
        }
        return inputs;
    }

    SeededRandom random_{test_seed()};
    std::vector<std::unique_ptr<OpenSidecar>> parts_;
    std::map<std::string, std::set<std::uint32_t>> has_;  ///< Parts by value.
};

TEST_F(IdPackTest, SaysWhichPartsMayHaveAnId) {
    for (int part = 0; part < 40; ++part) {
        add_part(100 + static_cast<std::uint32_t>(random_.next_u64() % 3'000));
    }
    const auto memory = test_memory();
    auto built = build_id_pack(inputs(), memory);
    ASSERT_TRUE(built) << built.error().message();
    EXPECT_EQ(memory->used_bytes(), 0);
    OpenSidecar pack(*built);
    EXPECT_EQ(pack.reader.rows(), 40U);
    ASSERT_THAT(pack.reader.directory().parts, testing::SizeIs(40));
    EXPECT_EQ(pack.reader.directory().parts[39], "part-39");
    // Levels have few values in every part: nothing to pack.
    ASSERT_THAT(pack.reader.fields(), testing::SizeIs(2));
    std::size_t mistaken = 0;
    for (const auto& [value, parts] : has_) {
        const auto field = value.starts_with("user") ? kUser : kTrace;
        const auto found = pack.select(IndexQuery::equals(field, value)).rows.to_list();
        ASSERT_TRUE(std::ranges::includes(found, parts)) << value;
        mistaken += found.size() - parts.size();
    }
    // One look-up in 128 names a part by mistake.
    EXPECT_LT(mistaken, has_.size() / 40);
    std::size_t absent = 0;
    for (int i = 0; i < 2'000; ++i) {
        const auto query = IndexQuery::equals(kTrace, "absent-" + std::to_string(i));
        absent += pack.select(query).rows.count();
    }
    EXPECT_LT(absent, 60U);
    const auto unknown = pack.select(IndexQuery::equals(kLevel, "error"));
    EXPECT_TRUE(unknown.rows.is_all() && !unknown.exact);
    const auto negated =
        pack.select(IndexQuery::negation(IndexQuery::equals(kTrace, has_.begin()->first)));
    EXPECT_TRUE(negated.rows.is_all());
}

TEST_F(IdPackTest, AFieldThatIsNotKnownInAPartIsLeftOut) {
    add_part(2'000);
    // A field without a structure, as one that did not fit into memory.
    SidecarWriter writer({.rows = 10, .all_fields_listed = true}, test_memory());
    writer.list_field(kTrace, 10);
    parts_.push_back(std::make_unique<OpenSidecar>(*writer.finish()));
    const auto built = build_id_pack(inputs(), test_memory());
    ASSERT_TRUE(built) << built.error().message();
    OpenSidecar pack(*built);
    EXPECT_EQ(pack.reader.find(kTrace), nullptr);
    const auto unknown = pack.select(IndexQuery::equals(kTrace, "x"));
    EXPECT_TRUE(unknown.rows.is_all() && !unknown.exact);
    // In the part without users none is there.
    EXPECT_TRUE(pack.select(IndexQuery::equals(kUser, "nobody")).rows.is_none());
}

TEST_F(IdPackTest, WantsTheMemoryItTakes) {
    for (int part = 0; part < 4; ++part) {
        add_part(3'000);
    }
    const auto memory = test_memory(20'000);
    const auto built = build_id_pack(inputs(), memory);
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(memory->used_bytes(), 0);
}

TEST_F(IdPackTest, ADamagedTableIsAnError) {
    add_part(3'000);
    add_part(3'000);
    const auto& field = *parts_[1]->reader.find(kTrace);
    ByteBuffer file = *parts_[1]->source.read(0, parts_[1]->source.size());
    file[field.area(AreaKind::kHashes)->offset] ^= std::byte{1};
    parts_[1] = std::make_unique<OpenSidecar>(file);
    const auto built = build_id_pack(inputs(), test_memory());
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().code(), ErrorCode::kCorruption);
}

}  // namespace
}  // namespace molesignal
