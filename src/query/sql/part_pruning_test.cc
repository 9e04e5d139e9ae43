#include "query/sql/part_pruning.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

using Comparison = ScanCondition::Comparison;

class PartPruning : public ::testing::Test {
protected:
    PartPruning() {
        schema_.variants = {{.id = FieldId{1}, .name = "n", .type = FieldType::kInt64},
                            {.id = FieldId{2}, .name = "s", .type = FieldType::kString},
                            {.id = FieldId{3}, .name = "mixed", .type = FieldType::kInt64},
                            {.id = FieldId{4}, .name = "mixed", .type = FieldType::kString},
                            {.id = FieldId{5}, .name = "f", .type = FieldType::kFloat64},
                            {.id = FieldId{6}, .name = "other", .type = FieldType::kInt64}};
        part_.fields = {FieldId{1}, FieldId{2}, FieldId{3}, FieldId{5}};
        part_.zone_maps = {{.field = FieldId{1}, .min = "-5", .max = "17"},
                           {.field = FieldId{2}, .min = "b", .max = "d"},
                           {.field = FieldId{3}, .min = "1", .max = "2"}};
        part_.time_min_us = 1'700'000'000'000'000;
        part_.time_max_us = 1'700'000'060'000'000;
    }
    bool holds(const std::string& column,
               Comparison comparison,
               const std::string& constant,
               bool is_text) {
        return may_hold(part_, schema_, {{column, comparison, constant, is_text}});
    }

    StreamSchema schema_;
    PartInfo part_;
};

TEST_F(PartPruning, Numbers) {
    EXPECT_TRUE(holds("n", Comparison::kEqual, "17", false));
    EXPECT_TRUE(holds("N", Comparison::kEqual, "-5", false)) << "names have no case";
    EXPECT_FALSE(holds("n", Comparison::kEqual, "18", false));
    EXPECT_FALSE(holds("N", Comparison::kEqual, "-6", false));
    EXPECT_FALSE(holds("n", Comparison::kLess, "-5", false));
    EXPECT_TRUE(holds("n", Comparison::kLessEqual, "-5", false));
    EXPECT_FALSE(holds("n", Comparison::kGreater, "17", false));
    EXPECT_TRUE(holds("n", Comparison::kGreaterEqual, "17", false));
}

TEST_F(PartPruning, Texts) {
    EXPECT_TRUE(holds("s", Comparison::kEqual, "bcd", true));
    EXPECT_FALSE(holds("s", Comparison::kEqual, "a", true));
    EXPECT_FALSE(holds("s", Comparison::kEqual, "dd", true));
    EXPECT_FALSE(holds("s", Comparison::kGreater, "d", true));
}

TEST_F(PartPruning, WhatIsNotCertainKeepsThePart) {
    EXPECT_TRUE(holds("n", Comparison::kEqual, "99", true)) << "a text constant is cast first";
    EXPECT_TRUE(holds("s", Comparison::kEqual, "99", false)) << "a number against texts";
    EXPECT_TRUE(holds("n", Comparison::kLess, "-5.5", false)) << "not an integer";
    EXPECT_TRUE(holds("n", Comparison::kEqual, "99999999999999999999", false));
    EXPECT_TRUE(holds("mixed", Comparison::kEqual, "99", false)) << "two types";
    EXPECT_TRUE(holds("f", Comparison::kEqual, "1", false)) << "no zone map (NaN)";
    EXPECT_TRUE(holds("unknown", Comparison::kEqual, "1", false));
}

TEST_F(PartPruning, AFieldThatThePartLacksIsNull) {
    EXPECT_FALSE(holds("other", Comparison::kEqual, "1", false));
}

TEST_F(PartPruning, Times) {
    EXPECT_TRUE(holds("_timestamp", Comparison::kGreater, "2023-11-14 22:13:30+00", true));
    EXPECT_FALSE(holds("_timestamp", Comparison::kGreater, "2023-11-14T22:14:21Z", true));
    EXPECT_FALSE(holds("_timestamp", Comparison::kLess, "2023-11-14 22:13:20", true));
    EXPECT_TRUE(holds("_timestamp", Comparison::kLess, "yesterday", true));
}

TEST_F(PartPruning, AllConditionsMustBePossible) {
    EXPECT_FALSE(
        may_hold(part_,
                 schema_,
                 {{"n", Comparison::kEqual, "1", false}, {"s", Comparison::kEqual, "z", true}}));
    EXPECT_TRUE(may_hold(part_, schema_, {}));
}

}  // namespace
}  // namespace molesignal
