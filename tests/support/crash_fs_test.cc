#include "tests/support/crash_fs.h"

#include <set>

#include <gtest/gtest.h>

#include "tests/support/fault_fs.h"
#include "tests/support/test_environment.h"
#include "tests/support/trace_fs.h"

namespace molesignal {
namespace {

constexpr std::uint64_t kBytesMax = 1U << 20U;

std::string content(FileSystem& fs, const std::string& path) {
    const auto bytes = read_file(fs, path, kBytesMax);
    return bytes.has_value() ? std::string(as_text(*bytes)) : "<none>";
}

void create(FileSystem& fs, const std::string& path, std::string_view text) {
    const auto file = fs.open(path, OpenMode::kCreateNew).value();
    ASSERT_TRUE(file->write_at(0, as_bytes(text)));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(fs.sync_directory(parent_path(path)));
}

TEST(CrashFs, SyncedDataAndNamesSurviveEveryModel) {
    CrashFs fs;
    ASSERT_TRUE(fs.create_directories("/a/b"));
    create(fs, "/a/b/f", "kept");
    for (const auto model : kCrashModels) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            EXPECT_EQ(content(*fs.clone_after_crash(seed, model), "/a/b/f"), "kept");
        }
    }
}

TEST(CrashFs, SyncedContentWithoutSyncedNameMayBeGone) {
    CrashFs fs;
    const auto file = fs.open("/f", OpenMode::kCreateNew).value();
    ASSERT_TRUE(file->write_at(0, as_bytes("x")));
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "<none>");
    std::set<std::string> seen;
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        seen.insert(content(*fs.clone_after_crash(seed, CrashModel::kRandomBlocks), "/f"));
    }
    EXPECT_EQ(seen, (std::set<std::string>{"<none>", "x"}));
}

TEST(CrashFs, DropUnsyncedGoesBackToTheLastSync) {
    CrashFs fs;
    create(fs, "/f", "old content");
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->write_at(0, as_bytes("NEW")));
    ASSERT_TRUE(file->truncate(5));
    EXPECT_EQ(content(fs, "/f"), "NEW c");
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "old content");
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "NEW c");
}

TEST(CrashFs, RandomBlocksKeepAnySubsetOfWholeBlocks) {
    constexpr std::size_t kBlock = 4096;
    CrashFs fs;
    create(fs, "/f", std::string(3 * kBlock, 'o'));
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->write_at(0, as_bytes(std::string(3 * kBlock, 'n'))));
    std::set<std::string> seen;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const auto text = content(*fs.clone_after_crash(seed, CrashModel::kRandomBlocks), "/f");
        ASSERT_EQ(text.size(), 3 * kBlock);
        std::string blocks;
        for (std::size_t block = 0; block < 3; ++block) {
            const auto part = text.substr(block * kBlock, kBlock);
            ASSERT_EQ(part, std::string(kBlock, part[0]));
            blocks += part[0];
        }
        seen.insert(blocks);
    }
    EXPECT_EQ(seen.size(), 8);
}

TEST(CrashFs, TornSectorsCutInsideABlock) {
    CrashFs fs;
    create(fs, "/f", std::string(4096, 'o'));
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->write_at(0, as_bytes(std::string(4096, 'n'))));
    bool torn = false;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const auto text = content(*fs.clone_after_crash(seed, CrashModel::kTornSectors), "/f");
        for (std::size_t sector = 0; sector < 8; ++sector) {
            const auto part = text.substr(sector * 512, 512);
            ASSERT_EQ(part, std::string(512, part[0]));
            torn = torn || part[0] != text[0];
        }
    }
    EXPECT_TRUE(torn);
}

TEST(CrashFs, MetadataWithoutDataGrowsWithZeros) {
    CrashFs fs;
    create(fs, "/f", "old");
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->write_at(0, as_bytes("newer")));
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kMetadataWithoutData), "/f"),
              std::string("old\0\0", 5));
}

TEST(CrashFs, AllocatedAndSyncedSizeIsCertain) {
    CrashFs fs;
    create(fs, "/f", "");
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->allocate(1000));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(file->write_at(10, as_bytes("x")));
    for (const auto model : kCrashModels) {
        EXPECT_EQ(content(*fs.clone_after_crash(3, model), "/f").size(), 1000);
    }
}

TEST(CrashFs, RenameInOneDirectoryLeavesTheOldOrTheNew) {
    CrashFs fs;
    create(fs, "/f", "old");
    create(fs, "/f.tmp", "new");
    ASSERT_TRUE(fs.rename("/f.tmp", "/f"));
    std::set<std::string> seen;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const auto after = fs.clone_after_crash(seed, CrashModel::kRandomBlocks);
        seen.insert(content(*after, "/f") + " " + content(*after, "/f.tmp"));
    }
    EXPECT_EQ(seen, (std::set<std::string>{"old new", "new <none>"}));
    ASSERT_TRUE(fs.sync_directory("/"));
    for (const auto model : kCrashModels) {
        EXPECT_EQ(content(*fs.clone_after_crash(1, model), "/f"), "new");
    }
}

TEST(CrashFs, RenameBetweenDirectoriesNeverLosesTheFile) {
    CrashFs fs;
    ASSERT_TRUE(fs.create_directories("/a"));
    ASSERT_TRUE(fs.create_directories("/b"));
    create(fs, "/a/f", "x");
    ASSERT_TRUE(fs.rename("/a/f", "/b/f"));
    std::set<std::string> seen;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const auto after = fs.clone_after_crash(seed, CrashModel::kTornSectors);
        seen.insert(content(*after, "/a/f") + " " + content(*after, "/b/f"));
    }
    EXPECT_EQ(seen, (std::set<std::string>{"x <none>", "x x", "<none> x"}));
    // The other directory's half goes with it.
    ASSERT_TRUE(fs.sync_directory("/a"));
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/b/f"), "x");
}

