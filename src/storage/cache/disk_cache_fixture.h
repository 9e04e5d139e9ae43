#pragma once

#include <map>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "io/memory_fs.h"
#include "storage/cache/cache_fixture.h"
#include "storage/cache/disk_cache.h"
#include "tests/support/fault_fs.h"
#include "tests/support/manual_clock.h"

namespace molesignal {

/// A disk cache with blocks of 1 KiB on files in memory that can fail.
class DiskCacheFixture : public ::testing::Test {
protected:
    static constexpr std::uint32_t kBlock = 1024;
    /// Of a file of one block, as the cache counts it.
    static constexpr std::uint64_t kOnDisk = 4096 + 512;

    Result<std::unique_ptr<DiskCache>> make(FileSystem& fs, std::uint64_t bytes_max = 1U << 20U) {
        return DiskCache::open(
            {.directory = "cache", .bytes_max = bytes_max, .block_bytes = kBlock},
            fs,
            clock_,
            metrics_);
    }
    DiskCache& cache(std::uint64_t bytes_max = 1U << 20U) {
        if (cache_ == nullptr) {
            auto opened = make(fs_, bytes_max);
            EXPECT_TRUE(opened) << opened.error().message();
            cache_ = std::move(*opened);
        }
        return *cache_;
    }
    void reopen(std::uint64_t bytes_max = 1U << 20U) {
        cache_.reset();
        cache(bytes_max);
    }
    /// The bytes of an object, which its key decides.
    static ByteBuffer content(const ObjectName& object) {
        return random_bytes(object.bytes, ObjectHash::of(object.key).low);
    }
    static Bytes block_of(const ByteBuffer& content, std::uint64_t block) {
        const auto bytes = Bytes(content).subspan(block * kBlock);
        return bytes.first(std::min<std::size_t>(kBlock, bytes.size()));
    }
    void keep(const ObjectName& object, std::uint64_t block) {
        cache().keep(object, block, block_of(content(object), block));
    }
    /// Whether a block is found; then its bytes are right.
    bool has(const ObjectName& object, std::uint64_t block) {
        const auto found = cache().find(object, block, DiskCache::Look::kCounted);
        if (!found) {
            return false;
        }
        const auto all = content(object);
        EXPECT_EQ(as_text(found->bytes), as_text(block_of(all, block)));
        return true;
    }
    double metric(const std::string& series) { return metric_value(metrics_, series); }

    /// All files of the cache with their content.
    std::map<std::string, ByteBuffer> files(FileSystem& fs) {
        std::map<std::string, ByteBuffer> found;
        const auto directories = *fs.list("cache");
        for (const auto& directory : directories) {
            if (directory.kind != EntryKind::kDirectory) {
                continue;
            }
            const auto path = "cache/" + directory.name;
            const auto names = *fs.list(path);
            for (const auto& file : names) {
                found[path + "/" + file.name] = *read_file(fs, path + "/" + file.name, 1U << 20U);
            }
        }
        return found;
    }
    static void overwrite(FileSystem& fs, const std::string& path, Bytes bytes) {
        const auto file = *fs.open(path, OpenMode::kReadWrite);
        ASSERT_TRUE(file->truncate(0));
        ASSERT_TRUE(file->write_at(0, bytes));
        ASSERT_TRUE(file->close());
    }

    ManualClock clock_;
    MetricRegistry metrics_;
    MemoryFs memory_fs_;
    FaultFs fs_{memory_fs_};
    std::unique_ptr<DiskCache> cache_;
    const ObjectName small_ = object_named("org/logs/small.parquet", 100);
    const ObjectName large_ = object_named("org/logs/large.parquet", 10 * kBlock + 5);
};

}  // namespace molesignal
