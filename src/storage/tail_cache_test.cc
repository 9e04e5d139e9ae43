#include "storage/tail_cache.h"

#include <gtest/gtest.h>

namespace molesignal {
namespace {

class TailCacheTest : public ::testing::Test {
protected:
    static TailCache::Tail tail(std::size_t bytes) {
        return std::make_shared<const ByteBuffer>(bytes);
    }
    std::shared_ptr<MemoryBudget> process_ =
        MemoryBudget::make_root("process", "memory.limit_mb", 100'000);
    std::shared_ptr<MemoryBudget> budget_ = process_->make_child("tails", "cache.tail", 5'000);
    MetricRegistry metrics_;
    TailCache cache_{budget_, metrics_};
};

TEST_F(TailCacheTest, WhatWasUsedLongestAgoGoesFirst) {
    const auto first = tail(1'000);
    cache_.keep("a", first);
    cache_.keep("b", tail(1'000));
    cache_.keep("c", tail(1'000));
    EXPECT_EQ(cache_.find("a"), first);
    cache_.keep("d", tail(1'000));
    EXPECT_EQ(cache_.find("b"), nullptr);
    EXPECT_EQ(cache_.find("a"), first);
    EXPECT_NE(cache_.find("c"), nullptr);
    EXPECT_NE(cache_.find("d"), nullptr);
    EXPECT_LE(budget_->used_bytes(), 5'000);
    const auto text = metrics_.expose();
    EXPECT_NE(text.find("cache_hits_total{cache=\"tail\"} 4"), std::string::npos) << text;
    EXPECT_NE(text.find("cache_misses_total{cache=\"tail\"} 1"), std::string::npos) << text;
}

TEST_F(TailCacheTest, WhatDoesNotFitIsNotKeptAndDrivesNothingOut) {
    cache_.keep("a", tail(1'000));
    cache_.keep("large", tail(6'000));
    EXPECT_EQ(cache_.find("large"), nullptr);
    EXPECT_NE(cache_.find("a"), nullptr);
    cache_.keep("a", tail(2'000));
    EXPECT_EQ(cache_.find("a")->size(), 1'000U) << "objects do not change";
}

TEST_F(TailCacheTest, GivesWayWhenTheProcessHasNoMemory) {
    cache_.keep("a", tail(1'000));
    ASSERT_TRUE(process_->reserve(98'400));
    cache_.keep("b", tail(1'200));
    EXPECT_EQ(cache_.find("a"), nullptr);
    EXPECT_EQ(cache_.find("b"), nullptr) << "not even alone";
    EXPECT_EQ(budget_->used_bytes(), 0);
    process_->release(98'400);
}

}  // namespace
}  // namespace molesignal
