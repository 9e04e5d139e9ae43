#include "storage/cache/disk_cache.h"

#include <sstream>
#include <thread>

#include <gtest/gtest.h>

#include "io/posix_fs.h"
#include "storage/cache/disk_cache_fixture.h"
#include "tests/support/small_disk_fs.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

class DiskCacheTest : public DiskCacheFixture {};

/// The hex digits of the example in docs/formats/disk_cache.md; "--" begins a comment.
std::string example_of_the_page() {
    PosixFs fs;
    const auto page =
        read_file(fs, test_variable("MS_SOURCE_DIR") + "/docs/formats/disk_cache.md", 1U << 20U);
    EXPECT_TRUE(page) << "MS_SOURCE_DIR must be the repository";
    std::istringstream lines(page ? std::string(as_text(*page)) : std::string());
    std::string digits;
    bool is_example = false;
    for (std::string line; std::getline(lines, line);) {
        is_example = is_example || line == "## Example";
        if (is_example && line.find(" -- ") != std::string::npos) {
            line.resize(line.find(" -- "));
            std::erase(line, ' ');
            digits += line;
        }
    }
    return digits;
}

TEST_F(DiskCacheTest, TheWorkedExampleOfThePageIsWhatIsWritten) {
    const auto object = object_named("o/a.idx", 20, 0x0102030405060708);
    const DiskBlockName name{.object = &object, .block_bytes = 8, .block = 2};
    const auto file = encode_disk_block(name, as_bytes("last"));
    std::string digits;
    for (const auto byte : file) {
        digits += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    }
    EXPECT_EQ(digits, example_of_the_page());
    const auto content = decode_disk_block(name, file);
    ASSERT_TRUE(content);
    EXPECT_EQ(as_text(*content), "last");
}

TEST_F(DiskCacheTest, KeepsBlocksAndCounts) {
    EXPECT_FALSE(has(large_, 3));
    keep(large_, 3);
    keep(large_, 10);
    keep(small_, 0);
    EXPECT_TRUE(has(large_, 3));
    EXPECT_TRUE(has(large_, 10)) << "the last one is shorter";
    EXPECT_TRUE(has(small_, 0));
    EXPECT_FALSE(has(large_, 4));
    EXPECT_EQ(metric(R"(cache_hits_total{cache="disk"})"), 3);
    EXPECT_EQ(metric(R"(cache_misses_total{cache="disk"})"), 2);
    EXPECT_EQ(metric(R"(cache_entries{cache="disk"})"), 3);
    EXPECT_EQ(metric(R"(cache_bytes{cache="disk"})"), 3 * kOnDisk);
}

TEST_F(DiskCacheTest, SurvivesARestart) {
    for (std::uint64_t block = 0; block < 11; ++block) {
        keep(large_, block);
    }
    reopen();
    EXPECT_EQ(cache().entries(), 11U);
    EXPECT_EQ(cache().bytes(), 11 * kOnDisk);
    for (std::uint64_t block = 0; block < 11; ++block) {
        EXPECT_TRUE(has(large_, block)) << block;
    }
}

TEST_F(DiskCacheTest, TheLongestUnusedGoesAndTheBoundHolds) {
    cache(4 * kOnDisk);
    for (const std::uint64_t block : {0, 1, 2, 3}) {
        keep(large_, block);
    }
    EXPECT_TRUE(has(large_, 0));
    keep(large_, 4);
    EXPECT_TRUE(has(large_, 0));
    EXPECT_FALSE(has(large_, 1));
    EXPECT_EQ(cache().bytes(), 4 * kOnDisk);
    EXPECT_EQ(files(memory_fs_).size(), 4U) << "files go with their entries";
    EXPECT_EQ(metric(R"(cache_evictions_total{cache="disk"})"), 1);
    reopen(2 * kOnDisk);
    EXPECT_EQ(cache().entries(), 2U) << "the setting has become smaller";
    EXPECT_EQ(files(memory_fs_).size(), 2U);
}

TEST_F(DiskCacheTest, AFileLargerThanAllIsNotKept) {
    cache(kOnDisk - 1);
    keep(small_, 0);
    EXPECT_FALSE(has(small_, 0));
}

TEST_F(DiskCacheTest, ObjectsThatAreGoneFallOut) {
    keep(large_, 0);
    keep(large_, 7);
    keep(small_, 0);
    cache().forget(large_.key);
    EXPECT_FALSE(has(large_, 0));
    EXPECT_FALSE(has(large_, 7));
    EXPECT_TRUE(has(small_, 0));
    EXPECT_EQ(files(memory_fs_).size(), 1U);
    reopen();
    keep(large_, 7);
    reopen();
    cache().forget(large_.key);
    EXPECT_EQ(files(memory_fs_).size(), 1U) << "also what an earlier process has kept";
}

