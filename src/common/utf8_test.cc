#include "common/utf8.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

TEST(RepairUtf8, ReplacesEachLongestBeginning) {
    const std::string bad = "\xef\xbf\xbd";
    EXPECT_EQ(repair_utf8(""), "");
    EXPECT_EQ(repair_utf8("aé€😀\x7f"), "aé€😀\x7f");
    EXPECT_EQ(repair_utf8(std::string_view("\0x", 2)), std::string_view("\0x", 2));
    EXPECT_EQ(repair_utf8("\x80"), bad);
    EXPECT_EQ(repair_utf8("a\xff\xfe"
                          "b"),
              "a" + bad + bad + "b");
    EXPECT_EQ(repair_utf8("\xc0\xaf"), bad + bad);                      // Overlong '/'.
    EXPECT_EQ(repair_utf8("\xe0\x80\xaf"), bad + bad + bad);            // Overlong.
    EXPECT_EQ(repair_utf8("\xed\xa0\x80"), bad + bad + bad);            // A surrogate.
    EXPECT_EQ(repair_utf8("\xf4\x90\x80\x80"), bad + bad + bad + bad);  // Above U+10FFFF.
    EXPECT_EQ(repair_utf8("\xe2\x82"), bad);                            // Cut off at the end.
    EXPECT_EQ(repair_utf8("\xe2\x82"
                          "x"),
              bad + "x");
    EXPECT_EQ(repair_utf8("\xf0\x9f\x98"
                          "é"),
              bad + "é");
    EXPECT_EQ(repair_utf8("\xf0\x9f\x98\x80"), "😀");
}

}  // namespace
}  // namespace molesignal
