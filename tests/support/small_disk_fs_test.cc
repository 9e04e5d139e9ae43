#include "tests/support/small_disk_fs.h"

#include <gtest/gtest.h>

#include "io/memory_fs.h"

namespace molesignal {
namespace {

TEST(SmallDiskFs, IsFullAndHealsWhenSomethingGoes) {
    MemoryFs base;
    SmallDiskFs fs(base, 100);
    const auto first = *fs.open("first", OpenMode::kCreateNew);
    ASSERT_TRUE(first->allocate(60));
    ASSERT_TRUE(first->write_at(50, as_bytes("0123456789"))) << "inside what is allocated";
    const auto second = *fs.open("second", OpenMode::kCreateNew);
    const auto refused = second->allocate(50);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(fs.space("")->available_bytes, 40U);
    ASSERT_TRUE(fs.rename("first", "moved"));
    EXPECT_EQ(fs.used_bytes(), 60U);
    ASSERT_TRUE(fs.remove("moved"));
    EXPECT_TRUE(second->allocate(50));
    fs.set_capacity(10);
    EXPECT_FALSE(second->write_at(50, as_bytes("x")));
    EXPECT_EQ(fs.space("")->available_bytes, 0U);
    ASSERT_TRUE(second->truncate(0));
    EXPECT_EQ(fs.used_bytes(), 0U);
}

}  // namespace
}  // namespace molesignal