TEST_F(DiskCacheTest, EachFlippedByteOfAFileIsFoundAndRemoved) {
    keep(small_, 0);
    keep(large_, 10);
    const auto good = files(memory_fs_);
    ASSERT_EQ(good.size(), 2U);
    int damaged = 0;
    for (const auto& [path, bytes] : good) {
        for (std::size_t at = 0; at < bytes.size(); ++at) {
            for (const unsigned bits : {0x01U, 0x80U, 0xffU}) {
                auto bad = bytes;
                bad[at] ^= static_cast<std::byte>(bits);
                overwrite(memory_fs_, path, bad);
                const bool is_small = path.ends_with("-0");
                EXPECT_FALSE(has(is_small ? small_ : large_, is_small ? 0 : 10)) << at;
                EXPECT_EQ(metric("cache_damaged_total"), ++damaged);
                EXPECT_FALSE(*memory_fs_.exists(path));
                keep(is_small ? small_ : large_, is_small ? 0 : 10);
            }
        }
    }
    EXPECT_TRUE(has(small_, 0));
    EXPECT_TRUE(has(large_, 10));
}

TEST_F(DiskCacheTest, AFileOfAnyOtherLengthIsFoundToBeDamaged) {
    keep(small_, 0);
    const auto [path, good] = *files(memory_fs_).begin();
    for (std::size_t bytes = 0; bytes < good.size() + 3; ++bytes) {
        if (bytes == good.size()) {
            continue;
        }
        auto bad = good;
        bad.resize(bytes);
        overwrite(memory_fs_, path, bad);
        EXPECT_FALSE(has(small_, 0)) << bytes;
        keep(small_, 0);
    }
    EXPECT_TRUE(has(small_, 0));
}

TEST_F(DiskCacheTest, AFileOfAnotherObjectIsNotBelieved) {
    keep(small_, 0);
    auto other = small_;
    other.xxh3 = 2;
    EXPECT_FALSE(cache().find(other, 0, DiskCache::Look::kCounted)) << "the same key, another hash";
    keep(small_, 0);
    other = object_named(small_.key, 101);
    EXPECT_FALSE(cache().find(other, 0, DiskCache::Look::kCounted)) << "another size";
    EXPECT_EQ(metric("cache_damaged_total"), 2);
    // A file under another one's name.
    keep(large_, 1);
    keep(large_, 2);
    const auto all = files(memory_fs_);
    overwrite(memory_fs_, all.begin()->first, std::next(all.begin())->second);
    EXPECT_FALSE(has(large_, 1));
    EXPECT_TRUE(has(large_, 2));
}

TEST_F(DiskCacheTest, AFileThatIsGoneIsAMiss) {
    keep(small_, 0);
    ASSERT_TRUE(memory_fs_.remove(files(memory_fs_).begin()->first));
    EXPECT_FALSE(has(small_, 0));
    EXPECT_EQ(metric("cache_damaged_total"), 0);
    EXPECT_EQ(metric("cache_disk_failures_total"), 0);
    EXPECT_EQ(cache().bytes(), 0U);
}

TEST_F(DiskCacheTest, AFailingDiskIsLeftAloneForAWhile) {
    for (const auto verb : {FsVerb::kOpen, FsVerb::kWrite, FsVerb::kClose, FsVerb::kRename}) {
        keep(small_, 0);
        fs_.arm({.verbs = {verb},
                 .plan = {.nth = 1, .times = FaultTimes::kForEver},
                 .code = ErrorCode::kResourceExhausted});
        keep(large_, 1);
        const auto operations = fs_.operation_count();
        keep(large_, 2);
        EXPECT_EQ(fs_.operation_count(), operations) << "no try before the pause is over";
        fs_.disarm();
        EXPECT_FALSE(has(large_, 1));
        clock_.advance(std::chrono::seconds(11));
        keep(large_, 1);
        EXPECT_TRUE(has(large_, 1)) << "it works again";
        cache().forget(large_.key);
    }
    EXPECT_EQ(files(memory_fs_).size(), 1U) << "nothing is left of failed writes";
    EXPECT_EQ(metric("cache_disk_failures_total"), 4);
}

TEST_F(DiskCacheTest, WhatCannotBeReadIsAMiss) {
    keep(small_, 0);
    fs_.arm({.verbs = {FsVerb::kRead}});
    EXPECT_FALSE(has(small_, 0));
    fs_.disarm();
    EXPECT_FALSE(has(small_, 0)) << "it went";
    EXPECT_EQ(metric("cache_disk_failures_total"), 1);
}

