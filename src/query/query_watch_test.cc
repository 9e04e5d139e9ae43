#include "query/query_watch.h"

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"

namespace molesignal {
namespace {

class Query final : public WatchedQuery {
public:
    Query(QueryWatch& watch, RequestContext context)
        : watch_(watch), context_(std::move(context)) {}
    ~Query() override {
        watch_.remove(*this);
        ended_.store(true);
        ended_.notify_all();
    }
    const RequestContext& context() const override {
        if (on_look_) {
            std::exchange(on_look_, nullptr)();
        }
        return context_;
    }
    void interrupt() override { interrupted_ = true; }
    void expire() override {
        expired_.store(true);
        expired_.notify_all();
    }

    QueryWatch& watch_;
    RequestContext context_;
    mutable std::function<void()> on_look_;
    std::atomic<bool> interrupted_{false};
    std::atomic<bool> expired_{false};
    static inline std::atomic<bool> ended_{false};
};

class QueryWatchTest : public testing::Test {
protected:
    QueryWatchTest() { Query::ended_ = false; }

    ManualClock clock_;
    RequestContext context_ = RequestContext::background(clock_, "test");
    QueryWatch watch_{clock_};
};

TEST_F(QueryWatchTest, LateQueryIsInterruptedAndExpires) {
    context_.deadline = clock_.steady_now() + std::chrono::seconds(1);
    const auto query = std::make_shared<Query>(watch_, context_);
    watch_.add(query);
    clock_.await_waiters(1);
    EXPECT_FALSE(query->interrupted_);
    clock_.advance(std::chrono::seconds(1));
    query->expired_.wait(false);
    EXPECT_TRUE(query->interrupted_);
}

TEST_F(QueryWatchTest, QueryWhoseReaderLeavesWhileItIsLookedAtEnds) {
    auto query = std::make_shared<Query>(watch_, context_);
    // The watch is then the last owner.
    query->on_look_ = [&query] { query.reset(); };
    watch_.add(query);
    Query::ended_.wait(false);
    EXPECT_EQ(query, nullptr);
}

}  // namespace
}  // namespace molesignal
