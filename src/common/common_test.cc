#include <atomic>

#include <gtest/gtest.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/memory_budget.h"
#include "common/random.h"
#include "common/request_context.h"
#include "common/thread_pool.h"

namespace molesignal {
namespace {

TEST(Crc32c, KnownVectors) {
    // RFC 3720, appendix B.4.
    EXPECT_EQ(crc32c(ByteBuffer(32, std::byte{0})), 0x8a9136aaU);
    EXPECT_EQ(crc32c(ByteBuffer(32, std::byte{0xff})), 0x62a8ab43U);
    EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283U);
}

TEST(Crc32c, HardwareAgreesWithPortableAtEveryLengthAndContinues) {
    SeededRandom random(7);
    ByteBuffer data(300);
    random.fill(data);
    for (std::size_t size = 0; size <= data.size(); ++size) {
        const auto whole = crc32c(Bytes(data).first(size));
        EXPECT_EQ(whole, crc32c_portable(Bytes(data).first(size)));
        EXPECT_EQ(whole,
                  crc32c(Bytes(data).subspan(size / 3, size - size / 3),
                         crc32c(Bytes(data).first(size / 3))));
    }
}

TEST(MemoryBudget, CountsOnAllAncestorsOrOnNone) {
    const auto root = MemoryBudget::make_root("process", "memory.limit_mb", 100);
    const auto child = root->make_child("org", "org.memory_mb", 80);
    MemoryReservation first(child);
    ASSERT_TRUE(first.grow(60));
    EXPECT_EQ(root->used_bytes(), 60);
    MemoryReservation second(child);
    const auto refused = second.grow(30);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_NE(refused.error().message().find("org.memory_mb"), std::string::npos);
    EXPECT_EQ(root->used_bytes(), 60);
    first.reset();
    EXPECT_EQ(root->used_bytes(), 0);
    EXPECT_EQ(child->peak_bytes(), 60);
}

MS_DEFINE_FAILPOINT(common_test_point);
Result<> pass_point() {
    MS_PASS_FAILPOINT(common_test_point);
    return {};
}

TEST(Failpoint, FiresAtTheNamedHitOnce) {
    ASSERT_TRUE(arm_failpoints("common_test_point=error@2"));
    EXPECT_TRUE(pass_point());
    EXPECT_FALSE(pass_point());
    EXPECT_TRUE(pass_point());
    disarm_failpoints();
    EXPECT_FALSE(arm_failpoints("no_such_point=error"));
    EXPECT_FALSE(arm_failpoints("common_test_point=explode"));
}

TEST(Ulid, SortsByTimeAndHasFixedShape) {
    SeededRandom random(1);
    const auto early = make_ulid(UnixNanos{1'000'000'000}, random);
    const auto late = make_ulid(UnixNanos{2'000'000'000'000'000'000}, random);
    EXPECT_EQ(early.size(), 26U);
    EXPECT_LT(early, late);
    EXPECT_NE(make_ulid(UnixNanos{0}, random), make_ulid(UnixNanos{0}, random));
}

TEST(ThreadPool, RunsEverythingQueuedBeforeStop) {
    std::atomic<int> done = 0;
    ThreadPool pool({.name = "test", .threads_max = 3, .queue_tasks_max = 100, .setting = "none"});
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(pool.submit([&] { ++done; }));
    }
    pool.stop();
    EXPECT_EQ(done, 100);
    EXPECT_EQ(pool.submit([] {}).error().code(), ErrorCode::kUnavailable);
}

TEST(RequestContext, ReportsCancelAndDeadline) {
    SystemClock clock;
    auto context = RequestContext::background(clock, "test");
    EXPECT_TRUE(context.check());
    context.deadline = SteadyNanos{0};
    EXPECT_EQ(context.check().error().code(), ErrorCode::kTimeout);
    context.cancel.cancel();
    EXPECT_EQ(context.check().error().code(), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace molesignal
