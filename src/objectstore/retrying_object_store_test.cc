#include "objectstore/retrying_object_store.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "common/log.h"
#include "objectstore/memory_object_store.h"
#include "tests/support/faulty_object_store.h"
#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Hands everything on to a store that somebody else owns.
class Borrowed final : public ObjectStore {
public:
    explicit Borrowed(ObjectStore& base) : base_(base) {}
    Result<> put(const RequestContext& c, std::string_view k, Bytes b) override {
        return base_.put(c, k, b);
    }
    Result<> put_file(const RequestContext& c, std::string_view k, const std::string& p) override {
        return base_.put_file(c, k, p);
    }
    Result<ByteBuffer> get(const RequestContext& c,
                           std::string_view k,
                           std::uint64_t offset,
                           std::uint64_t length) override {
        return base_.get(c, k, offset, length);
    }
    Result<std::optional<ObjectMeta>> head(const RequestContext& c, std::string_view k) override {
        return base_.head(c, k);
    }
    Result<> list(const RequestContext& c,
                  std::string_view p,
                  const std::function<bool(const ObjectMeta&)>& visit) override {
        return base_.list(c, p, visit);
    }
    Result<> remove(const RequestContext& c, std::string_view k) override {
        return base_.remove(c, k);
    }
    std::string describe() const override { return base_.describe(); }

private:
    ObjectStore& base_;
};

class RetryingObjectStoreTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        static const SystemClock log_clock;
        configure_log(LogLevel::kError, LogFormat::kText, log_clock);
    }
    std::unique_ptr<RetryingObjectStore> make(const RetryOptions& options) {
        return std::make_unique<RetryingObjectStore>(
            std::make_unique<Borrowed>(faulty_), options, clock_, random_);
    }
    /// Runs `call` on a thread while the clock goes on by `step` whenever it waits.
    template <class Call>
    auto while_time_passes(milliseconds step, const Call& call) {
        std::atomic<bool> done{false};
        decltype(call()) result = Error(ErrorCode::kInternal, "not run");
        std::thread thread([&] {
            result = call();
            done = true;
        });
        while (!done) {
            clock_.advance(step);
            std::this_thread::yield();
        }
        thread.join();
        return result;
    }

    ManualClock clock_;
    SeededRandom random_{7};
    RequestContext context_ = RequestContext::background(clock_, "test");
    MemoryObjectStore memory_;
    FaultyObjectStore faulty_{memory_};
};

TEST_F(RetryingObjectStoreTest, PassingFaultIsHidden) {
    const auto store = make({.op_timeout = std::chrono::hours(1000)});
    faulty_.arm({});
    const auto put = while_time_passes(milliseconds(1),
                                       [&] { return store->put(context_, "k", as_bytes("v")); });
    EXPECT_TRUE(put);
    EXPECT_EQ(faulty_.operation_count(), 2);
    faulty_.arm({.effect = ObjectFaultEffect::kErrorAfter});
    EXPECT_TRUE(while_time_passes(milliseconds(1), [&] { return store->remove(context_, "k"); }));
    EXPECT_EQ(memory_.head(context_, "k").value(), std::nullopt);
}

TEST_F(RetryingObjectStoreTest, AttemptsAreLimitedAndTheErrorNamesTheSetting) {
    const auto store = make({.op_timeout = std::chrono::hours(1000), .max_attempts = 3});
    faulty_.arm({.plan = {.times = FaultTimes::kForEver}});
    const auto got =
        while_time_passes(milliseconds(1), [&] { return store->get(context_, "k", 0, 1); });
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), ErrorCode::kUnavailable);
    EXPECT_NE(got.error().message().find("store.object.retry.max_attempts"), std::string::npos);
    EXPECT_EQ(faulty_.operation_count(), 3);
}

TEST_F(RetryingObjectStoreTest, ErrorsOfTheCallerAreNotRepeated) {
    const auto store = make({});
    for (const auto code : {ErrorCode::kNotFound,
                            ErrorCode::kInvalidArgument,
                            ErrorCode::kForbidden,
                            ErrorCode::kCorruption}) {
        const auto before = faulty_.operation_count();
        faulty_.arm({.code = code});
        const auto got = store->get(context_, "k", 0, 1);
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().code(), code);
        EXPECT_EQ(faulty_.operation_count(), before + 1);
    }
}

