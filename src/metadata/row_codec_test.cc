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

const std::vector<FieldId> kFields{FieldId{1}, FieldId{300}};
const std::vector<ZoneMap> kZones{
    {.field = FieldId{300}, .min = "-5", .max = "17", .null_count = 2}};

// The worked example of docs/formats/catalogue.md.
TEST(RowCodec, StatisticsAreAsDocumented) {
    EXPECT_EQ(hex(encode_statistics(kFields, kZones)),
              "01"
              "0201ac02"
              "01ac0202"
              "022d35"
              "023137");
    EXPECT_EQ(
        encode_settings({.retention_days = 7,
                         .full_text_fields = {"body"},
                         .pinned_types = {{"code", FieldType::kString}}}),
        R"({"retention_days":7,"full_text_fields":["body"],"pinned_types":[["code","string"]]})");
    EXPECT_EQ(encode_names({"a/b", "q\""}), R"(["a/b","q\""])");
}

TEST(RowCodec, DamagedStatisticsAreCorruption) {
    const auto good = encode_statistics(kFields, kZones);
    std::vector<FieldId> fields;
    std::vector<ZoneMap> zones;
    ASSERT_TRUE(decode_statistics(good, fields, zones).has_value());
    EXPECT_EQ(fields, kFields);
    ASSERT_EQ(zones.size(), 1U);
    EXPECT_EQ(zones[0].min, "-5");
    for (std::size_t size = 0; size < good.size(); ++size) {
        const auto cut = decode_statistics(std::string_view(good).substr(0, size), fields, zones);
        ASSERT_FALSE(cut.has_value()) << size;
        EXPECT_EQ(cut.error().code(), ErrorCode::kCorruption);
    }
    EXPECT_FALSE(decode_statistics(good + "x", fields, zones).has_value());
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            auto damaged = good;
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
            fields.clear();
            zones.clear();
            // A result or kCorruption; never a crash, an endless loop or a huge allocation.
            (void)decode_statistics(damaged, fields, zones);
            EXPECT_LE(zones.capacity(), 64U);
        }
    }
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
