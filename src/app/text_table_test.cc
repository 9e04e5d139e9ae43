#include "app/text_table.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

TEST(TextTable, AlignsByWidth) {
    TextTable table({"name", "n"});
    table.add({{"größe"}, {"7", true}});
    table.add({{"x"}, {"1234", true}});
    EXPECT_EQ(table.render(),
              "name   n\n"
              "-----  ----\n"
              "größe     7\n"
              "x      1234\n");
}

TEST(TextTable, DoesNotDriveTheTerminal) {
    EXPECT_EQ(escape_for_terminal("a\x1b[31mb\n\t\r\x7f"), "a\\x1b[31mb\\n\\t\\x0d\\x7f");
    EXPECT_EQ(escape_for_terminal("\xc2\x9b"
                                  "31m"),
              "\\x9b31m");
    EXPECT_EQ(escape_for_terminal("\xc2\xa0ü"), "\xc2\xa0ü");
    TextTable table({"a\x1b"});
    table.add({{"b\x1b"}});
    EXPECT_EQ(table.render().find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace molesignal
