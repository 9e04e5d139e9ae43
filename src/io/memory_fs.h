#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "io/file_system.h"

namespace molesignal {

/// Files in memory, for tests. Directories are names like files; everything is durable at once.
class MemoryFs final : public FileSystem {
public:
    MemoryFs();
    ~MemoryFs() override;

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
    struct Content;
    class MemoryFile;
    struct Locks;

    Mutex mutex_;
    std::map<std::string, std::shared_ptr<Content>> files_ MS_GUARDED_BY(mutex_);
    std::set<std::string> directories_ MS_GUARDED_BY(mutex_);
    std::shared_ptr<Locks> locks_;
};

}  // namespace molesignal
