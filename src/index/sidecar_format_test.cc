#include "index/sidecar_format.h"

#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "index/sidecar_fixture.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

/// The hex digits of the example in docs/formats/index.md; " -- " begins a comment.
std::string hex_of_example() {
    std::ifstream file(test_variable("MS_SOURCE_DIR") + "/docs/formats/index.md");
    std::string hex;
    bool in_example = false;
    bool in_code = false;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("## ")) {
            in_example = line == "## Example";
        } else if (in_example && line.starts_with("```")) {
            in_code = !in_code;
        } else if (in_example && in_code) {
            line.resize(std::min(line.size(), line.find(" --")));
            std::ranges::copy_if(line, std::back_inserter(hex), [](char c) { return c != ' '; });
        }
    }
    return hex;
}

std::string hex_of(Bytes bytes) {
    std::string hex;
    for (const auto byte : bytes) {
        hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    }
    return hex;
}

TEST(SidecarFormat, the_example_is_what_is_written) {
    if (test_variable("MS_SOURCE_DIR").empty()) {
        GTEST_SKIP() << "MS_SOURCE_DIR is not set";
    }
    SidecarWriter writer({.rows = 3, .all_fields_listed = true}, test_memory());
    writer.begin_text_field(FieldId{1});
    writer.add(0, "Get 10");
    writer.add(1, "get id 10451");
    ASSERT_TRUE(writer.end_field());
    writer.begin_value_field(FieldId{2});
    for (std::uint32_t row = 0; row < 3; ++row) {
        writer.add(row, "info");
    }
    ASSERT_TRUE(writer.end_field());
    writer.begin_value_field(FieldId{3});
    writer.add(0, "x1");
    writer.add(1, "x2");
    ASSERT_TRUE(writer.end_field());
    EXPECT_EQ(hex_of(*writer.finish()), hex_of_example());
}

TEST(SidecarFormat, a_directory_comes_back) {
    SidecarDirectory directory{
        .rows = 300, .tokenizer_id = 7, .tokenizer_version = 9, .all_fields_listed = true};
    directory.fields.push_back({.id = FieldId{5}, .present_rows = 17});
    directory.fields.push_back({.id = FieldId{8},
                                .kind = FieldIndexKind::kExact,
                                .present_rows = 300,
                                .distinct = 2,
                                .areas = {{AreaKind::kValues, 3, 4, {0xdeadbeef}}}});
    ByteBuffer file(10);
    append_directory(directory, file);
    const auto parsed = parse_directory(file, file.size());
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(parsed->rows, 300U);
    EXPECT_EQ(parsed->tokenizer_id, 7U);
    EXPECT_EQ(parsed->tokenizer_version, 9U);
    EXPECT_TRUE(parsed->all_fields_listed);
    ASSERT_EQ(parsed->fields.size(), 2U);
    EXPECT_EQ(parsed->find(FieldId{5})->present_rows, 17U);
    EXPECT_EQ(parsed->find(FieldId{8})->area(AreaKind::kValues)->block_crcs[0], 0xdeadbeefU);
    EXPECT_EQ(parsed->find(FieldId{8})->area(AreaKind::kHashes), nullptr);
    EXPECT_EQ(parsed->find(FieldId{6}), nullptr);
}

TEST(SidecarFormat, what_does_not_fit_is_refused) {
    const auto refused = [](SidecarDirectory directory) {
        ByteBuffer file(10);
        append_directory(directory, file);
        const auto parsed = parse_directory(file, file.size());
        return !parsed && parsed.error().code() == ErrorCode::kCorruption;
    };
    const SidecarDirectory good{.rows = 3};
    EXPECT_FALSE(refused(good));
    auto bad = good;
    bad.fields = {{.id = FieldId{2}}, {.id = FieldId{2}}};
    EXPECT_TRUE(refused(bad)) << "a field twice";
    bad.fields = {{.id = FieldId{2}, .present_rows = 4}};
    EXPECT_TRUE(refused(bad)) << "more values than rows";
    bad.fields = {{.id = FieldId{2}, .kind = FieldIndexKind::kExact}};
    EXPECT_TRUE(refused(bad)) << "an area is missing";
    bad.fields[0].areas = {{AreaKind::kValues, 5, 6, {0}}};
    EXPECT_TRUE(refused(bad)) << "an area beyond the areas";
    bad.fields[0].areas = {{AreaKind::kValues, UINT64_MAX, 1, {0}}};
    EXPECT_TRUE(refused(bad)) << "an area nowhere";
    bad.fields[0].areas = {{AreaKind::kHashes, 0, 1, {0}}};
    EXPECT_TRUE(refused(bad)) << "an area of another kind";
    bad.fields = {{.id = FieldId{2},
                   .kind = FieldIndexKind::kHashed,
                   .hashes = {.entries = 1, .hash_bits = 3, .bucket_bits = 4},
                   .areas = {{AreaKind::kHashes, 0, 1, {0}}, {AreaKind::kHashIndex, 1, 1, {0}}}}};
    EXPECT_TRUE(refused(bad)) << "more bits of a bucket than of a hash";
    bad.fields[0].hashes = {.entries = 1};
    EXPECT_TRUE(refused(bad)) << "a table without bits of hashes";
    bad.fields = {{.id = FieldId{2}, .kind = static_cast<FieldIndexKind>(9)}};
    EXPECT_TRUE(refused(bad)) << "an unknown kind";
}

TEST(Sidecar, other_tokens_are_not_known) {
    TestColumn body{.id = 1, .is_text = true, .values = {"a b", "c"}};
    auto file = make_sidecar({body}, 2);
    auto directory = *parse_directory(file, file.size());
    directory.tokenizer_version = kSidecarVersion + 1;
    file.resize(file.size() - *directory_tail_bytes(file, file.size()));
    append_directory(directory, file);
    OpenSidecar sidecar(file);
    EXPECT_FALSE(sidecar.reader.has_current_tokens());
    for (const auto& query : {IndexQuery::token(FieldId{1}, "zzz"),
                              IndexQuery::equals(FieldId{1}, "zzz"),
                              IndexQuery::contains(FieldId{1}, "zzz", false),
                              IndexQuery::all({IndexQuery::token(FieldId{1}, "zzz")})}) {
        const auto selection = sidecar.select(query);
        EXPECT_TRUE(selection.rows.is_all() && !selection.exact);
    }
    EXPECT_TRUE(sidecar.select(IndexQuery::present(FieldId{1})).exact);
}

}  // namespace
}  // namespace molesignal
