#include "storage/cache/object_reader.h"

#include <thread>

#include <gtest/gtest.h>

#include "storage/cache/disk_cache_fixture.h"
#include "storage/cache/forgetting_object_store.h"

namespace molesignal {
namespace {

class ObjectReaderTest : public DiskCacheFixture {
protected:
    ObjectReaderTest() {
        for (const auto& object : {small_, large_}) {
            EXPECT_TRUE(store_.put(context(), object.key, content(object)));
        }
    }
    RequestContext context() { return RequestContext::background(system_clock_, "test"); }
    enum class Disk : std::uint8_t { kNone, kUsed };
    std::unique_ptr<ObjectReader> make_reader(Disk disk,
                                              std::uint64_t gap_bytes = 0,
                                              std::uint64_t bytes_max = 1U << 20U) {
        auto memory = std::make_unique<MemoryCache>(
            MemoryBudget::make_root("cache", "cache.memory_mb", 1 << 20), metrics_);
        std::unique_ptr<DiskCache> on_disk;
        if (disk == Disk::kUsed) {
            on_disk = *DiskCache::open(
                {.directory = "cache", .bytes_max = bytes_max, .block_bytes = kBlock},
                fs_,
                system_clock_,
                metrics_);
        }
        return std::make_unique<ObjectReader>(store_,
                                              ObjectReaderOptions{.gap_bytes = gap_bytes},
                                              std::move(memory),
                                              std::move(on_disk),
                                              system_clock_,
                                              metrics_);
    }
    /// Reads and compares; the error's text if there is one.
    std::string read(ObjectReader& reader,
                     const ObjectName& object,
                     std::uint64_t offset,
                     std::uint64_t length) {
        tally_ = {};
        const auto got = reader.read(context(), object, offset, length, tally_);
        if (!got) {
            return got.error().message();
        }
        const auto all = content(object);
        return as_text(got->bytes) == as_text(Bytes(all).subspan(offset, length)) ? "right"
                                                                                  : "wrong bytes";
    }

