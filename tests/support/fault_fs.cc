#include "tests/support/fault_fs.h"

#include <optional>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {

struct FaultFs::State {
    /// Runs `call` unless the rule hits the operation.
    template <class Call>
    Result<> run(FsVerb verb,
                 const Call& call,
                 const std::string& path,
                 const std::string& other_path = "") {
        bool swallow = false;
        MS_TRY_VOID(pass(verb, path, other_path, &swallow));
        return swallow ? Result<>() : call();
    }

    /// Counts the operation; an error if the rule hits it, or `swallow` is set.
    Result<> pass(FsVerb verb,
                  const std::string& path,
                  const std::string& other_path = "",
                  bool* swallow = nullptr) {
        const MutexLock lock(mutex);
        ++operations;
        if (!fault.has_value()) {
            return {};
        }
        if (!fault->verbs.empty() && !fault->verbs.contains(verb)) {
            return {};
        }
        if (path.find(fault->path_contains) == std::string::npos &&
            other_path.find(fault->path_contains) == std::string::npos) {
            return {};
        }
        if (!fault->plan.fails(++matches)) {
            return {};
        }
        ++fired;
        if (fault->effect == FsFaultEffect::kSwallow) {
            MS_ASSERT(swallow != nullptr);
            *swallow = true;
            return {};
        }
        return Error(fault->code, fmt::format("{}: injected fault {}", path, fired));
    }

    /// Whether the rule has something to be called for a sync that failed.
    bool report_failed_sync(const std::string& path) {
        std::function<void(const std::string&)> report;
        {
            const MutexLock lock(mutex);
            report = fault.has_value() ? fault->failed_sync : nullptr;
        }
        if (report) {
            report(path);
        }
        return report != nullptr;
    }

    Mutex mutex;
    std::optional<FsFault> fault MS_GUARDED_BY(mutex);
    std::uint64_t matches MS_GUARDED_BY(mutex) = 0;
    std::uint64_t fired MS_GUARDED_BY(mutex) = 0;
    std::uint64_t syncs_after_failure MS_GUARDED_BY(mutex) = 0;
    std::uint64_t operations MS_GUARDED_BY(mutex) = 0;
};

class FaultFs::FaultFile final : public File {
public:
    FaultFile(std::unique_ptr<File> base, std::shared_ptr<State> state, std::string path)
        : base_(std::move(base)), state_(std::move(state)), path_(std::move(path)) {}

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        MS_TRY_VOID(state_->pass(FsVerb::kRead, path_));
        return base_->read_at(offset, out);
    }
    Result<> write_at(std::uint64_t offset, Bytes data) override {
        bool swallow = false;
        if (auto passed = state_->pass(FsVerb::kWrite, path_, "", &swallow); !passed) {
            MS_TRY_VOID(base_->write_at(offset, data.first(data.size() / 2)));
            return passed;
        }
        return swallow ? Result<>() : base_->write_at(offset, data);
    }
    Result<> allocate(std::uint64_t size) override {
        return state_->run(FsVerb::kAllocate, [&] { return base_->allocate(size); }, path_);
    }
    Result<> sync() override {
        bool swallow = false;
        if (sync_failed_) {
            const MutexLock lock(state_->mutex);
            ++state_->syncs_after_failure;
        }
        if (auto passed = state_->pass(FsVerb::kSync, path_, "", &swallow); !passed) {
            sync_failed_ = true;
            sync_is_void_ = !state_->report_failed_sync(path_);
            return passed;
        }
        return swallow || sync_is_void_ ? Result<>() : base_->sync();
    }
    Result<> truncate(std::uint64_t size) override {
        return state_->run(FsVerb::kTruncate, [&] { return base_->truncate(size); }, path_);
    }
    Result<std::uint64_t> size() override {
        MS_TRY_VOID(state_->pass(FsVerb::kSize, path_));
        return base_->size();
    }
    Result<> close() override {
        auto passed = state_->pass(FsVerb::kClose, path_);
        MS_TRY_VOID(base_->close());
        return passed;
    }

private:
    std::unique_ptr<File> base_;
    std::shared_ptr<State> state_;
    std::string path_;
    bool sync_failed_ = false;
    bool sync_is_void_ = false;  ///< By the writing thread only, as sync is.
};

FaultFs::FaultFs(FileSystem& base) : base_(base), state_(std::make_shared<State>()) {}
FaultFs::~FaultFs() = default;

void FaultFs::arm(FsFault fault) {
    const MutexLock lock(state_->mutex);
    state_->fault = std::move(fault);
    state_->matches = 0;
    state_->fired = 0;
}

void FaultFs::disarm() {
    const MutexLock lock(state_->mutex);
    state_->fault.reset();
}

std::uint64_t FaultFs::fired() const {
    const MutexLock lock(state_->mutex);
    return state_->fired;
}

std::uint64_t FaultFs::syncs_after_failure() const {
    const MutexLock lock(state_->mutex);
    return state_->syncs_after_failure;
}

std::uint64_t FaultFs::operation_count() const {
    const MutexLock lock(state_->mutex);
    return state_->operations;
}

Result<std::unique_ptr<File>> FaultFs::open(const std::string& path, OpenMode mode) {
    MS_TRY_VOID(state_->pass(FsVerb::kOpen, path));
    MS_TRY(auto file, base_.open(path, mode));
    return std::unique_ptr<File>(std::make_unique<FaultFile>(std::move(file), state_, path));
}

Result<> FaultFs::rename(const std::string& from, const std::string& to) {
    return state_->run(FsVerb::kRename, [&] { return base_.rename(from, to); }, from, to);
}

Result<> FaultFs::remove(const std::string& path) {
    return state_->run(FsVerb::kRemove, [&] { return base_.remove(path); }, path);
}

Result<std::vector<DirectoryEntry>> FaultFs::list(const std::string& path) {
    MS_TRY_VOID(state_->pass(FsVerb::kList, path));
    return base_.list(path);
}

Result<> FaultFs::create_directories(const std::string& path) {
    return state_->run(
        FsVerb::kCreateDirectories, [&] { return base_.create_directories(path); }, path);
}

Result<> FaultFs::remove_directory(const std::string& path) {
    return state_->run(
        FsVerb::kRemoveDirectory, [&] { return base_.remove_directory(path); }, path);
}

Result<> FaultFs::sync_directory(const std::string& path) {
    return state_->run(FsVerb::kSyncDirectory, [&] { return base_.sync_directory(path); }, path);
}

Result<bool> FaultFs::exists(const std::string& path) {
    MS_TRY_VOID(state_->pass(FsVerb::kExists, path));
    return base_.exists(path);
}

Result<SpaceInfo> FaultFs::space(const std::string& path) {
    MS_TRY_VOID(state_->pass(FsVerb::kSpace, path));
    return base_.space(path);
}

Result<std::unique_ptr<DirectoryLock>> FaultFs::lock_directory(const std::string& path) {
    MS_TRY_VOID(state_->pass(FsVerb::kLockDirectory, path));
    return base_.lock_directory(path);
}

}  // namespace molesignal