TEST_F(RetryingObjectStoreTest, BudgetBoundsTheExtraRequests) {
    const auto store = make({.op_timeout = std::chrono::hours(1000),
                             .max_attempts = 4,
                             .base_backoff = milliseconds(1),
                             .max_backoff = milliseconds(1)});
    faulty_.arm({.plan = {.times = FaultTimes::kForEver}});
    constexpr std::uint64_t kOperations = 500;
    const auto result = while_time_passes(milliseconds(1), [&]() -> Result<> {
        for (std::uint64_t i = 0; i < kOperations; ++i) {
            (void)store->head(context_, "k");
        }
        return {};
    });
    EXPECT_TRUE(result);
    EXPECT_GT(faulty_.operation_count(), kOperations);
    EXPECT_LE(faulty_.operation_count(), kOperations + kOperations / 5 + 10);
}

TEST_F(RetryingObjectStoreTest, OperationEndsAtItsTimeOut) {
    const auto store = make({.op_timeout = seconds(3),
                             .max_attempts = 100,
                             .base_backoff = seconds(1),
                             .max_backoff = seconds(1),
                             .jitter_ratio = 0,
                             .budget_retries_max = 100});
    faulty_.arm({.plan = {.times = FaultTimes::kForEver}});
    const auto got =
        while_time_passes(milliseconds(1000), [&] { return store->head(context_, "k"); });
    ASSERT_FALSE(got);
    EXPECT_LE(faulty_.operation_count(), 3);
}

TEST_F(RetryingObjectStoreTest, CallerLeavesWhenCancelledOrLate) {
    const auto store = make({.base_backoff = seconds(10), .max_backoff = seconds(10)});
    faulty_.arm({.plan = {.times = FaultTimes::kForEver}});
    auto cancelled = context_;
    cancelled.cancel = CancelToken();
    Result<std::optional<ObjectMeta>> result = Error(ErrorCode::kInternal, "not run");
    std::thread thread([&] { result = store->head(cancelled, "k"); });
    clock_.await_waiters(1);
    cancelled.cancel.cancel();
    clock_.advance(seconds(1));
    thread.join();
    EXPECT_EQ(result.error().code(), ErrorCode::kCancelled);

    auto late = context_;
    late.deadline = clock_.steady_now() + seconds(5);
    const auto hurried = store->head(late, "k");
    ASSERT_FALSE(hurried);
    EXPECT_NE(hurried.error().message().find("no time for another attempt"), std::string::npos);
}

/// Says how much time a put got.
class Timed final : public ObjectStore {
public:
    explicit Timed(std::chrono::nanoseconds& given) : given_(given) {}
    Result<> put(const RequestContext& context, std::string_view, Bytes) override {
        given_ =
            std::chrono::nanoseconds(context.deadline.value - context.clock->steady_now().value);
        return {};
    }
    Result<> put_file(const RequestContext&, std::string_view, const std::string&) override {
        return {};
    }
    Result<ByteBuffer> get(const RequestContext&,
                           std::string_view,
                           std::uint64_t,
                           std::uint64_t) override {
        return ByteBuffer();
    }
    Result<std::optional<ObjectMeta>> head(const RequestContext&, std::string_view) override {
        return std::optional<ObjectMeta>();
    }
    Result<> list(const RequestContext&,
                  std::string_view,
                  const std::function<bool(const ObjectMeta&)>&) override {
        return {};
    }
    Result<> remove(const RequestContext&, std::string_view) override { return {}; }
    std::string describe() const override { return "timed"; }

private:
    std::chrono::nanoseconds& given_;
};

TEST_F(RetryingObjectStoreTest, ALargeBodyHasMoreTime) {
    std::chrono::nanoseconds given{0};
    RetryingObjectStore store(std::make_unique<Timed>(given),
                              {.op_timeout = seconds(30), .put_bytes_per_second_min = 1000},
                              clock_,
                              random_);
    ASSERT_TRUE(store.put(context_, "small", ByteBuffer(10)));
    EXPECT_EQ(given, seconds(30));
    ASSERT_TRUE(store.put(context_, "large", ByteBuffer(90'000)));
    EXPECT_EQ(given, seconds(120));
    auto hurried = context_;
    hurried.deadline = clock_.steady_now() + seconds(5);
    ASSERT_TRUE(store.put(hurried, "large", ByteBuffer(90'000)));
    EXPECT_EQ(given, seconds(5));
}

TEST_F(RetryingObjectStoreTest, RepeatedListShowsEachObjectOnce) {
    ASSERT_TRUE(memory_.put(context_, "a", {}));
    ASSERT_TRUE(memory_.put(context_, "b", {}));
    const auto store = make({.op_timeout = std::chrono::hours(1000)});
    faulty_.arm({.effect = ObjectFaultEffect::kErrorAfter});
    std::vector<std::string> keys;
    const auto listed = while_time_passes(milliseconds(1), [&] {
        return store->list(context_, "", [&](const ObjectMeta& object) {
            keys.push_back(object.key);
            return true;
        });
    });
    EXPECT_TRUE(listed);
    EXPECT_EQ(keys, (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace molesignal