    SystemClock system_clock_;
    GatedStore store_;
    ReadTally tally_;
};

TEST_F(ObjectReaderTest, TheSecondReadNeedsNoRequest) {
    const auto reader = make_reader(Disk::kUsed);
    EXPECT_EQ(read(*reader, large_, 100, 3'000), "right");
    EXPECT_EQ(tally_.gets, 1) << "blocks in a row are one request";
    EXPECT_EQ(tally_.hits, 0);
    EXPECT_EQ(read(*reader, large_, 100, 3'000), "right");
    EXPECT_EQ(tally_.gets, 0);
    EXPECT_EQ(tally_.hits, 1);
    EXPECT_EQ(read(*reader, large_, 1'000, 48), "right") << "a part of it";
    EXPECT_EQ(tally_.gets, 0);
    EXPECT_EQ(read(*reader, large_, 0, large_.bytes), "right");
    EXPECT_EQ(tally_.gets, 1) << "only what is missing";
    EXPECT_EQ(store_.gets, 2);
}

TEST_F(ObjectReaderTest, EveryRangeIsRightByAnyBlocks) {
    const auto reader = make_reader(Disk::kUsed, 2 * kBlock, 6 * kOnDisk);
    SeededRandom random(1);
    for (int i = 0; i < 2'000; ++i) {
        const auto& object = random.next_u64() % 4 == 0 ? small_ : large_;
        const auto offset = random.next_u64() % object.bytes;
        const auto length = 1 + random.next_u64() % (object.bytes - offset);
        ASSERT_EQ(read(*reader, object, offset, length), "right") << offset << " " << length;
    }
    EXPECT_GT(metric(R"(cache_hits_total{cache="disk"})"), 500);
}

TEST_F(ObjectReaderTest, NearBlocksAreOneRequest) {
    for (const std::uint64_t gap : {0U, 2 * kBlock}) {
        const auto reader = make_reader(Disk::kUsed, gap);
        reader->forget(large_.key);
        EXPECT_EQ(read(*reader, large_, 1 * kBlock, 2 * kBlock), "right");
        EXPECT_EQ(read(*reader, large_, 0, 4 * kBlock), "right");
        EXPECT_EQ(tally_.gets, gap == 0 ? 2 : 1) << "blocks 0 and 3, with two between them";
    }
}

TEST_F(ObjectReaderTest, SurvivesARestart) {
    EXPECT_EQ(read(*make_reader(Disk::kUsed), large_, 0, large_.bytes), "right");
    EXPECT_EQ(read(*make_reader(Disk::kUsed), large_, 0, large_.bytes), "right");
    EXPECT_EQ(tally_.gets, 0);
}

TEST_F(ObjectReaderTest, ReadersOfOneRangeShareARequest) {
    for (const auto disk : {Disk::kNone, Disk::kUsed}) {
        const auto reader = make_reader(disk);
        store_.gets = 0;
        store_.close();
        std::vector<std::thread> threads;
        std::atomic<std::int64_t> gets{0};
        std::atomic<std::int64_t> hits{0};
        std::atomic<int> joined{0};
        for (int i = 0; i < 8; ++i) {
            threads.emplace_back([&] {
                ReadTally tally;
                ++joined;
                const auto got = reader->read(context(), large_, 512, 2'048, tally);
                ASSERT_TRUE(got);
                const auto all = content(large_);
                EXPECT_EQ(as_text(got->bytes), as_text(Bytes(all).subspan(512, 2'048)));
                gets += tally.gets;
                hits += tally.hits;
            });
        }
        store_.await_waiting(1);
        while (joined < 8) {
            std::this_thread::yield();
        }
        store_.open();
        for (auto& thread : threads) {
            thread.join();
        }
        if (disk == Disk::kUsed) {
            // Who came late has found it on the disk, or has been given it.
            EXPECT_EQ(store_.gets, 1);
            EXPECT_EQ(gets, 1);
            EXPECT_EQ(hits, 7);
        } else {
            EXPECT_EQ(gets, store_.gets);
            EXPECT_EQ(hits, 8 - gets);
            EXPECT_LT(store_.gets, 8);
        }
    }
}

TEST_F(ObjectReaderTest, OverlappingReadersShareTheirBlocks) {
    const auto reader = make_reader(Disk::kUsed);
    store_.close();
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
        ReadTally tally;
        EXPECT_TRUE(reader->read(context(), large_, 0, 4 * kBlock, tally));
    });
    store_.await_waiting(1);
    ReadTally tally;
    threads.emplace_back([&] {
        const auto got = reader->read(context(), large_, 2 * kBlock, 4 * kBlock, tally);
        ASSERT_TRUE(got);
        const auto all = content(large_);
        EXPECT_EQ(as_text(got->bytes), as_text(Bytes(all).subspan(2 * kBlock, 4 * kBlock)));
    });
    store_.await_waiting(2);
    store_.open();
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(tally.gets, 1);
    EXPECT_EQ(tally.bytes, 2 * kBlock) << "the two blocks that nobody was getting";
}

TEST_F(ObjectReaderTest, AFailedReaderDoesNotFailTheOthers) {
    for (const auto disk : {Disk::kNone, Disk::kUsed}) {
        const auto reader = make_reader(disk);
        store_.gets = 0;
        store_.close();
        store_.fail(1);
        std::atomic<int> failed{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                ReadTally tally;
                failed += reader->read(context(), large_, 0, 100, tally) ? 0 : 1;
            });
        }
        store_.await_waiting(1);
        store_.open();
        for (auto& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(failed, 1) << "it alone";
    }
}

TEST_F(ObjectReaderTest, AWaiterEndsAtItsDeadlineAndByItsCancellation) {
    for (const auto disk : {Disk::kNone, Disk::kUsed}) {
        const auto reader = make_reader(disk);
        store_.close();
        std::thread leader([&] {
            ReadTally tally;
            EXPECT_TRUE(reader->read(context(), large_, 0, 100, tally));
        });
        store_.await_waiting(1);
        auto limited = context();
        limited.deadline = system_clock_.steady_now() + std::chrono::milliseconds(30);
        ReadTally tally;
        EXPECT_EQ(reader->read(limited, large_, 0, 100, tally).error().code(), ErrorCode::kTimeout);
        auto cancelled = context();
        cancelled.cancel.cancel();
        EXPECT_EQ(reader->read(cancelled, large_, 0, 100, tally).error().code(),
                  ErrorCode::kCancelled);
        store_.open();
        leader.join();
    }
}

TEST_F(ObjectReaderTest, TheSizeIsTheCatalogues) {
    for (const auto disk : {Disk::kNone, Disk::kUsed}) {
        const auto reader = make_reader(disk);
        auto bytes = content(small_);
        bytes.push_back(std::byte{1});
        ASSERT_TRUE(store_.put(context(), small_.key, bytes));
        EXPECT_EQ(read(*reader, small_, 50, 50), "it is longer than the catalogue says");
        bytes.resize(99);
        ASSERT_TRUE(store_.put(context(), small_.key, bytes));
        EXPECT_EQ(read(*reader, small_, 0, 100), "it is shorter than the catalogue says");
        bytes.resize(10);
        ASSERT_TRUE(store_.put(context(), small_.key, bytes));
        EXPECT_EQ(read(*reader, small_, 50, 50), "it is shorter than the catalogue says");
        ASSERT_TRUE(store_.put(context(), small_.key, content(small_)));
        EXPECT_EQ(read(*reader, small_, 0, 100), "right") << "nothing of it was kept";
        reader->forget(small_.key);
    }
}

TEST_F(ObjectReaderTest, ADamagedFileIsReplacedByTheObject) {
    const auto reader = make_reader(Disk::kUsed);
    EXPECT_EQ(read(*reader, small_, 0, 100), "right");
    const auto [path, good] = *files(memory_fs_).begin();
    auto bad = good;
    bad.back() ^= std::byte{1};
    overwrite(memory_fs_, path, bad);
    EXPECT_EQ(read(*reader, small_, 0, 100), "right");
    EXPECT_EQ(tally_.gets, 1);
    EXPECT_EQ(read(*reader, small_, 0, 100), "right");
    EXPECT_EQ(tally_.gets, 0);
    EXPECT_EQ(metric("cache_damaged_total"), 1);
}

TEST_F(ObjectReaderTest, AFailingDiskFailsNoRead) {
    const auto reader = make_reader(Disk::kUsed);
    EXPECT_EQ(read(*reader, large_, 0, 2 * kBlock), "right");
    for (const auto code : {ErrorCode::kUnavailable, ErrorCode::kResourceExhausted}) {
        fs_.arm({.plan = {.nth = 1, .times = FaultTimes::kForEver}, .code = code});
        EXPECT_EQ(read(*reader, large_, 0, large_.bytes), "right");
        EXPECT_EQ(read(*reader, large_, 0, large_.bytes), "right");
        EXPECT_EQ(tally_.gets, 1);
        reader->forget(large_.key);
        fs_.disarm();
    }
    EXPECT_EQ(read(*reader, large_, 0, large_.bytes), "right");
}

TEST_F(ObjectReaderTest, WhatIsReadAheadIsThereOrOnItsWay) {
    auto memory = MemoryBudget::make_root("process", "memory.limit_mb", 8 * kBlock);
    auto disk =
        *DiskCache::open({.directory = "cache", .bytes_max = 1U << 20U, .block_bytes = kBlock},
                         fs_,
                         system_clock_,
                         metrics_);
    ObjectReader reader(store_,
                        {.gap_bytes = 0, .read_ahead_threads = 2, .memory = memory},
                        nullptr,
                        std::move(disk),
                        system_clock_,
                        metrics_);
    EXPECT_TRUE(reader.reads_ahead());
    store_.close();
    std::atomic<std::int64_t> gets{0};
    reader.read_ahead(
        context(), large_, 0, 4 * kBlock, [&](const ReadTally& tally) { gets += tally.gets; });
    store_.await_waiting(1);
    EXPECT_EQ(memory->used_bytes(), 4 * kBlock);
    reader.read_ahead(context(), large_, 0, 8 * kBlock, [&](const ReadTally&) { gets = 100; });
    EXPECT_EQ(metric("object_reads_ahead_total"), 1) << "no memory for more";
    std::thread query([&] { EXPECT_EQ(read(reader, large_, 100, 2 * kBlock), "right"); });
    store_.open();
    query.join();
    EXPECT_EQ(tally_.gets, 0) << "it has waited";
    while (gets == 0) {
        std::this_thread::yield();
    }
    EXPECT_EQ(gets, 1);
    EXPECT_EQ(store_.gets, 1);
    EXPECT_FALSE(make_reader(Disk::kNone)->reads_ahead());
}

TEST_F(ObjectReaderTest, ValuesAreLoadedOnceAndShared) {
    const auto reader = make_reader(Disk::kNone);
    std::atomic<int> loads{0};
    std::atomic<std::int64_t> hits{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            ReadTally tally;
            const auto got = reader->load(
                context(),
                large_,
                CachedKind::kFooter,
                [&]() -> Result<ObjectReader::Loaded> {
                    ++loads;
                    return ObjectReader::Loaded{std::make_shared<const int>(5), 1'000};
                },
                tally);
            ASSERT_TRUE(got);
            EXPECT_EQ(*std::static_pointer_cast<const int>(*got), 5);
            hits += tally.hits;
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(loads, 1);
    EXPECT_EQ(hits, 7);
}

TEST_F(ObjectReaderTest, RemovedObjectsAreForgotten) {
    auto base = std::make_unique<GatedStore>();
    ASSERT_TRUE(base->put(context(), large_.key, content(large_)));
    auto* const store = base.get();
    std::shared_ptr<ObjectReader> reader = make_reader(Disk::kUsed);
    ForgettingObjectStore forgetting(std::move(base), reader);
    EXPECT_EQ(read(*reader, large_, 0, large_.bytes), "right");
    EXPECT_EQ(files(memory_fs_).size(), 11U);
    ASSERT_TRUE(forgetting.get(context(), large_.key, 0, 10));
    EXPECT_EQ(store->gets, 1) << "who verifies objects sees the store";
    ASSERT_TRUE(forgetting.remove(context(), large_.key));
    EXPECT_EQ(files(memory_fs_).size(), 0U);
}

}  // namespace
}  // namespace molesignal
