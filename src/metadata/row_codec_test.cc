#include "metadata/row_codec.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

std::string hex(std::string_view bytes) {
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string text;
    for (const char byte : bytes) {
        text += kHex[static_cast<unsigned char>(byte) >> 4U];
        text += kHex[static_cast<unsigned char>(byte) & 15U];
    }
    return text;
}

PartInfo sample_part() {
    PartInfo part;
    part.fields = {FieldId{1}, FieldId{300}};
    part.zone_maps = {{.field = FieldId{300}, .min = "-5", .max = "17", .null_count = 2}};
    part.row_groups = {{.rows = 200, .byte_end = 5000}, {.rows = 3, .byte_end = 5100}};
    part.footer_xxh3 = 0x1122334455667788;
    return part;
}

// The worked example of docs/formats/catalogue.md.
TEST(RowCodec, StatisticsAreAsDocumented) {
    EXPECT_EQ(hex(encode_statistics(sample_part())),
              "03"
              "0201ac02"
              "01ac0202"
              "022d35"
              "023137"
              "02c8018827"
              "03ec27"
              "8877665544332211");
    EXPECT_EQ(
        encode_settings({.retention_days = 7,
                         .full_text_fields = {"body"},
                         .pinned_types = {{"code", FieldType::kString}}}),
        R"({"retention_days":7,"full_text_fields":["body"],"pinned_types":[["code","string"]]})");
    EXPECT_EQ(encode_names({"a/b", "q\""}), R"(["a/b","q\""])");
}

TEST(RowCodec, DamagedStatisticsAreCorruption) {
    const auto good = encode_statistics(sample_part());
    PartInfo part;
    ASSERT_TRUE(decode_statistics(good, part).has_value());
    EXPECT_EQ(part.fields, sample_part().fields);
    ASSERT_EQ(part.zone_maps.size(), 1U);
    EXPECT_EQ(part.zone_maps[0].min, "-5");
    EXPECT_EQ(part.row_groups, sample_part().row_groups);
    EXPECT_EQ(part.footer_xxh3, sample_part().footer_xxh3);
    for (std::size_t size = 0; size < good.size(); ++size) {
        PartInfo read;
        const auto cut = decode_statistics(std::string_view(good).substr(0, size), read);
        ASSERT_FALSE(cut.has_value()) << size;
        EXPECT_EQ(cut.error().code(), ErrorCode::kCorruption);
    }
    EXPECT_FALSE(decode_statistics(good + "x", part).has_value());
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            auto damaged = good;
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
            PartInfo read;
            // A result or kCorruption; never a crash, an endless loop or a huge allocation.
            (void)decode_statistics(damaged, read);
            EXPECT_LE(read.zone_maps.capacity(), 64U);
            EXPECT_LE(read.row_groups.capacity(), 64U);
        }
    }
}

TEST(RowCodec, StatisticsOfEarlierVersionsAreRead) {
    const auto part = sample_part();
    auto old = encode_statistics(part);
    old.resize(old.size() - 8);  // The footer's hash.
    old.front() = 2;
    PartInfo second;
    ASSERT_TRUE(decode_statistics(old, second).has_value());
    EXPECT_EQ(second.row_groups, part.row_groups);
    EXPECT_EQ(second.footer_xxh3, 0U);

    auto without_groups = part;
    without_groups.row_groups.clear();
    old = encode_statistics(without_groups);
    old.resize(old.size() - 9);  // The count of row groups as well.
    old.front() = 1;
    PartInfo first;
    ASSERT_TRUE(decode_statistics(old, first).has_value());
    EXPECT_EQ(first.fields, part.fields);
    EXPECT_TRUE(first.row_groups.empty());
    EXPECT_EQ(first.footer_xxh3, 0U);
}

TEST(RowCodec, DamagedJsonIsCorruption) {
    for (const auto* text : {"",
                             "{",
                             "[]",
                             "{}",
                             R"({"full_text_fields":[1],"pinned_types":[]})",
                             R"({"full_text_fields":[],"pinned_types":[["a"]]})"}) {
        const auto decoded = decode_settings(text);
        ASSERT_FALSE(decoded.has_value()) << text;
        EXPECT_EQ(decoded.error().code(), ErrorCode::kCorruption) << text;
    }
    EXPECT_FALSE(decode_names("{}").has_value());
    EXPECT_FALSE(decode_names("[1]").has_value());
}

}  // namespace
}  // namespace molesignal
