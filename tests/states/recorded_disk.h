#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "io/file_system.h"
#include "tests/support/crash_fs.h"

namespace molesignal {

/// What a disk is told to do: one entry of a recording.
struct DiskOperation {
    enum class Kind : std::uint8_t {
        kCreate,
        kWrite,
        kAllocate,
        kSync,
        kTruncate,
        kRename,
        kRemove,
        kMakeDirectory,
        kRemoveDirectory,
        kSyncDirectory,
        kLock,
        kOpen,  ///< From here on nothing that changes the disk.
        kClose,
        kNote,
    };
    Kind kind = Kind::kNote;
    std::uint64_t file = 0;  ///< Numbers the open files.
    std::string path;
    std::string path_to;
    std::uint64_t offset = 0;  ///< Or a size.
    ByteBuffer data;
    std::size_t note = 0;  ///< The recorder's caller knows what it means.
};
constexpr std::size_t kChangingKinds = static_cast<std::size_t>(DiskOperation::Kind::kOpen);
const char* disk_operation_name(DiskOperation::Kind kind);
/// Whether a power cut before it is another one than a power cut after it.
inline bool changes_disk(const DiskOperation& operation) {
    return operation.kind < DiskOperation::Kind::kOpen;
}

/// Passes everything on to a file system and writes down, in the order in which it happened, what
/// was changed or made durable. Notes of the caller are put in between: what is noted after a call
/// returned comes behind all that the call did. Thread-safe.
class RecordingFs final : public FileSystem {
public:
    explicit RecordingFs(FileSystem& base);
    ~RecordingFs() override;

    void note(std::size_t number);
    std::vector<DiskOperation> take();

    Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
    Result<> rename(const std::string& from, const std::string& to) override;
    Result<> remove(const std::string& path) override;
    Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
    Result<> create_directories(const std::string& path) override;
    Result<> remove_directory(const std::string& path) override;
    Result<> sync_directory(const std::string& path) override;
    Result<bool> exists(const std::string& path) override;
    Result<SpaceInfo> space(const std::string& path) override;
    Result<std::unique_ptr<DirectoryLock>> lock_directory(const std::string& path) override;

private:
    struct State;
    class RecordingFile;

    FileSystem& base_;
    std::shared_ptr<State> state_;
};

/// A disk on which a recording happens again, entry by entry. One thread at a time.
class ReplayedDisk {
public:
    explicit ReplayedDisk(std::unique_ptr<CrashFs> disk) : disk_(std::move(disk)) {}

    /// Aborts if the operation fails: the recording is not of this disk.
    void apply(const DiskOperation& operation);
    const CrashFs& disk() const { return *disk_; }

private:
    std::unique_ptr<CrashFs> disk_;
    std::map<std::uint64_t, std::unique_ptr<File>> files_;
};

}  // namespace molesignal