TEST_F(DiskCacheTest, EachCallMayFailAndNoWrongByteIsFound) {
    const auto cases = for_each_failure([this](const FaultPlan& plan) {
        MemoryFs base;
        FaultFs fs(base);
        fs.arm({.plan = plan});
        auto opened = make(fs, 3 * kOnDisk);
        if (opened) {
            cache_ = std::move(*opened);
            for (const std::uint64_t block : {0, 1, 2, 3, 4, 2}) {
                keep(large_, block);
                has(large_, block);
                clock_.advance(std::chrono::seconds(11));
            }
            cache().forget(large_.key);
            keep(small_, 0);
            EXPECT_LE(cache().bytes(), 3 * kOnDisk);
        }
        cache_.reset();
        const bool fired = fs.fired() > 0;
        fs.disarm();
        auto again = make(fs, 3 * kOnDisk);
        EXPECT_TRUE(again);
        cache_ = std::move(*again);
        for (std::uint64_t block = 0; block < 11; ++block) {
            has(large_, block);
        }
        has(small_, 0);
        cache_.reset();
        return fired;
    });
    EXPECT_GT(cases, 60U);
}

TEST_F(DiskCacheTest, GivesWayOnADiskThatIsNearlyFull) {
    SmallDiskFs disk(memory_fs_, 1U << 20U);
    cache_ = *DiskCache::open({.directory = "cache",
                               .bytes_max = 8U << 20U,
                               .block_bytes = kBlock,
                               .free_ratio_min = 0.5},
                              disk,
                              clock_,
                              metrics_);
    const auto object = object_named("o", 2'000 * kBlock);
    const auto bytes = content(object);
    for (std::uint64_t block = 0; block < 2'000; ++block) {
        cache().keep(object, block, block_of(bytes, block));
        ASSERT_LE(disk.used_bytes(), (1U << 19U) + 2 * kBlock);
    }
    EXPECT_GT(cache().entries(), 400U);
    const auto before = cache().entries();
    // Others write: the cache shrinks as it is used.
    disk.set_capacity(disk.used_bytes() + 10 * kBlock);
    for (std::uint64_t block = 0; block < 50; ++block) {
        cache().keep(object, block, block_of(bytes, block));
    }
    EXPECT_LT(cache().entries(), before - 40);
    EXPECT_EQ(metric("cache_disk_failures_total"), 0);
}

TEST_F(DiskCacheTest, OneProcessHasTheDirectory) {
    cache();
    const auto second = make(fs_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
}

TEST_F(DiskCacheTest, WhatIsNotOursStays) {
    cache();
    ASSERT_TRUE(memory_fs_.create_directories("cache/ab"));
    ASSERT_TRUE(memory_fs_.create_directories("cache/photos"));
    for (const auto* path : {"cache/ab/notes.txt", "cache/photos/1.jpg", "cache/README"}) {
        ASSERT_TRUE((*memory_fs_.open(path, OpenMode::kCreateNew))->write_at(0, as_bytes("x")));
    }
    ASSERT_TRUE((*memory_fs_.open("cache/tmp/17", OpenMode::kCreateNew))->close());
    reopen();
    EXPECT_EQ(cache().entries(), 0U);
    EXPECT_TRUE(*memory_fs_.exists("cache/ab/notes.txt"));
    EXPECT_TRUE(*memory_fs_.exists("cache/photos/1.jpg"));
    EXPECT_FALSE(*memory_fs_.exists("cache/tmp/17")) << "left by a killed process";
}

TEST_F(DiskCacheTest, ManyThreadsReadRightBytesWithinTheBound) {
    cache(20 * kOnDisk);
    std::vector<std::thread> threads;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        threads.emplace_back([&, seed] {
            SeededRandom random(seed);
            for (int i = 0; i < 1'500; ++i) {
                const auto object =
                    object_named("o" + std::to_string(random.next_u64() % 5), 8 * kBlock);
                const auto block = random.next_u64() % 8;
                if (!has(object, block)) {
                    keep(object, block);
                }
                if (random.next_u64() % 100 == 0) {
                    cache().forget(object.key);
                }
                EXPECT_LE(cache().bytes(), 20 * kOnDisk);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(metric("cache_damaged_total"), 0);
    const auto entries = cache().entries();
    reopen(20 * kOnDisk);
    EXPECT_LE(cache().entries(), entries) << "no file is left that nobody counted";
}

}  // namespace
}  // namespace molesignal