TEST(CrashFs, RemovedButNotSyncedNameMayComeBack) {
    CrashFs fs;
    create(fs, "/f", "x");
    ASSERT_TRUE(fs.remove("/f"));
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "x");
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kMetadataWithoutData), "/f"), "<none>");
    ASSERT_TRUE(fs.sync_directory("/"));
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "<none>");
}

/// Replaces a file in the way that is safe, and checks it at every operation and by every model.
TEST(CrashFs, AtomicReplacementHoldsAtEveryOperation) {
    const auto seed = test_seed();
    std::uint64_t operations = 0;
    {
        CrashFs fs;
        create(fs, "/f", "old");
        const auto before = fs.operation_count();
        ASSERT_TRUE(write_file_atomically(fs, "/f", as_bytes("new")));
        operations = fs.operation_count() - before;
    }
    EXPECT_EQ(operations, 5);
    for (const auto model : kCrashModels) {
        for (std::uint64_t number = 1; number <= operations; ++number) {
            CrashFs fs;
            create(fs, "/f", "old");
            fs.snapshot_before(fs.operation_count() + number, seed + number, model);
            ASSERT_TRUE(write_file_atomically(fs, "/f", as_bytes("new")));
            const auto after = fs.take_snapshot();
            ASSERT_NE(after, nullptr);
            const auto text = content(*after, "/f");
            EXPECT_TRUE(text == "old" || text == "new") << text << " before " << number;
            // What the cut left behind is no obstacle.
            ASSERT_TRUE(write_file_atomically(*after, "/f", as_bytes("newer")));
            EXPECT_EQ(content(*after->clone_after_crash(1, CrashModel::kDropUnsynced), "/f"),
                      "newer");
        }
    }
}

TEST(CrashFs, AFileThatWasRenamedAcrossDirectoriesAndRemovedIsGone) {
    CrashFs fs;
    ASSERT_TRUE(fs.create_directories("/a"));
    ASSERT_TRUE(fs.create_directories("/b"));
    create(fs, "/a/f", "x");
    ASSERT_TRUE(fs.rename("/a/f", "/b/f"));
    ASSERT_TRUE(fs.sync_directory("/b"));
    ASSERT_TRUE(fs.remove("/b/f"));
    ASSERT_TRUE(fs.sync_directory("/b"));
    // The old name's removal is still pending, and what it was bound to is gone for good.
    std::set<std::string> seen;
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        const auto after = fs.clone_after_crash(seed, CrashModel::kRandomBlocks);
        EXPECT_EQ(content(*after, "/b/f"), "<none>");
        seen.insert(content(*after, "/a/f"));
    }
    EXPECT_EQ(seen, (std::set<std::string>{"<none>", "x"}));
}

TEST(CrashFs, WhatAFailedSyncLostStaysLostAndLaterWritesDoNot) {
    CrashFs fs;
    create(fs, "/f", "0123456789");
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->write_at(0, as_bytes("ab")));
    fs.lose_unsynced("/f");
    ASSERT_TRUE(file->write_at(5, as_bytes("xy")));
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(fs, "/f"), "ab234xy789");
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "01234xy789");
}

TEST(CrashFs, AKillTakesNothingAndMakesNothingDurable) {
    CrashFs fs;
    create(fs, "/f", "old");
    const auto file = fs.open("/f", OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->write_at(0, as_bytes("new")));
    ASSERT_TRUE(fs.rename("/f", "/g"));
    const auto killed = fs.clone_after_kill();
    ASSERT_TRUE(file->write_at(0, as_bytes("bad")));
    EXPECT_EQ(content(*killed, "/g"), "new");
    EXPECT_EQ(content(*killed, "/f"), "<none>");
    EXPECT_EQ(content(*killed->clone_after_crash(1, CrashModel::kDropUnsynced), "/f"), "old");
    ASSERT_TRUE(killed->open("/g", OpenMode::kReadWrite).value()->sync());
    ASSERT_TRUE(killed->sync_directory("/"));
    EXPECT_EQ(content(*killed->clone_after_crash(1, CrashModel::kDropUnsynced), "/g"), "new");
}

TEST(CrashFs, ReplacementWithoutSyncIsCaught) {
    CrashFs fs;
    create(fs, "/f", "old");
    const auto file = fs.open("/f.tmp", OpenMode::kCreateNew).value();
    ASSERT_TRUE(file->write_at(0, as_bytes("new")));
    ASSERT_TRUE(fs.rename("/f.tmp", "/f"));
    EXPECT_EQ(content(*fs.clone_after_crash(1, CrashModel::kMetadataWithoutData), "/f"),
              std::string(3, '\0'));
}

TEST(TraceFs, WritesDownChangesInOrder) {
    CrashFs base;
    ASSERT_TRUE(base.create_directories("/base/d"));
    TraceFs fs(base, "/base/d");
    ASSERT_TRUE(write_file_atomically(fs, "/base/d/f", as_bytes("12345")));
    EXPECT_FALSE(fs.remove("/base/d/missing"));
    EXPECT_EQ(fs.take_trace(),
              "create f.tmp\nwrite f.tmp offset=0 bytes=5\nsync f.tmp\nclose f.tmp\n"
              "rename f.tmp f\nsync-directory .\nremove missing failed\n");
    EXPECT_EQ(fs.take_trace(), "");
}

}  // namespace
}  // namespace molesignal
