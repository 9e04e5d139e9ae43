#include <algorithm>

#include <gtest/gtest.h>

#include "model/row_batch.h"
#include "model/schema.h"

namespace molesignal {
namespace {

TEST(WidenedType, DependsOnTheSetOnly) {
    const TypeVariant integer{.type = FieldType::kInt64, .inexact_as_float = false};
    const TypeVariant large{.type = FieldType::kInt64, .inexact_as_float = true};
    const TypeVariant real{.type = FieldType::kFloat64, .inexact_as_float = false};
    const TypeVariant text{.type = FieldType::kString, .inexact_as_float = false};
    const TypeVariant flag{.type = FieldType::kBool, .inexact_as_float = false};
    using Variants = std::vector<TypeVariant>;
    EXPECT_EQ(widened_type(Variants{integer}), FieldType::kInt64);
    EXPECT_EQ(widened_type(Variants{large}), FieldType::kInt64);
    EXPECT_EQ(widened_type(Variants{integer, real}), FieldType::kFloat64);
    EXPECT_EQ(widened_type(Variants{real, integer}), FieldType::kFloat64);
    EXPECT_EQ(widened_type(Variants{large, real}), FieldType::kString);
    EXPECT_EQ(widened_type(Variants{flag, integer}), FieldType::kString);
    EXPECT_EQ(widened_type(Variants{text, real, integer}), FieldType::kString);
}

TEST(StreamSchema, FieldsThatDifferInCaseGetAnAlias) {
    StreamSchema schema;
    schema.variants = {{.id = FieldId{1}, .name = "Level", .type = FieldType::kString},
                       {.id = FieldId{2}, .name = "level", .type = FieldType::kString},
                       {.id = FieldId{3}, .name = "Level", .type = FieldType::kInt64},
                       {.id = FieldId{4}, .name = "_Timestamp", .type = FieldType::kString}};
    const auto fields = schema.logical_fields();
    ASSERT_EQ(fields.size(), 3U);
    EXPECT_EQ(fields[0].sql_name, "Level");
    EXPECT_EQ(fields[0].variants.size(), 2U);
    EXPECT_EQ(fields[0].type, FieldType::kString);
    EXPECT_EQ(fields[1].sql_name, "level__2");
    EXPECT_EQ(fields[2].sql_name, "_Timestamp__2");
}

TEST(StreamName, OnlyThePlainAlphabet) {
    EXPECT_TRUE(check_stream_name("app-1.web_X"));
    EXPECT_FALSE(check_stream_name(""));
    EXPECT_FALSE(check_stream_name("a/b"));
    EXPECT_FALSE(check_stream_name(std::string(256, 'a')));
}

TEST(BatchColumn, KeepsNullsBetweenValues) {
    BatchColumn column("f", FieldType::kString);
    column.append_text(0, "a");
    column.append_text(70, "b");
    EXPECT_TRUE(column.drop_last_if(70));
    EXPECT_FALSE(column.drop_last_if(70));
    column.append_text(70, "c");
    column.pad_to(72);
    EXPECT_EQ(column.null_count(), 70U);
    for (std::uint32_t row = 0; row < 72; ++row) {
        EXPECT_EQ(column.is_null(row), row != 0 && row != 70) << row;
    }
    EXPECT_EQ(column.text(0), "a");
    EXPECT_EQ(column.text(70), "c");
    column.truncate(1);
    EXPECT_EQ(column.null_count(), 0U);
    EXPECT_FALSE(column.is_null(0));
}

TEST(BatchColumn, TruncateInsideNulls) {
    BatchColumn column("f", FieldType::kInt64);
    column.append_fixed(3, 9);
    column.truncate(2);
    column.append_fixed(2, 5);
    EXPECT_TRUE(column.is_null(0));
    EXPECT_FALSE(column.is_null(2));
    EXPECT_EQ(column.fixed(2), 5U);
    EXPECT_EQ(column.null_count(), 2U);
}

}  // namespace
}  // namespace molesignal
