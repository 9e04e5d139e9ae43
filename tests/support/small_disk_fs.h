#pragma once

#include <memory>
#include <string>

#include "io/file_system.h"

namespace molesignal {

/// Wraps a file system into a disk of so many bytes: what would grow a file beyond them fails with
/// kResourceExhausted and changes nothing, and `space` says what is left. A removed file gives its
/// bytes back at once. Thread-safe. The wrapped file system outlives it and is used through it
/// only.
class SmallDiskFs final : public FileSystem {
public:
    SmallDiskFs(FileSystem& base, std::uint64_t capacity_bytes);
    ~SmallDiskFs() override;

    /// Somebody else takes or frees space. Below what is used already nothing grows any more.
    void set_capacity(std::uint64_t capacity_bytes);
    std::uint64_t used_bytes() const;

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
    struct Usage;
    class SmallFile;

    FileSystem& base_;
    std::shared_ptr<Usage> usage_;
};

}  // namespace molesignal
