#include "tests/support/faulty_object_store.h"

#include <gtest/gtest.h>

#include "objectstore/memory_object_store.h"
#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class FaultyObjectStoreTest : public testing::Test {
protected:
    ManualClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryObjectStore base_;
    FaultyObjectStore store_{base_};
};

TEST_F(FaultyObjectStoreTest, ErrorBeforeChangesNothing) {
    store_.arm({.verbs = {ObjectVerb::kPut}, .key_contains = "b", .plan = {.nth = 1}});
    EXPECT_TRUE(store_.put(context_, "a", as_bytes("1")));
    EXPECT_FALSE(store_.put(context_, "b", as_bytes("1")));
    EXPECT_EQ(base_.head(context_, "b").value(), std::nullopt);
    EXPECT_TRUE(store_.put(context_, "b", as_bytes("1")));
    EXPECT_EQ(store_.fired(), 1);
    EXPECT_EQ(store_.operation_count(), 3);
}

TEST_F(FaultyObjectStoreTest, ErrorAfterHasDoneIt) {
    store_.arm({.effect = ObjectFaultEffect::kErrorAfter, .code = ErrorCode::kTimeout});
    const auto put = store_.put(context_, "a", as_bytes("1"));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code(), ErrorCode::kTimeout);
    EXPECT_TRUE(base_.head(context_, "a").value().has_value());
}

TEST_F(FaultyObjectStoreTest, ShortAndCorruptBodies) {
    ASSERT_TRUE(base_.put(context_, "a", as_bytes("abcd")));
    store_.arm({.effect = ObjectFaultEffect::kShortBody});
    EXPECT_EQ(as_text(store_.get(context_, "a", 0, 100).value()), "ab");
    store_.arm({.effect = ObjectFaultEffect::kCorruptBody});
    EXPECT_EQ(as_text(store_.get(context_, "a", 0, 100).value()), "absd");
    EXPECT_EQ(as_text(store_.get(context_, "a", 0, 100).value()), "abcd");
}

TEST_F(FaultyObjectStoreTest, ForEverUntilDisarmed) {
    store_.arm({.verbs = {ObjectVerb::kHead}, .plan = {.times = FaultTimes::kForEver}});
    EXPECT_FALSE(store_.head(context_, "a"));
    EXPECT_FALSE(store_.head(context_, "a"));
    store_.disarm();
    EXPECT_TRUE(store_.head(context_, "a"));
}

}  // namespace
}  // namespace molesignal
