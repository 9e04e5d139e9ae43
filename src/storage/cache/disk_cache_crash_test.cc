// The disk cache after a kill or a power cut at any moment: what is found has the right bytes.
#include <gtest/gtest.h>

#include "storage/cache/disk_cache_fixture.h"
#include "tests/support/crash_fs.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

class DiskCacheCrashTest : public DiskCacheFixture {
protected:
    static constexpr std::uint64_t kObjects = 4;
    static constexpr std::uint64_t kBlocks = 6;
    static ObjectName object(std::uint64_t number) {
        return object_named("object-" + std::to_string(number), kBlocks * kBlock - 100);
    }
    /// Random work that the seed decides.
    void work(FileSystem& fs, std::uint64_t seed, int steps) {
        cache_ = *make(fs, 12 * kOnDisk);
        SeededRandom random(seed);
        for (int i = 0; i < steps; ++i) {
            const auto which = object(random.next_u64() % kObjects);
            const auto block = random.next_u64() % kBlocks;
            switch (random.next_u64() % 8) {
                case 0:
                    cache().forget(which.key);
                    break;
                case 1:
                case 2:
                    has(which, block);
                    break;
                default:
                    keep(which, block);
            }
        }
    }
    /// Opens what a crash has left, looks at every block, and goes on working.
    std::uint64_t check(FileSystem& fs, std::uint64_t seed) {
        auto opened = make(fs, 12 * kOnDisk);
        EXPECT_TRUE(opened) << opened.error().message();
        cache_ = std::move(*opened);
        EXPECT_LE(cache().bytes(), 12 * kOnDisk);
        std::uint64_t found = 0;
        for (std::uint64_t number = 0; number < kObjects; ++number) {
            for (std::uint64_t block = 0; block < kBlocks; ++block) {
                found += has(object(number), block) ? 1 : 0;  // Compares the bytes.
            }
        }
        cache_.reset();
        work(fs, seed + 1, 10);
        cache_.reset();
        return found;
    }
};

TEST_F(DiskCacheCrashTest, APowerCutAtAnyOperationLeavesNoWrongByte) {
    const auto seed = test_seed();
    constexpr int kSteps = 60;
    std::uint64_t operations = 0;
    {
        CrashFs fs;
        work(fs, seed, kSteps);
        cache_.reset();
        operations = fs.operation_count();
    }
    testing::internal::CaptureStderr();  // Each damaged file is logged.
    std::uint64_t states = 0;
    for (const auto model : kCrashModels) {
        for (std::uint64_t at = 1; at <= operations; at += 3) {
            CrashFs fs;
            fs.snapshot_before(at, seed + at, model);
            work(fs, seed, kSteps);
            cache_.reset();
            const auto after = fs.take_snapshot();
            ASSERT_NE(after, nullptr) << at;
            check(*after, seed + at);
            ++states;
        }
    }
    (void)testing::internal::GetCapturedStderr();
    EXPECT_GT(states, 100U);
    EXPECT_GT(metric("cache_damaged_total"), 10) << "torn files were there to be found";
}

TEST_F(DiskCacheCrashTest, AfterAKillAllIsThere) {
    const auto seed = test_seed();
    constexpr std::uint64_t kRounds = 20;
    std::uint64_t all = 0;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
        CrashFs fs;
        work(fs, seed + round, 200);
        const auto entries = cache().entries();
        const auto after = fs.clone_after_kill();
        cache_.reset();
        EXPECT_EQ(check(*after, seed + round), entries);
        all += entries;
    }
    EXPECT_GT(all, 2 * kRounds) << "some rounds end with an object that was forgotten";
    EXPECT_EQ(metric("cache_damaged_total"), 0);
}

}  // namespace
}  // namespace molesignal
