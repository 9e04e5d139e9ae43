#include "storage/cache/memory_cache.h"

#include <thread>

#include <gtest/gtest.h>

#include "storage/cache/cache_fixture.h"

namespace molesignal {
namespace {

class MemoryCacheTest : public ::testing::Test {
protected:
    static MemoryCache::Key key(const std::string& object,
                                std::uint64_t offset = 0,
                                CachedKind kind = CachedKind::kFooter) {
        return {.object = ObjectHash::of(object), .kind = kind, .offset = offset};
    }
    static MemoryCache::Value value(std::size_t bytes) {
        return std::make_shared<const ByteBuffer>(bytes);
    }
    void keep(const std::string& object, std::size_t bytes) {
        cache_.keep(key(object), value(bytes), bytes);
    }
    bool has(const std::string& object) { return cache_.find(key(object)) != nullptr; }

    std::shared_ptr<MemoryBudget> process_ =
        MemoryBudget::make_root("process", "memory.limit_mb", 100'000);
    std::shared_ptr<MemoryBudget> budget_ =
        process_->make_child("cache", "cache.memory_mb", 10'000);
    MetricRegistry metrics_;
    MemoryCache cache_{budget_, metrics_};
};

TEST_F(MemoryCacheTest, GivesTheValueItselfAndCounts) {
    const auto kept = value(1'000);
    cache_.keep(key("a"), kept, 1'000);
    EXPECT_EQ(cache_.find(key("a")), kept) << "no copy";
    EXPECT_EQ(cache_.find(key("a", 1)), nullptr);
    EXPECT_EQ(cache_.find(key("a", 0, CachedKind::kIndexHead)), nullptr);
    EXPECT_EQ(metric_value(metrics_, R"(cache_hits_total{cache="footer"})"), 1);
    EXPECT_EQ(metric_value(metrics_, R"(cache_misses_total{cache="footer"})"), 1);
    EXPECT_EQ(metric_value(metrics_, R"(cache_misses_total{cache="index_head"})"), 1);
    EXPECT_EQ(metric_value(metrics_, R"(cache_entries{cache="footer"})"), 1);
    EXPECT_EQ(metric_value(metrics_, R"(cache_bytes{cache="footer"})"),
              static_cast<double>(budget_->used_bytes()));
    EXPECT_GE(budget_->used_bytes(), 1'000);
}

TEST_F(MemoryCacheTest, WhatWasSeenOnceAndLongestAgoGoesFirst) {
    for (const auto* object : {"a", "b", "c", "d", "e", "f"}) {
        keep(object, 1'400);
    }
    EXPECT_TRUE(has("a"));
    keep("g", 1'400);
    EXPECT_TRUE(has("a")) << "it was found again";
    EXPECT_FALSE(has("b"));
    EXPECT_TRUE(has("c"));
    EXPECT_LE(budget_->used_bytes(), budget_->limit_bytes());
    EXPECT_EQ(metric_value(metrics_, R"(cache_evictions_total{cache="footer"})"), 1);
}

TEST_F(MemoryCacheTest, AScanDoesNotFlushWhatIsUsedAgain) {
    for (const auto* object : {"a", "b", "c"}) {
        keep(object, 1'400);
        EXPECT_TRUE(has(object));
    }
    for (int i = 0; i < 1'000; ++i) {
        keep("scanned " + std::to_string(i), 1'400);
    }
    EXPECT_TRUE(has("a"));
    EXPECT_TRUE(has("b"));
    EXPECT_TRUE(has("c"));
}

TEST_F(MemoryCacheTest, WhatIsNoLongerUsedAgainGoesToo) {
    for (int i = 0; i < 20; ++i) {
        keep(std::to_string(i), 1'400);
        EXPECT_TRUE(has(std::to_string(i)));
    }
    EXPECT_FALSE(has("0"));
    EXPECT_TRUE(has("19"));
    EXPECT_LE(budget_->used_bytes(), budget_->limit_bytes());
}

TEST_F(MemoryCacheTest, WhatDoesNotFitIsNotKeptAndDrivesNothingOut) {
    keep("a", 1'000);
    keep("large", 11'000);
    EXPECT_FALSE(has("large"));
    EXPECT_TRUE(has("a"));
    const auto before = cache_.find(key("a"));
    keep("a", 2'000);
    EXPECT_EQ(cache_.find(key("a")), before) << "objects do not change";
}

TEST_F(MemoryCacheTest, GivesWayWhenTheProcessHasNoMemory) {
    keep("a", 1'000);
    ASSERT_TRUE(process_->reserve(98'600));
    keep("b", 1'200);
    EXPECT_FALSE(has("a"));
    EXPECT_FALSE(has("b")) << "not even alone";
    EXPECT_EQ(budget_->used_bytes(), 0);
    process_->release(98'600);
    keep("b", 1'200);
    EXPECT_TRUE(has("b"));
}

TEST_F(MemoryCacheTest, ForgetsAllOfAnObject) {
    cache_.keep(key("a"), value(100), 100);
    cache_.keep(key("a", 0, CachedKind::kIndexHead), value(100), 100);
    cache_.keep(key("a", 16'384, CachedKind::kIndexBlock), value(100), 100);
    cache_.keep(key("b"), value(100), 100);
    const auto used = cache_.find(key("a"));
    cache_.forget(ObjectHash::of("a"));
    EXPECT_FALSE(has("a"));
    EXPECT_EQ(cache_.find(key("a", 16'384, CachedKind::kIndexBlock)), nullptr);
    EXPECT_TRUE(has("b"));
    EXPECT_EQ(std::static_pointer_cast<const ByteBuffer>(used)->size(), 100U)
        << "who has it, has it";
    EXPECT_EQ(metric_value(metrics_, R"(cache_entries{cache="index_block"})"), 0);
    EXPECT_EQ(metric_value(metrics_, R"(cache_bytes{cache="index_block"})"), 0);
}

TEST_F(MemoryCacheTest, ManyThreadsStayWithinTheBound) {
    const auto budget = process_->make_child("many", "cache.memory_mb", 50'000);
    MetricRegistry metrics;
    MemoryCache cache(budget, metrics);
    std::vector<std::thread> threads;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        threads.emplace_back([&, seed] {
            SeededRandom random(seed);
            for (int i = 0; i < 20'000; ++i) {
                const auto number = random.next_u64() % 200;
                const auto name = key(std::to_string(number));
                if (const auto found = cache.find(name); found != nullptr) {
                    EXPECT_EQ(std::static_pointer_cast<const ByteBuffer>(found)->size(), number);
                } else {
                    cache.keep(name, value(number), number);
                }
                if (number == 7) {
                    cache.forget(name.object);
                }
                EXPECT_LE(budget->used_bytes(), budget->limit_bytes());
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(metric_value(metrics, R"(cache_bytes{cache="footer"})"),
              static_cast<double>(budget->used_bytes()));
}

}  // namespace
}  // namespace molesignal
