#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"

namespace molesignal {

/// An open file. One thread at a time for writes; `read_at` may run from any thread.
///
/// The destructor closes and ignores errors; who has written calls `close` and looks at the result.
class File {
public:
    virtual ~File() = default;

    /// Reads up to `out.size()` bytes at `offset`; returns how many, fewer only at the end of the
    /// file. kUnavailable: the device failed.
    virtual Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) = 0;

    /// Writes all of `data` at `offset`, growing the file if needed. Short writes and EINTR are
    /// handled. kResourceExhausted: no space or quota; kUnavailable: other errors. After a failure
    /// any prefix may have been written.
    virtual Result<> write_at(std::uint64_t offset, Bytes data) = 0;

    /// Reserves space up to `size` and sets the file's size to it; new bytes read as zero. Data
    /// synced inside this size later needs no metadata write. kResourceExhausted: no space.
    virtual Result<> allocate(std::uint64_t size) = 0;

    /// Makes all earlier writes to this file durable (fdatasync). After an error the state of every
    /// unsynced write is unknown, and a second sync on this file proves nothing: give the file up.
    virtual Result<> sync() = 0;

    /// Cuts or extends the file to `size`. Durable only after sync.
    virtual Result<> truncate(std::uint64_t size) = 0;

    virtual Result<std::uint64_t> size() = 0;

    /// Closes; using the file afterwards is a bug. kUnavailable: a delayed write failed.
    virtual Result<> close() = 0;
};

enum class OpenMode : std::uint8_t {
    kRead = 1,       ///< Must exist.
    kCreateNew = 2,  ///< Read and write; must not exist (kConflict).
    kReadWrite = 3,  ///< Must exist.
};

enum class EntryKind : std::uint8_t { kFile = 1, kDirectory = 2 };
struct DirectoryEntry {
    std::string name;
    EntryKind kind = EntryKind::kFile;
    std::uint64_t size = 0;
};

struct SpaceInfo {
    std::uint64_t total_bytes = 0;
    std::uint64_t available_bytes = 0;  ///< To this process, without root's reserve.
};

/// Held while the process owns a directory; released by the destructor.
class DirectoryLock {
public:
    virtual ~DirectoryLock() = default;
    /// Names this very directory on this start of the machine: a copy of the directory has another
    /// identity, and so has the same directory after a reboot. Empty if the machine cannot tell.
    virtual std::string identity() const = 0;
};

/// Files and directories. Implemented by PosixFs and MemoryFs; CrashFs and FaultFs wrap or twin
/// them in tests. The only way to the disk outside `io`.
///
/// Thread-safe. Paths are absolute or relative to the process; `..` is not interpreted specially by
/// the in-memory ones. A created, renamed or removed name is durable only after `sync_directory` of
/// its parent; a file's content only after `File::sync`. Errors: kNotFound (no such name),
/// kConflict (exists), kForbidden (permission, read-only), kResourceExhausted (space, descriptors),
/// kUnavailable (the rest).
class FileSystem {
public:
    virtual ~FileSystem() = default;

    virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
    /// Replaces `to` if it exists, atomically.
    virtual Result<> rename(const std::string& from, const std::string& to) = 0;
    virtual Result<> remove(const std::string& path) = 0;
    /// The direct children, sorted by name.
    virtual Result<std::vector<DirectoryEntry>> list(const std::string& path) = 0;
    /// Creates `path` and missing parents, and makes each new name durable.
    virtual Result<> create_directories(const std::string& path) = 0;
    virtual Result<> remove_directory(const std::string& path) = 0;
    virtual Result<> sync_directory(const std::string& path) = 0;
    virtual Result<bool> exists(const std::string& path) = 0;
    virtual Result<SpaceInfo> space(const std::string& path) = 0;
    /// Takes the directory for this process. kConflict: another process (or lock) has it.
    virtual Result<std::unique_ptr<DirectoryLock>> lock_directory(const std::string& path) = 0;
};

/// Reads a whole file. kResourceExhausted if it is larger than `bytes_max`.
Result<ByteBuffer> read_file(FileSystem& fs, const std::string& path, std::uint64_t bytes_max);

/// Replaces `path` durably: temporary file beside it, sync, rename, sync of the directory.
Result<> write_file_atomically(FileSystem& fs, const std::string& path, Bytes content);

/// Creates `path` and what is missing above it, and makes all these names durable, also those that
/// are there already: a process that was killed may have made them a moment ago. Parents that this
/// process may not read are left out; it cannot have made them.
Result<> ensure_durable_directory(FileSystem& fs, const std::string& path);

/// `a` and `b` joined by one '/'.
std::string join_path(const std::string& a, const std::string& b);
/// The directory part of `path` ("." if there is none).
std::string parent_path(const std::string& path);

}  // namespace molesignal
