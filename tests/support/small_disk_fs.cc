#include "tests/support/small_disk_fs.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "common/mutex.h"

namespace molesignal {

struct SmallDiskFs::Usage {
    Mutex mutex;
    std::uint64_t capacity MS_GUARDED_BY(mutex) = 0;
    std::uint64_t used MS_GUARDED_BY(mutex) = 0;
    std::map<std::string, std::shared_ptr<std::uint64_t>> sizes MS_GUARDED_BY(mutex);

    Result<> resize(std::uint64_t& size, std::uint64_t wanted, const std::string& path)
        MS_REQUIRES(mutex) {
        if (wanted > size && used + (wanted - size) > capacity) {
            return Error(ErrorCode::kResourceExhausted,
                         fmt::format("write {}: No space left on device", path));
        }
        used = used - size + wanted;
        size = wanted;
        return {};
    }
    void forget(const std::string& path) MS_REQUIRES(mutex) {
        if (const auto found = sizes.find(path); found != sizes.end()) {
            used -= *found->second;
            *found->second = 0;
            sizes.erase(found);
        }
    }
};

class SmallDiskFs::SmallFile final : public File {
public:
    SmallFile(std::unique_ptr<File> base,
              std::shared_ptr<Usage> usage,
              std::shared_ptr<std::uint64_t> size,
              std::string path)
        : base_(std::move(base)),
          usage_(std::move(usage)),
          size_(std::move(size)),
          path_(std::move(path)) {}

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        return base_->read_at(offset, out);
    }
    Result<> write_at(std::uint64_t offset, Bytes data) override {
        MS_TRY_VOID(grow_to(offset + data.size()));
        return base_->write_at(offset, data);
    }
    Result<> allocate(std::uint64_t size) override {
        MS_TRY_VOID(grow_to(size));
        return base_->allocate(size);
    }
    Result<> sync() override { return base_->sync(); }
    Result<> truncate(std::uint64_t size) override {
        {
            auto& usage = *usage_;
            const MutexLock lock(usage.mutex);
            MS_TRY_VOID(usage.resize(*size_, size, path_));
        }
        return base_->truncate(size);
    }
    Result<std::uint64_t> size() override { return base_->size(); }
    Result<> close() override { return base_->close(); }

private:
    Result<> grow_to(std::uint64_t size) {
        auto& usage = *usage_;
        const MutexLock lock(usage.mutex);
        return usage.resize(*size_, std::max(*size_, size), path_);
    }

    std::unique_ptr<File> base_;
    std::shared_ptr<Usage> usage_;
    std::shared_ptr<std::uint64_t> size_;
    std::string path_;
};

SmallDiskFs::SmallDiskFs(FileSystem& base, std::uint64_t capacity_bytes)
    : base_(base), usage_(std::make_shared<Usage>()) {
    set_capacity(capacity_bytes);
}

SmallDiskFs::~SmallDiskFs() = default;

void SmallDiskFs::set_capacity(std::uint64_t capacity_bytes) {
    auto& usage = *usage_;
    const MutexLock lock(usage.mutex);
    usage.capacity = capacity_bytes;
}

std::uint64_t SmallDiskFs::used_bytes() const {
    auto& usage = *usage_;
    const MutexLock lock(usage.mutex);
    return usage.used;
}

Result<std::unique_ptr<File>> SmallDiskFs::open(const std::string& path, OpenMode mode) {
    MS_TRY(auto file, base_.open(path, mode));
    auto& usage = *usage_;
    const MutexLock lock(usage.mutex);
    auto& size = usage.sizes[path];
    if (size == nullptr) {
        MS_TRY(const auto bytes, file->size());
        size = std::make_shared<std::uint64_t>(bytes);
        usage.used += bytes;
    }
    return std::unique_ptr<File>(std::make_unique<SmallFile>(std::move(file), usage_, size, path));
}

Result<> SmallDiskFs::rename(const std::string& from, const std::string& to) {
    MS_TRY_VOID(base_.rename(from, to));
    auto& usage = *usage_;
    const MutexLock lock(usage.mutex);
    usage.forget(to);
    if (auto moved = usage.sizes.extract(from); !moved.empty()) {
        moved.key() = to;
        usage.sizes.insert(std::move(moved));
    }
    return {};
}

Result<> SmallDiskFs::remove(const std::string& path) {
    MS_TRY_VOID(base_.remove(path));
    auto& usage = *usage_;
    const MutexLock lock(usage.mutex);
    usage.forget(path);
    return {};
}

Result<std::vector<DirectoryEntry>> SmallDiskFs::list(const std::string& path) {
    return base_.list(path);
}

Result<> SmallDiskFs::create_directories(const std::string& path) {
    return base_.create_directories(path);
}

Result<> SmallDiskFs::remove_directory(const std::string& path) {
    return base_.remove_directory(path);
}

Result<> SmallDiskFs::sync_directory(const std::string& path) {
    return base_.sync_directory(path);
}

Result<bool> SmallDiskFs::exists(const std::string& path) {
    return base_.exists(path);
}

Result<SpaceInfo> SmallDiskFs::space(const std::string&) {
    auto& usage = *usage_;
    const MutexLock lock(usage.mutex);
    return SpaceInfo{.total_bytes = usage.capacity,
                     .available_bytes = usage.capacity - std::min(usage.capacity, usage.used)};
}

Result<std::unique_ptr<DirectoryLock>> SmallDiskFs::lock_directory(const std::string& path) {
    return base_.lock_directory(path);
}

}  // namespace molesignal
