#include "common/nearest_name.h"

#include <string>

#include <gtest/gtest.h>

namespace molesignal {
namespace {

TEST(NearestName, CountsEditsAndSwaps) {
    EXPECT_EQ(edit_distance("listen", "listen"), 0U);
    EXPECT_EQ(edit_distance("lisetn", "listen"), 1U);
    EXPECT_EQ(edit_distance("LISTEN", "listen"), 0U);
    EXPECT_EQ(edit_distance("", "abc"), 3U);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(NearestName, SuggestsTheNearestOrNothing) {
    const std::vector<std::string_view> known{"http.listen", "grpc.listen", "wal.dir"};
    EXPECT_EQ(nearest_name("http.lisen", known), "http.listen");
    EXPECT_EQ(nearest_name("gprc.listen", known), "grpc.listen");
    EXPECT_EQ(nearest_name("zzzzzz", known), std::nullopt);
    EXPECT_EQ(nearest_name("", known), std::nullopt);
    EXPECT_EQ(nearest_name(std::string(1000, 'a'), known), std::nullopt);
}

}  // namespace
}  // namespace molesignal
