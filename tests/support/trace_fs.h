#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/file_system.h"

namespace molesignal {

/// Wraps a file system and keeps what changes it as lines of text, in order, for golden tests:
/// "create a", "write a offset=0 bytes=5", "allocate a size=9", "sync a", "truncate a size=3",
/// "close a", "rename a b", "remove a", "mkdir d", "rmdir d", "sync-directory d", "lock d".
///
/// Reads leave no line. A failed operation has " failed" at its end. Thread-safe. The wrapped file
/// system outlives it.
class TraceFs final : public FileSystem {
public:
    /// `root` and the '/' behind it are left out of the lines.
    TraceFs(FileSystem& base, std::string root);
    ~TraceFs() override;

    /// The lines since the last call, each with a line end.
    std::string take_trace();

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
    struct Trace;
    class TraceFile;

    FileSystem& base_;
    std::shared_ptr<Trace> trace_;
};

}  // namespace molesignal
