// Queries over cached objects: fewer requests, the same rows, and no cached byte that is believed
// without a check.
#include <thread>

#include "io/memory_fs.h"
#include "query/sql/engine_fixture.h"
#include "storage/cache/object_reader.h"
#include "tests/support/faulty_object_store.h"

namespace molesignal {
namespace {

class CachedObjects : public EngineFixture {
protected:
    enum class Use : std::uint8_t { kMemory = 1, kDisk = 2, kBoth = 3 };

    /// An engine whose reads go through these caches from here on.
    void use_caches(Use use, std::uint64_t gap_bytes = 64U << 10U) {
        close_engine();
        reader_ = nullptr;
        options_.reader = nullptr;
        std::unique_ptr<MemoryCache> memory;
        if (use != Use::kDisk) {
            memory = std::make_unique<MemoryCache>(
                MemoryBudget::make_root("cache", "cache.memory_mb", 8 << 20), metrics_);
        }
        std::unique_ptr<DiskCache> disk;
        if (use != Use::kMemory) {
            disk = *DiskCache::open(
                {.directory = "cache", .bytes_max = 64U << 20U, .block_bytes = 16U << 10U},
                files_,
                system_clock_,
                metrics_);
        }
        reader_ = std::make_shared<ObjectReader>(faulty_,
                                                 ObjectReaderOptions{.gap_bytes = gap_bytes},
                                                 std::move(memory),
                                                 std::move(disk),
                                                 system_clock_,
                                                 metrics_);
        options_.reader = reader_;
    }
    /// A part that is larger than what is read of its end.
    PartInfo large_part(std::uint64_t first = 0) {
        std::vector<std::int64_t> times;
        std::vector<std::optional<std::uint64_t>> numbers;
        std::vector<std::optional<std::string>> texts;
        for (std::uint64_t i = 0; i < 16'000; ++i) {
            times.push_back(1'700'000'000'000'000'000 + static_cast<std::int64_t>(i));
            numbers.emplace_back((first + i) * 2'654'435'761 % 1'000'003);
            texts.emplace_back(fmt::format("text {:x}", (first + i) * 0x9e3779b97f4a7c15));
        }
        return add_part("app",
                        ChunkBuilder(0, times)
                            .fixed("n", FieldType::kInt64, numbers)
                            .text("s", FieldType::kString, texts)
                            .build());
    }
    SqlStats stats_of(const std::string& statement, const std::string& expected) {
        auto result = start(statement);
        EXPECT_TRUE(result);
        EXPECT_EQ(rest(**result), expected);
        return (*result)->stats();
    }

    MemoryFs files_;
    FaultyObjectStore faulty_{objects_};
    std::shared_ptr<ObjectReader> reader_;
    const std::string statement_ = "SELECT sum(n), max(s), count(*) FROM logs.app";
};

TEST_F(CachedObjects, ASecondQueryNeedsNoRequest) {
    large_part();
    large_part(16'000);
    const auto expected = answer(statement_);
    use_caches(Use::kBoth);
    const auto first = stats_of(statement_, expected);
    EXPECT_GE(first.object_gets, 2);
    const auto second = stats_of(statement_, expected);
    EXPECT_EQ(second.object_gets, 0);
    EXPECT_EQ(second.scanned_bytes, 0);
    EXPECT_GE(second.cache_hits, 4) << "two footers, two ranges";
    EXPECT_EQ(second.row_groups_skipped, 0) << "it has read them all the same";
    // After a restart.
    use_caches(Use::kBoth);
    EXPECT_EQ(stats_of(statement_, expected).object_gets, 0);
}

TEST_F(CachedObjects, WithoutADiskCacheOnlyTheFootersAreKept) {
    large_part();
    const auto expected = answer(statement_);
    use_caches(Use::kMemory);
    const auto first = stats_of(statement_, expected);
    const auto second = stats_of(statement_, expected);
    EXPECT_EQ(second.object_gets, first.object_gets - 1);
    EXPECT_GT(second.object_gets, 0);
}

TEST_F(CachedObjects, NearColumnsAreOneRequest) {
    std::vector<std::int64_t> times;
    std::vector<std::optional<std::string>> texts;
    for (int i = 0; i < 8'000; ++i) {
        times.push_back(1'700'000'000'000'000'000 + i);
        texts.emplace_back(
            fmt::format("{:032x}", static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15));
    }
    ChunkBuilder columns(0, times);
    for (const auto* name : {"a", "b", "c", "d", "e", "f"}) {
        columns.text(name, FieldType::kString, texts);
    }
    add_part("app", columns.build());
    const std::string statement = "SELECT max(a), max(c), max(e) FROM logs.app WHERE f = ''";
    const auto gets = [&](std::uint64_t gap) {
        use_caches(Use::kMemory, gap);
        (void)stats_of(statement, ",,\n");
        return stats_of("SELECT max(a), max(c) FROM logs.app",
                        answer("SELECT max(a), max(c) FROM logs.app"))
            .object_gets;
    };
    EXPECT_EQ(gets(0), 2);
    EXPECT_EQ(gets(1U << 20U), 1);
}

TEST_F(CachedObjects, AWrongCachedCopyIsReplacedByTheObject) {
    const auto part = large_part();
    const auto small = add_part("app", numbered_chunk(3));
    const auto expected = answer(statement_);
    for (const auto& damaged : {part, small}) {
        use_caches(Use::kBoth);
        const auto& object = damaged.objects.front();
        const ObjectName name{.key = object.key,
                              .bytes = static_cast<std::uint64_t>(object.bytes),
                              .xxh3 = object.xxh3};
        const auto good = *objects_.get(context(), object.key, 0, name.bytes);
        SeededRandom random(3);
        for (int round = 0; round < 60; ++round) {
            // As if a bit had flipped on the way from the store to the disk.
            auto bad = good;
            const auto bit = random.next_u64() % (bad.size() * 8);
            bad[bit / 8] ^= std::byte{1} << (bit % 8);
            reader_->forget(object.key);
            const auto block_bytes = std::size_t{reader_->disk()->block_bytes()};
            for (std::size_t at = 0; at < bad.size(); at += block_bytes) {
                reader_->disk()->keep(
                    name,
                    at / block_bytes,
                    Bytes(bad).subspan(at, std::min(block_bytes, bad.size() - at)));
            }
            EXPECT_EQ(answer(statement_), expected) << "bit " << bit;
        }
    }
}

TEST_F(CachedObjects, DamageOnTheWayIsReadAnewAndNotKept) {
    const auto part = large_part();
    const auto expected = answer(statement_);
    for (const auto use : {Use::kMemory, Use::kDisk, Use::kBoth}) {
        for (std::uint64_t nth = 1; nth < 3; ++nth) {
            use_caches(use);
            reader_->forget(part.objects.front().key);
            faulty_.arm({.verbs = {ObjectVerb::kGet},
                         .plan = {.nth = nth},
                         .effect = ObjectFaultEffect::kCorruptBody});
            EXPECT_EQ(answer(statement_), expected) << nth;
            EXPECT_EQ(faulty_.fired(), 1U) << nth;
            faulty_.disarm();
            EXPECT_EQ(answer(statement_), expected);
        }
        // All of the way is bad.
        reader_->forget(part.objects.front().key);
        faulty_.arm({.verbs = {ObjectVerb::kGet},
                     .plan = {.nth = 1, .times = FaultTimes::kForEver},
                     .effect = ObjectFaultEffect::kCorruptBody});
        EXPECT_EQ(failure(statement_).code(), ErrorCode::kCorruption);
        faulty_.disarm();
        EXPECT_EQ(answer(statement_), expected) << "nothing of it was kept";
    }
}

TEST_F(CachedObjects, ADamagedObjectIsAnErrorWhereItIsNotCached) {
    const auto part = large_part();
    const auto expected = answer(statement_);
    use_caches(Use::kBoth);
    EXPECT_EQ(answer(statement_), expected);
    const auto& key = part.objects.front().key;
    auto bad =
        *objects_.get(context(), key, 0, static_cast<std::uint64_t>(part.objects.front().bytes));
    for (std::size_t at = 4; at < bad.size(); at += 1'000) {
        bad[at] ^= std::byte{1};
    }
    ASSERT_TRUE(objects_.put(context(), key, bad));
    EXPECT_EQ(answer(statement_), expected) << "the cached bytes are right";
    reader_->forget(key);
    const auto error = failure(statement_);
    EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.message();
    EXPECT_EQ(failure(statement_).code(), ErrorCode::kCorruption) << "nothing of it was believed";
}

TEST_F(CachedObjects, ManyQueriesAtOnceAgree) {
    options_.concurrency_max = 4;
    large_part();
    large_part(16'000);
    add_part("app", numbered_chunk(100));
    const auto expected = answer(statement_);
    for (const auto use : {Use::kMemory, Use::kDisk, Use::kBoth}) {
        use_caches(use);
        std::vector<Result<std::unique_ptr<SqlResult>>> results;
        std::vector<std::thread> threads;
        (void)engine();
        std::atomic<int> right{0};
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&, i] {
                for (int round = 0; round < 5; ++round) {
                    SqlQuery query;
                    query.id = fmt::format("many{}-{}-{}", static_cast<int>(use), i, round);
                    query.org = org_;
                    query.statement = statement_;
                    auto result = engine().run(context(), std::move(query));
                    right += result && rest(**result) == expected ? 1 : 0;
                }
            });
        }
        for (auto& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(right, 20);
    }
}

}  // namespace
}  // namespace molesignal
