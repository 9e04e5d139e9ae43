#include "io/file_system.h"

#include <gtest/gtest.h>

#include "io/memory_fs.h"
#include "io/posix_fs.h"
#include "tests/support/crash_fs.h"
#include "tests/support/fault_fs.h"
#include "tests/support/test_environment.h"
#include "tests/support/trace_fs.h"

namespace molesignal {
namespace {

/// A file system with an empty directory for the test.
struct FileSystemUnderTest {
    std::shared_ptr<void> keeps_alive;
    FileSystem* fs = nullptr;
    std::string root;
};

FileSystemUnderTest make_posix() {
    struct Parts {
        TemporaryDirectory directory;
        PosixFs fs;
    };
    auto parts = std::make_shared<Parts>();
    return {.keeps_alive = parts, .fs = &parts->fs, .root = parts->directory.path()};
}

FileSystemUnderTest make_memory() {
    auto fs = std::make_shared<MemoryFs>();
    return {.keeps_alive = fs, .fs = fs.get(), .root = "/"};
}

FileSystemUnderTest make_crash() {
    auto fs = std::make_shared<CrashFs>();
    return {.keeps_alive = fs, .fs = fs.get(), .root = "/"};
}

FileSystemUnderTest make_wrapped() {
    struct Parts {
        TemporaryDirectory directory;
        PosixFs base;
        TraceFs traced{base, "/"};
        FaultFs fs{traced};
    };
    auto parts = std::make_shared<Parts>();
    return {.keeps_alive = parts, .fs = &parts->fs, .root = parts->directory.path()};
}

class FileSystemTest : public testing::TestWithParam<FileSystemUnderTest (*)()> {
protected:
    FileSystem& fs() { return *under_test_.fs; }
    std::string path(const std::string& name) const { return join_path(under_test_.root, name); }
    void create(const std::string& name, std::string_view content) {
        const auto file = fs().open(path(name), OpenMode::kCreateNew).value();
        ASSERT_TRUE(file->write_at(0, as_bytes(content)));
        ASSERT_TRUE(file->sync());
        ASSERT_TRUE(file->close());
    }
    std::string content(const std::string& name) {
        const auto bytes = read_file(fs(), path(name), 1U << 20U);
        return bytes.has_value() ? std::string(as_text(*bytes)) : "<none>";
    }
    template <class Outcome>
    static ErrorCode code(const Outcome& outcome) {
        return outcome.has_value() ? ErrorCode{0} : outcome.error().code();
    }

