#include "io/memory_fs.h"

#include <algorithm>

#include <fmt/format.h>

namespace molesignal {

struct MemoryFs::Content {
    Mutex mutex;
    ByteBuffer bytes MS_GUARDED_BY(mutex);
};

struct MemoryFs::Locks {
    Mutex mutex;
    std::set<std::string> held MS_GUARDED_BY(mutex);
};

class MemoryFs::MemoryFile final : public File {
public:
    MemoryFile(std::shared_ptr<Content> content, OpenMode mode)
        : content_(std::move(content)), mode_(mode) {}

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        auto& content = *content_;
        const MutexLock lock(content.mutex);
        auto& bytes = content.bytes;
        if (offset >= bytes.size()) {
            return std::size_t{0};
        }
        const auto count = std::min<std::size_t>(out.size(), bytes.size() - offset);
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
        return count;
    }
    Result<> write_at(std::uint64_t offset, Bytes data) override {
        MS_TRY_VOID(check_writable());
        if (data.empty()) {
            return {};
        }
        auto& content = *content_;
        const MutexLock lock(content.mutex);
        auto& bytes = content.bytes;
        if (bytes.size() < offset + data.size()) {
            bytes.resize(offset + data.size());
        }
        std::ranges::copy(data, bytes.begin() + static_cast<std::ptrdiff_t>(offset));
        return {};
    }
    Result<> allocate(std::uint64_t size) override {
        MS_TRY_VOID(check_writable());
        const MutexLock lock(content_->mutex);
        if (content_->bytes.size() < size) {
            content_->bytes.resize(size);
        }
        return {};
    }
    Result<> sync() override { return {}; }
    Result<> truncate(std::uint64_t size) override {
        MS_TRY_VOID(check_writable());
        const MutexLock lock(content_->mutex);
        content_->bytes.resize(size);
        return {};
    }
    Result<std::uint64_t> size() override {
        const MutexLock lock(content_->mutex);
        return content_->bytes.size();
    }
    Result<> close() override { return {}; }

private:
    Result<> check_writable() const {
        if (mode_ == OpenMode::kRead) {
            return Error(ErrorCode::kUnavailable, "the file is open for reading only");
        }
        return {};
    }

    std::shared_ptr<Content> content_;
    OpenMode mode_;
};

MemoryFs::MemoryFs() : directories_{"/", "."}, locks_(std::make_shared<Locks>()) {}
MemoryFs::~MemoryFs() = default;

Result<std::unique_ptr<File>> MemoryFs::open(const std::string& path, OpenMode mode) {
    const MutexLock lock(mutex_);
    const auto found = files_.find(path);
    if (mode == OpenMode::kCreateNew) {
        if (found != files_.end()) {
            return Error(ErrorCode::kConflict, fmt::format("open {}: exists", path));
        }
        if (!directories_.contains(parent_path(path))) {
            return Error(ErrorCode::kNotFound, fmt::format("open {}: no such directory", path));
        }
        auto content = std::make_shared<Content>();
        files_.emplace(path, content);
        return std::unique_ptr<File>(std::make_unique<MemoryFile>(std::move(content), mode));
    }
    if (found == files_.end()) {
        return Error(ErrorCode::kNotFound, fmt::format("open {}: no such file", path));
    }
    return std::unique_ptr<File>(std::make_unique<MemoryFile>(found->second, mode));
}

Result<> MemoryFs::rename(const std::string& from, const std::string& to) {
    const MutexLock lock(mutex_);
    const auto found = files_.find(from);
    if (found == files_.end()) {
        return Error(ErrorCode::kNotFound, fmt::format("rename {}: no such file", from));
    }
    if (!directories_.contains(parent_path(to))) {
        return Error(ErrorCode::kNotFound, fmt::format("rename to {}: no such directory", to));
    }
    auto content = found->second;
    files_.erase(found);
    files_.insert_or_assign(to, std::move(content));
    return {};
}

Result<> MemoryFs::remove(const std::string& path) {
    const MutexLock lock(mutex_);
    if (files_.erase(path) == 0) {
        return Error(ErrorCode::kNotFound, fmt::format("remove {}: no such file", path));
    }
    return {};
}

