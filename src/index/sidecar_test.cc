#include <gmock/gmock.h>

#include "index/sidecar_fixture.h"
#include "index/tokens.h"

namespace molesignal {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr FieldId kBody{1};
constexpr FieldId kLevel{2};
constexpr FieldId kTrace{3};

std::vector<std::uint32_t> rows_of(const RowSelection& selection) {
    return selection.rows.to_list();
}

/// 4,096 rows: texts of two templates, three levels, an id for each row.
std::vector<TestColumn> some_columns() {
    TestColumn body{.id = 1, .is_text = true};
    TestColumn level{.id = 2};
    TestColumn trace{.id = 3};
    for (std::uint32_t row = 0; row < 4'096; ++row) {
        body.values.emplace_back(row % 2 == 0
                                     ? "Connection refused by host " + std::to_string(row % 7)
                                     : "user " + std::to_string(100'000 + row) + " logged in");
        level.values.emplace_back(row < 2'048 ? "info" : row % 2 == 0 ? "warn" : "error");
        trace.values.emplace_back("trace-" + std::to_string(row));
    }
    body.values[8] = std::nullopt;
    body.values[9] = "one " + std::string(100, 'x') + " of a kind";
    return {body, level, trace};
}

TEST(Sidecar, says_what_each_field_has) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto fields = sidecar.reader.fields();
    ASSERT_THAT(fields, SizeIs(3));
    EXPECT_EQ(fields[0].kind, FieldIndexKind::kText);
    EXPECT_EQ(fields[0].present_rows, 4'095U);
    EXPECT_EQ(fields[1].kind, FieldIndexKind::kExact);
    EXPECT_EQ(fields[1].distinct, 3U);
    EXPECT_EQ(fields[2].kind, FieldIndexKind::kHashed);
    EXPECT_NEAR(static_cast<double>(fields[2].distinct), 4'096, 200);
    EXPECT_GT(fields[2].bytes(), 4'096U);
    EXPECT_EQ(sidecar.reader.find(FieldId{4}), nullptr);
}

TEST(Sidecar, words_are_found_exactly) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto refused = sidecar.select(IndexQuery::token(kBody, "refused"));
    EXPECT_TRUE(refused.exact);
    EXPECT_EQ(refused.rows.count(), 2'047U);
    EXPECT_FALSE(refused.rows.contains(8));
    EXPECT_TRUE(sidecar.select(IndexQuery::token(kBody, "refuse")).rows.is_none());
    const auto kind = sidecar.select(IndexQuery::token(kBody, "kind"));
    EXPECT_TRUE(kind.exact);
    EXPECT_THAT(rows_of(kind), ElementsAre(9));
    const auto both = sidecar.select(
        IndexQuery::all({IndexQuery::token(kBody, "refused"), IndexQuery::token(kBody, "6")}));
    EXPECT_TRUE(both.exact);
    EXPECT_EQ(both.rows.count(), 293U);
    EXPECT_TRUE(sidecar.select(IndexQuery::phrase(kBody, {"connection", "refused"})).exact);
    EXPECT_FALSE(sidecar.select(IndexQuery::phrase(kBody, {"refused", "101001"})).exact);
}

TEST(Sidecar, ids_and_long_tokens_are_maybe) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto id = sidecar.select(IndexQuery::token(kBody, "101001"));
    EXPECT_FALSE(id.exact);
    EXPECT_TRUE(id.rows.contains(1'001));
    EXPECT_EQ(id.rows.count(), 1U << kIdBlockBits);
    // A prefix of digits may begin any of the ids, and the long token of row 9.
    EXPECT_EQ(sidecar.select(IndexQuery::prefix(kBody, "1010")).rows.count(), 2'048U);
    EXPECT_THAT(rows_of(sidecar.select(IndexQuery::token(kBody, std::string(70, 'x')))),
                ElementsAre(9));
    EXPECT_TRUE(sidecar.select(IndexQuery::contains(kBody, "xyx", false)).rows.count() == 1);
    EXPECT_TRUE(sidecar.select(IndexQuery::token(kBody, std::string(64, 'x'))).exact);
}

TEST(Sidecar, null_is_no_value) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto absent = sidecar.select(IndexQuery::negation(IndexQuery::present(kBody)));
    EXPECT_TRUE(absent.exact);
    EXPECT_THAT(rows_of(absent), ElementsAre(8));
    const auto other = sidecar.select(IndexQuery::token(FieldId{77}, "refused"));
    EXPECT_TRUE(other.exact && other.rows.is_none());
}

TEST(Sidecar, values_have_counts_and_blocks) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto counts = *sidecar.reader.value_counts(sidecar.source, kLevel, sidecar.stats);
    ASSERT_THAT(*counts, SizeIs(3));
    EXPECT_EQ((*counts)[0].value, "error");
    EXPECT_EQ((*counts)[0].rows, 1'024U);
    // "info" fills its blocks, the others share one.
    const auto info = sidecar.select(IndexQuery::equals(kLevel, "info"));
    EXPECT_TRUE(info.exact);
    EXPECT_EQ(info.rows.ranges(), (std::vector<RowRange>{{0, 2'048}}));
    EXPECT_FALSE(sidecar.select(IndexQuery::equals(kLevel, "warn")).exact);
    EXPECT_TRUE(sidecar.select(IndexQuery::one_of(kLevel, {"error", "warn"})).exact);
    EXPECT_TRUE(sidecar.select(IndexQuery::equals(kLevel, "Info")).exact);
    EXPECT_FALSE(*sidecar.reader.value_counts(sidecar.source, kTrace, sidecar.stats));
}

TEST(Sidecar, ids_name_blocks_of_rows) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto found = sidecar.select(IndexQuery::equals(kTrace, "trace-700"));
    EXPECT_FALSE(found.exact);
    EXPECT_EQ(found.rows.ranges(), (std::vector<RowRange>{{0, 2'048}}));
    const auto several =
        sidecar.select(IndexQuery::one_of(kTrace, {"trace-9000", "trace-1", "trace-2", "x"}));
    EXPECT_EQ(several.rows.ranges(), (std::vector<RowRange>{{0, 2'048}}));
    const auto absent = sidecar.select(IndexQuery::equals(kTrace, ""));
    EXPECT_TRUE(absent.rows.is_none() && absent.exact);
}

/// The ids of a field with many rows, some of them in several blocks.
std::string id_of(std::uint32_t row) {
    return "id-" + std::to_string(row % 3 == 0 ? row / 30'000 : row * 2'654'435'761U);
}

TEST(Sidecar, ids_in_several_passes_are_found_like_in_one) {
    constexpr std::uint32_t kRows = 60'000;
    std::vector<ByteBuffer> files;
    for (const auto pass_rows : {kRows, kRows / 4, kRows / 5, 2'000U}) {
        SidecarWriter writer({.rows = kRows, .pass_rows_max = pass_rows}, test_memory());
        writer.begin_value_field(kTrace);
        std::size_t passes = 0;
        do {
            ++passes;
            for (std::uint32_t row = 0; row < kRows; ++row) {
                writer.add(row, id_of(row));
            }
        } while (writer.next_pass());
        EXPECT_EQ(passes, std::bit_ceil((kRows + pass_rows - 1) / pass_rows));
        ASSERT_TRUE(writer.end_field());
        files.push_back(*writer.finish());
    }
    for (const auto& file : files) {
        OpenSidecar sidecar(file);
        EXPECT_EQ(sidecar.reader.find(kTrace)->present_rows, kRows);
        for (std::uint32_t row = 0; row < kRows; row += 97) {
            const auto found = sidecar.select(IndexQuery::equals(kTrace, id_of(row)));
            ASSERT_TRUE(found.rows.contains(row)) << row;
            // One block; all of them for an id of every third row.
            const auto rows_max = row % 3 == 0 ? 30'000U + 4'096U : 2'048U;
            ASSERT_LE(found.rows.count(), rows_max) << row;
        }
        std::size_t mistaken = 0;
        for (std::uint32_t i = 0; i < 5'000; ++i) {
            const auto absent = IndexQuery::equals(kTrace, "absent-" + std::to_string(i));
            mistaken += sidecar.select(absent).rows.is_none() ? 0 : 1;
        }
        EXPECT_LE(mistaken, 2U);  // 2^16 ids, 2^30 hashes.
    }
}

TEST(Sidecar, few_values_want_one_pass) {
    SidecarWriter writer({.rows = 4'096, .pass_rows_max = 100}, test_memory());
    writer.begin_value_field(kLevel);
    for (std::uint32_t row = 0; row < 4'096; ++row) {
        writer.add(row, row % 2 == 0 ? "info" : "warn");
    }
    EXPECT_FALSE(writer.next_pass());
    ASSERT_TRUE(writer.end_field());
    OpenSidecar sidecar(*writer.finish());
    EXPECT_EQ(sidecar.reader.find(kLevel)->kind, FieldIndexKind::kExact);
}

TEST(Sidecar, needs_is_never_exact) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto needed = sidecar.select(IndexQuery::needs({IndexQuery::token(kBody, "kind")}));
    EXPECT_FALSE(needed.exact);
    EXPECT_THAT(rows_of(needed), ElementsAre(9));
    EXPECT_TRUE(sidecar.select(IndexQuery::needs({IndexQuery::token(kBody, "nobody")})).exact);
}

TEST(Sidecar, a_small_one_is_read_at_once) {
    const auto file = make_sidecar(some_columns(), 4'096);
    ASSERT_LT(file.size(), kSidecarTailBytes);
    MemoryRange source(file);
    SidecarReadStats stats;
    const auto reader = SidecarReader::open(source, {}, &stats);
    ASSERT_TRUE(reader);
    ASSERT_TRUE(reader->select(source, IndexQuery::token(kBody, "refused"), stats));
    ASSERT_TRUE(reader->select(source, IndexQuery::equals(kTrace, "trace-1"), stats));
    EXPECT_EQ(stats.reads, 1U);
    EXPECT_EQ(stats.bytes, file.size());
    // A tail that is known already costs nothing; one that is too short is read again.
    stats = {};
    ASSERT_TRUE(SidecarReader::open(source, file, &stats));
    EXPECT_EQ(stats.reads, 0U);
    ASSERT_TRUE(SidecarReader::open(source, ByteBuffer(file.end() - 40, file.end()), &stats));
    EXPECT_EQ(stats.reads, 1U);
}

TEST(Sidecar, a_large_one_is_read_by_blocks) {
    TestColumn body{.id = 1, .is_text = true};
    for (std::uint32_t row = 0; row < 60'000; ++row) {
        body.values.emplace_back("w" + std::to_string(row * 7'919ULL % 30'000) + "x number " +
                                 std::to_string(row * 2'654'435'761ULL));
    }
    OpenSidecar sidecar(make_sidecar({body}, 60'000));
    ASSERT_GT(sidecar.source.size(), 300'000U);
    const auto selection = sidecar.select(IndexQuery::token(kBody, "w17x"));
    EXPECT_EQ(selection.rows.count(), 2U);
    EXPECT_LE(sidecar.stats.reads, 2U);
    EXPECT_LE(sidecar.stats.bytes, 4U << kSidecarBlockBits);
    // The first condition that finds nothing ends an AND.
    sidecar.stats = {};
    EXPECT_TRUE(sidecar
                    .select(IndexQuery::all({IndexQuery::contains(kBody, "17", false),
                                             IndexQuery::token(kBody, "nothing")}))
                    .rows.is_none());
    EXPECT_LE(sidecar.stats.reads, 1U);
}

TEST(Sidecar, a_field_that_is_too_large_for_the_memory_is_listed_only) {
    const auto memory = test_memory(3 << 20);
    SidecarWriter writer({.rows = 400'000}, memory);
    writer.begin_text_field(kBody);
    for (std::uint32_t row = 0; row < 400'000; ++row) {
        writer.add(row, "word" + std::to_string(row) + "y");
    }
    const auto ended = writer.end_field();
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code(), ErrorCode::kResourceExhausted);
    writer.begin_value_field(kLevel);
    writer.add(5, "info");
    ASSERT_TRUE(writer.end_field());
    OpenSidecar sidecar(*writer.finish());
    EXPECT_EQ(memory->used_bytes(), 0);
    EXPECT_EQ(sidecar.reader.find(kBody)->kind, FieldIndexKind::kNone);
    const auto word = sidecar.select(IndexQuery::token(kBody, "word5y"));
    EXPECT_TRUE(word.rows.is_all() && !word.exact);
    const auto unlisted = sidecar.select(IndexQuery::token(FieldId{9}, "a"));
    EXPECT_TRUE(unlisted.rows.is_all() && !unlisted.exact);
    EXPECT_TRUE(sidecar.select(IndexQuery::equals(kLevel, "info")).rows.contains(5));
}

TEST(Sidecar, the_same_values_give_the_same_bytes) {
    EXPECT_EQ(make_sidecar(some_columns(), 4'096), make_sidecar(some_columns(), 4'096));
}

TEST(Sidecar, the_seed_of_the_tables_does_not_show) {
    const auto with_seed = [](std::uint64_t seed) {
        SidecarWriter writer({.rows = 5'000, .table_seed = seed}, test_memory());
        for (const auto id : {kBody, kLevel}) {
            if (id == kBody) {
                writer.begin_text_field(id);
            } else {
                writer.begin_value_field(id);
            }
            for (std::uint32_t row = 0; row < 5'000; ++row) {
                writer.add(row,
                           "word" + std::to_string(row % 97) + " averylongwordofmanyletters" +
                               std::to_string(row % 31));
            }
            EXPECT_TRUE(writer.end_field());
        }
        return *writer.finish();
    };
    EXPECT_EQ(with_seed(0), with_seed(0x9e3779b97f4a7c15ULL));
}

TEST(Sidecar, a_field_comes_once) {
    SidecarWriter writer({.rows = 1}, test_memory());
    writer.list_field(kBody, 1);
    writer.list_field(kBody, 1);
    EXPECT_EQ(writer.finish().error().code(), ErrorCode::kInternal);
}

TEST(Sidecar, text_fields_are_known_by_name) {
    EXPECT_TRUE(is_text_field_name("message") && is_text_field_name("Body"));
    EXPECT_FALSE(is_text_field_name("message_id") || is_text_field_name(""));
}

TEST(Sidecar, a_test_of_values_is_exact_where_values_are_listed) {
    OpenSidecar sidecar(make_sidecar(some_columns(), 4'096));
    const auto ends_with_o = [](std::string_view value) -> std::optional<bool> {
        return value.ends_with('o');
    };
    const auto info = sidecar.select(IndexQuery::passing(kLevel, ends_with_o, {}));
    EXPECT_TRUE(info.exact);
    EXPECT_EQ(info.rows.count(), 2'048U);
    const auto others =
        sidecar.select(IndexQuery::negation(IndexQuery::passing(kLevel, ends_with_o, {})));
    EXPECT_TRUE(others.exact);
    EXPECT_EQ(others.rows, info.rows.complement());
    // Not certain of some value.
    const auto unsure = sidecar.select(
        IndexQuery::passing(kLevel, [](auto) -> std::optional<bool> { return std::nullopt; }, {}));
    EXPECT_FALSE(unsure.exact);
    EXPECT_TRUE(unsure.rows.is_all());
    // Words and filters: what it needs, as "maybe".
    const auto text = sidecar.select(
        IndexQuery::passing(kBody, ends_with_o, {IndexQuery::contains(kBody, "kind", false)}));
    EXPECT_FALSE(text.exact);
    EXPECT_THAT(rows_of(text), ElementsAre(9));
    EXPECT_TRUE(sidecar.select(IndexQuery::passing(kTrace, ends_with_o, {})).rows.is_all());
    EXPECT_TRUE(sidecar.select(IndexQuery::passing(FieldId{7}, ends_with_o, {})).rows.is_none());
}

TEST(IndexQuery, is_described_in_words) {
    const auto name_of = [](FieldId id) { return "f" + std::to_string(id.value); };
    auto phrase = IndexQuery::phrase(kBody, {"time", "out"});
    phrase.last_is_prefix = true;
    EXPECT_EQ(describe(IndexQuery::all(
                           {IndexQuery::one_of(kLevel, {"a", "b"}),
                            IndexQuery::negation(phrase),
                            IndexQuery::any({IndexQuery::present(kTrace),
                                             IndexQuery::contains(kBody, "x", true),
                                             IndexQuery::needs({IndexQuery::token(kBody, "y")})})}),
                       name_of),
              "(f2 = 'a' or 'b' AND NOT f1 has 'time out*' AND (f3 IS NOT NULL OR "
              "f1 contains in any case 'x' OR needs f1 has 'y'))");
    const auto long_text =
        describe(IndexQuery::equals(kBody, std::string(79, 'x') + "\u00fc"), name_of);
    EXPECT_EQ(long_text, "f1 = '" + std::string(79, 'x') + "…'");
    const auto many =
        describe(IndexQuery::one_of(kBody, std::vector<std::string>(1'000, "some value")), name_of);
    EXPECT_LT(many.size(), 2'200U);
}

TEST(IndexQuery, a_literal_is_cut_into_pieces_of_tokens) {
    EXPECT_THAT(literal_pieces("rror: Disk fu", false, false),
                ElementsAre(LiteralPiece{"rror", false, true},
                            LiteralPiece{"disk", true, true},
                            LiteralPiece{"fu", true, false}));
    EXPECT_THAT(literal_pieces("circuit", false, false),
                ElementsAre(LiteralPiece{"circuit", false, false}));
    EXPECT_THAT(literal_pieces(" -.", false, false), IsEmpty());
    // Letters outside ASCII may be written in another case, whose bytes may be ASCII.
    EXPECT_THAT(literal_pieces("x\u00fcy", true, false),
                ElementsAre(LiteralPiece{"x", false, false}, LiteralPiece{"y", false, false}));
    EXPECT_THAT(literal_pieces(" disk ", true, true), ElementsAre(LiteralPiece{"d", true, false}));
    // A character that is cut in two may be folded in the text.
    EXPECT_THAT(literal_pieces("\x9c"
                               "ber\xc3",
                               false,
                               false),
                ElementsAre(LiteralPiece{"ber", false, false}));
}

}  // namespace
}  // namespace molesignal