    FileSystemUnderTest under_test_ = GetParam()();
};

TEST_P(FileSystemTest, WritesGrowAndReadsStopAtTheEnd) {
    const auto file = fs().open(path("f"), OpenMode::kCreateNew).value();
    ASSERT_TRUE(file->write_at(3, as_bytes("abc")));
    EXPECT_EQ(file->size().value(), 6);
    ByteBuffer buffer(10);
    EXPECT_EQ(file->read_at(0, buffer).value(), 6);
    EXPECT_EQ(as_text(Bytes(buffer).first(6)), std::string_view("\0\0\0abc", 6));
    EXPECT_EQ(file->read_at(5, buffer).value(), 1);
    EXPECT_EQ(file->read_at(6, buffer).value(), 0);
    EXPECT_EQ(file->read_at(100, buffer).value(), 0);
    ASSERT_TRUE(file->write_at(0, as_bytes("xyz")));
    ASSERT_TRUE(file->write_at(2, {}));
    ASSERT_TRUE(file->close());
    EXPECT_EQ(content("f"), "xyzabc");
}

TEST_P(FileSystemTest, OpenModes) {
    EXPECT_EQ(code(fs().open(path("f"), OpenMode::kRead)), ErrorCode::kNotFound);
    EXPECT_EQ(code(fs().open(path("f"), OpenMode::kReadWrite)), ErrorCode::kNotFound);
    EXPECT_EQ(code(fs().open(path("no/f"), OpenMode::kCreateNew)), ErrorCode::kNotFound);
    create("f", "1");
    EXPECT_EQ(code(fs().open(path("f"), OpenMode::kCreateNew)), ErrorCode::kConflict);
    const auto reader = fs().open(path("f"), OpenMode::kRead).value();
    EXPECT_FALSE(reader->write_at(0, as_bytes("2")));
    EXPECT_EQ(content("f"), "1");
    ASSERT_TRUE(fs().open(path("f"), OpenMode::kReadWrite).value()->write_at(0, as_bytes("3")));
    EXPECT_EQ(content("f"), "3");
}

TEST_P(FileSystemTest, AllocateGrowsWithZerosAndNeverCuts) {
    create("f", "abc");
    const auto file = fs().open(path("f"), OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->allocate(0));
    ASSERT_TRUE(file->allocate(2));
    EXPECT_EQ(file->size().value(), 3);
    ASSERT_TRUE(file->allocate(70'000));
    EXPECT_EQ(file->size().value(), 70'000);
    ByteBuffer buffer(70'000);
    ASSERT_EQ(file->read_at(0, buffer).value(), 70'000);
    EXPECT_EQ(as_text(Bytes(buffer).first(5)), std::string_view("abc\0\0", 5));
    EXPECT_EQ(buffer.back(), std::byte{0});
}

TEST_P(FileSystemTest, TruncateCutsAndExtendsWithZeros) {
    create("f", "abcdef");
    const auto file = fs().open(path("f"), OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->truncate(2));
    ASSERT_TRUE(file->truncate(4));
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content("f"), std::string("ab\0\0", 4));
}

TEST_P(FileSystemTest, RenameReplacesAndTheOpenFileStays) {
    create("old", "old");
    create("new", "new");
    const auto open_old = fs().open(path("old"), OpenMode::kRead).value();
    ASSERT_TRUE(fs().rename(path("new"), path("old")));
    EXPECT_EQ(content("old"), "new");
    EXPECT_FALSE(fs().exists(path("new")).value());
    ByteBuffer buffer(3);
    ASSERT_EQ(open_old->read_at(0, buffer).value(), 3);
    EXPECT_EQ(as_text(buffer), "old");
    EXPECT_EQ(code(fs().rename(path("none"), path("x"))), ErrorCode::kNotFound);
    EXPECT_EQ(code(fs().rename(path("old"), path("no/x"))), ErrorCode::kNotFound);
    ASSERT_TRUE(fs().rename(path("old"), path("old")));
    EXPECT_EQ(content("old"), "new");
}

TEST_P(FileSystemTest, RemoveLeavesTheOpenFile) {
    create("f", "abc");
    const auto file = fs().open(path("f"), OpenMode::kRead).value();
    ASSERT_TRUE(fs().remove(path("f")));
    EXPECT_EQ(code(fs().remove(path("f"))), ErrorCode::kNotFound);
    EXPECT_EQ(file->size().value(), 3);
    create("f", "other");
    EXPECT_EQ(content("f"), "other");
}

TEST_P(FileSystemTest, DirectoriesAndListing) {
    ASSERT_TRUE(fs().create_directories(path("d/e/g")));
    ASSERT_TRUE(fs().create_directories(path("d/e/g")));
    create("d/z", "12345");
    create("d/a", "");
    const auto entries = fs().list(path("d")).value();
    ASSERT_EQ(entries.size(), 3);
    EXPECT_EQ(entries[0].name, "a");
    EXPECT_EQ(entries[1].name, "e");
    EXPECT_EQ(entries[1].kind, EntryKind::kDirectory);
    EXPECT_EQ(entries[2].name, "z");
    EXPECT_EQ(entries[2].kind, EntryKind::kFile);
    EXPECT_EQ(entries[2].size, 5);
    ASSERT_TRUE(fs().sync_directory(path("d")));
    EXPECT_EQ(code(fs().list(path("none"))), ErrorCode::kNotFound);
    EXPECT_EQ(code(fs().sync_directory(path("none"))), ErrorCode::kNotFound);
    EXPECT_FALSE(fs().create_directories(path("d/z/below")));
    EXPECT_EQ(code(fs().create_directories(path("d/z"))), ErrorCode::kConflict);
    EXPECT_EQ(code(fs().remove_directory(path("d"))), ErrorCode::kConflict);
    EXPECT_EQ(code(fs().remove_directory(path("none"))), ErrorCode::kNotFound);
    ASSERT_TRUE(fs().remove_directory(path("d/e/g")));
    EXPECT_FALSE(fs().exists(path("d/e/g")).value());
    EXPECT_TRUE(fs().exists(path("d/e")).value());
    EXPECT_TRUE(fs().exists(path("d/z")).value());
}

TEST_P(FileSystemTest, DirectoryIsLockedOnce) {
    ASSERT_TRUE(fs().create_directories(path("d")));
    EXPECT_EQ(code(fs().lock_directory(path("none"))), ErrorCode::kNotFound);
    auto lock = fs().lock_directory(path("d")).value();
    EXPECT_EQ(code(fs().lock_directory(path("d"))), ErrorCode::kConflict);
    EXPECT_TRUE(fs().exists(path("d/LOCK")).value());
    const auto identity = lock->identity();
    lock.reset();
    EXPECT_EQ(fs().lock_directory(path("d")).value()->identity(), identity);
    ASSERT_TRUE(fs().create_directories(path("copy")));
    create("copy/LOCK", "");
    EXPECT_NE(fs().lock_directory(path("copy")).value()->identity(), identity);
}

TEST_P(FileSystemTest, ADirectoryIsMadeDurableWithAllAboveIt) {
    ASSERT_TRUE(ensure_durable_directory(fs(), path("a/b/c")));
    EXPECT_TRUE(fs().exists(path("a/b/c")).value());
    EXPECT_TRUE(ensure_durable_directory(fs(), path("a/b/c")));
    create("a/file", "");
    EXPECT_EQ(code(ensure_durable_directory(fs(), path("a/file"))), ErrorCode::kConflict);
}

TEST_P(FileSystemTest, SpaceIsKnown) {
    const auto space = fs().space(under_test_.root).value();
    EXPECT_GT(space.total_bytes, 0);
    EXPECT_LE(space.available_bytes, space.total_bytes);
}

TEST_P(FileSystemTest, WholeFiles) {
    ASSERT_TRUE(write_file_atomically(fs(), path("f"), as_bytes("one")));
    ASSERT_TRUE(write_file_atomically(fs(), path("f"), as_bytes("two")));
    EXPECT_EQ(content("f"), "two");
    EXPECT_EQ(code(read_file(fs(), path("f"), 2)), ErrorCode::kResourceExhausted);
    EXPECT_EQ(code(read_file(fs(), path("none"), 2)), ErrorCode::kNotFound);
    // What a crash left behind is no obstacle.
    create("f.tmp", "left");
    ASSERT_TRUE(write_file_atomically(fs(), path("f"), as_bytes("three")));
    EXPECT_EQ(content("f"), "three");
    EXPECT_FALSE(fs().exists(path("f.tmp")).value());
}

INSTANTIATE_TEST_SUITE_P(Posix, FileSystemTest, testing::Values(&make_posix));
INSTANTIATE_TEST_SUITE_P(Memory, FileSystemTest, testing::Values(&make_memory));
INSTANTIATE_TEST_SUITE_P(Crash, FileSystemTest, testing::Values(&make_crash));
INSTANTIATE_TEST_SUITE_P(Wrapped, FileSystemTest, testing::Values(&make_wrapped));

TEST(CrashedFs, ADirectoryThatAKilledProcessDidNotSyncIsDurableOnceItIsUsed) {
    CrashFs fs;
    ASSERT_TRUE(fs.create_directories("a"));
    fs.leave_directory_unsynced("a/b");
    ASSERT_TRUE(fs.create_directories("a/b")) << "is there, so nothing is synced";
    EXPECT_FALSE(*fs.clone_after_crash(1, CrashModel::kDropUnsynced)->exists("a/b"));
    ASSERT_TRUE(ensure_durable_directory(fs, "a/b"));
    EXPECT_TRUE(*fs.clone_after_crash(1, CrashModel::kDropUnsynced)->exists("a/b"));
}

TEST(Paths, JoinAndParent) {
    EXPECT_EQ(join_path("a", "b"), "a/b");
    EXPECT_EQ(join_path("a/", "b"), "a/b");
    EXPECT_EQ(join_path("", "b"), "b");
    EXPECT_EQ(join_path("/", "b"), "/b");
    EXPECT_EQ(parent_path("/a/b"), "/a");
    EXPECT_EQ(parent_path("/a"), "/");
    EXPECT_EQ(parent_path("/"), "/");
    EXPECT_EQ(parent_path("a"), ".");
    EXPECT_EQ(parent_path(""), ".");
    EXPECT_EQ(parent_path("a/b/"), "a");
    EXPECT_EQ(parent_path("a//b"), "a");
}

TEST(PosixFs, MachineErrorsBecomeCodes) {
    PosixFs fs;
    EXPECT_EQ(fs.open("/proc/version", OpenMode::kCreateNew).error().code(), ErrorCode::kConflict);
    EXPECT_EQ(fs.open("/dev/null/x", OpenMode::kRead).error().code(), ErrorCode::kNotFound);
    const auto full = fs.open("/dev/full", OpenMode::kReadWrite).value();
    EXPECT_EQ(full->write_at(0, as_bytes("x")).error().code(), ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace molesignal