Result<std::vector<DirectoryEntry>> MemoryFs::list(const std::string& path) {
    const MutexLock lock(mutex_);
    if (!directories_.contains(path)) {
        return Error(ErrorCode::kNotFound, fmt::format("list {}: no such directory", path));
    }
    std::vector<DirectoryEntry> entries;
    for (const auto& [name, content] : files_) {
        if (parent_path(name) == path) {
            const MutexLock content_lock(content->mutex);
            entries.push_back({.name = name.substr(name.rfind('/') + 1),
                               .kind = EntryKind::kFile,
                               .size = content->bytes.size()});
        }
    }
    for (const auto& name : directories_) {
        if (name != "/" && name != "." && name != path && parent_path(name) == path) {
            entries.push_back({.name = name.substr(name.rfind('/') + 1),
                               .kind = EntryKind::kDirectory,
                               .size = 0});
        }
    }
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    return entries;
}

Result<> MemoryFs::create_directories(const std::string& path) {
    const MutexLock lock(mutex_);
    std::vector<std::string> missing;
    for (auto at = path; !directories_.contains(at); at = parent_path(at)) {
        if (files_.contains(at)) {
            return Error(ErrorCode::kConflict, fmt::format("{} exists and is not a directory", at));
        }
        missing.push_back(at);
    }
    directories_.insert(missing.begin(), missing.end());
    return {};
}

Result<> MemoryFs::remove_directory(const std::string& path) {
    const MutexLock lock(mutex_);
    const auto inside = [&path](const std::string& name) {
        return name != path && parent_path(name) == path;
    };
    for (const auto& [name, content] : files_) {
        if (inside(name)) {
            return Error(ErrorCode::kConflict, fmt::format("remove directory {}: not empty", path));
        }
    }
    if (std::ranges::any_of(directories_, inside)) {
        return Error(ErrorCode::kConflict, fmt::format("remove directory {}: not empty", path));
    }
    if (directories_.erase(path) == 0) {
        return Error(ErrorCode::kNotFound,
                     fmt::format("remove directory {}: no such directory", path));
    }
    return {};
}

Result<> MemoryFs::sync_directory(const std::string& path) {
    const MutexLock lock(mutex_);
    if (!directories_.contains(path)) {
        return Error(ErrorCode::kNotFound, fmt::format("sync {}: no such directory", path));
    }
    return {};
}

Result<bool> MemoryFs::exists(const std::string& path) {
    const MutexLock lock(mutex_);
    return files_.contains(path) || directories_.contains(path);
}

Result<SpaceInfo> MemoryFs::space(const std::string&) {
    constexpr std::uint64_t kPretendedBytes = 1ULL << 40U;
    return SpaceInfo{.total_bytes = kPretendedBytes, .available_bytes = kPretendedBytes};
}

Result<std::unique_ptr<DirectoryLock>> MemoryFs::lock_directory(const std::string& path) {
    class Held final : public DirectoryLock {
    public:
        Held(std::shared_ptr<Locks> locks, std::string path)
            : locks_(std::move(locks)), path_(std::move(path)) {}
        ~Held() override {
            const MutexLock lock(locks_->mutex);
            locks_->held.erase(path_);
        }
        std::string identity() const override {
            return fmt::format("{}-{}", fmt::ptr(locks_.get()), path_);
        }

    private:
        std::shared_ptr<Locks> locks_;
        std::string path_;
    };
    const MutexLock files_lock(mutex_);
    if (!directories_.contains(path)) {
        return Error(ErrorCode::kNotFound, fmt::format("lock {}: no such directory", path));
    }
    const MutexLock lock(locks_->mutex);
    if (!locks_->held.insert(path).second) {
        return Error(ErrorCode::kConflict, fmt::format("{} is in use by another process", path));
    }
    // PosixFs leaves this file, so whoever lists the directory sees it here too.
    files_.try_emplace(join_path(path, "LOCK"), std::make_shared<Content>());
    return std::unique_ptr<DirectoryLock>(std::make_unique<Held>(locks_, path));
}

}  // namespace molesignal
