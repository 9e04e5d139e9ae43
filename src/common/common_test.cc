#include <atomic>
#include <cmath>
#include <limits>
#include <system_error>
#include <thread>

#include <gtest/gtest.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/failpoint.h"
#include "common/log.h"
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

TEST(MemoryBudget, LeavesRoomForWhatNobodyCounts) {
    const auto root = MemoryBudget::make_root("process", "memory.limit_mb", 100);
    MemoryReservation reservation(root->make_child("org", "org.memory_mb", 80));
    root->set_uncounted(50);
    const auto refused = reservation.grow(60);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message(),
              "memory of process: 0 bytes in use, 50 beside them and 60 more wanted exceed the "
              "limit of 100 (memory.limit_mb)");
    EXPECT_TRUE(reservation.grow(50));
    root->set_uncounted(60);  // Above the limit now: what is reserved stays.
    EXPECT_FALSE(reservation.grow(1));
    EXPECT_EQ(root->used_bytes(), 50);
    root->set_uncounted(0);
    EXPECT_TRUE(reservation.grow(10));
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

TEST(Failpoint, FailsWithTheWantedCodeFromTheNamedHitOn) {
    ASSERT_TRUE(arm_failpoints("common_test_point=error(resource_exhausted)@2+"));
    EXPECT_TRUE(pass_point());
    for (int i = 0; i < 3; ++i) {
        const auto passed = pass_point();
        ASSERT_FALSE(passed);
        EXPECT_EQ(passed.error().code(), ErrorCode::kResourceExhausted);
    }
    for (const auto* spec : {"common_test_point=error(nonsense)",
                             "common_test_point=error@0",
                             "common_test_point=error@+",
                             "common_test_point=delay",
                             "common_test_point=pause(3)",
                             "common_test_point"}) {
        EXPECT_FALSE(arm_failpoints(spec)) << spec;
        EXPECT_FALSE(pass_point()) << "a wrong spec changes nothing";
    }
    disarm_failpoints();
    EXPECT_TRUE(pass_point());
}

TEST(Failpoint, APausedThreadGoesOnWhenItIsDisarmed) {
    ASSERT_TRUE(arm_failpoints("common_test_point=pause"));
    std::atomic<bool> passed = false;
    std::thread thread([&] {
        (void)pass_point();
        passed = true;
    });
    await_failpoint("common_test_point");
    EXPECT_FALSE(passed);
    EXPECT_TRUE(pass_point()) << "one hit: others are not held up";
    disarm_failpoints();
    thread.join();
    ASSERT_TRUE(arm_failpoints("common_test_point=delay(1)@1+"));
    EXPECT_TRUE(pass_point());
    disarm_failpoints();
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

TEST(ThreadPool, ATaskThatNoThreadCanRunIsRefusedAndNeverRuns) {
    bool refuse = true;
    ThreadPool pool({.name = "test",
                     .threads_max = 2,
                     .queue_tasks_max = 100,
                     .setting = "none",
                     .start_thread = [&](std::function<void()> body) {
                         if (refuse) {
                             throw std::system_error(
                                 std::make_error_code(std::errc::resource_unavailable_try_again));
                         }
                         return std::thread(std::move(body));
                     }});
    std::atomic<int> done{0};
    const auto refused = pool.submit([&] { done += 100; });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kUnavailable);
    refuse = false;
    ASSERT_TRUE(pool.submit([&] { ++done; }));
    refuse = true;
    for (int i = 0; i < 10; ++i) {
        EXPECT_TRUE(pool.submit([&] { ++done; })) << "the first thread gets to it";
    }
    pool.stop();
    EXPECT_EQ(done, 11);
}

TEST(Log, OutsideTextCannotBreakALine) {
    const auto json = log_line(LogFormat::kJson,
                               LogLevel::kWarn,
                               "message",
                               {{"text", "a\"b\nc\x7f\xc2\x9b"},
                                {"broken", std::string_view("\xff ok \xe2\x82")},
                                {"not_a_number", std::nan("")},
                                {"endless", std::numeric_limits<double>::infinity()},
                                {"half", 0.5},
                                {"n", -1}});
    EXPECT_NE(json.find("\"text\":\"a\\\"b\\u000ac\\u007f\\u009b\""), std::string::npos) << json;
    EXPECT_NE(json.find("\"broken\":\"\xef\xbf\xbd ok \xef\xbf\xbd\""), std::string::npos) << json;
    EXPECT_NE(json.find("\"not_a_number\":\"nan\",\"endless\":\"inf\",\"half\":0.5,\"n\":-1}\n"),
              std::string::npos)
        << json;
    const auto text = log_line(
        LogFormat::kText, LogLevel::kInfo, "m", {{"a", "plain"}, {"b", "\xff"}, {"c", "x y"}});
    EXPECT_TRUE(text.ends_with(" info  m a=plain b=\"\xef\xbf\xbd\" c=\"x y\"\n")) << text;
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
