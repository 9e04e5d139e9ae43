#include "tests/states/recorded_disk.h"

#include <utility>

#include "common/assert.h"

namespace molesignal {
namespace {

using Kind = DiskOperation::Kind;

}  // namespace

const char* disk_operation_name(DiskOperation::Kind kind) {
    constexpr std::array<const char*, 14> kNames = {"create",
                                                    "write",
                                                    "allocate",
                                                    "sync",
                                                    "truncate",
                                                    "rename",
                                                    "remove",
                                                    "make directory",
                                                    "remove directory",
                                                    "sync directory",
                                                    "lock",
                                                    "open",
                                                    "close",
                                                    "note"};
    return kNames.at(static_cast<std::size_t>(kind));
}

struct RecordingFs::State {
    /// Runs `call` and writes `operation` down if it went well; nothing else happens in between.
    template <class Call>
    auto run(DiskOperation operation, const Call& call) -> decltype(call()) {
        const MutexLock lock(mutex);
        auto done = call();
        if (done) {
            operations.push_back(std::move(operation));
        }
        return done;
    }

    Mutex mutex;
    std::vector<DiskOperation> operations MS_GUARDED_BY(mutex);
    std::uint64_t last_file MS_GUARDED_BY(mutex) = 0;
};

class RecordingFs::RecordingFile final : public File {
public:
    RecordingFile(std::unique_ptr<File> base,
                  std::shared_ptr<State> state,
                  std::uint64_t number,
                  std::string path)
        : base_(std::move(base)),
          state_(std::move(state)),
          number_(number),
          path_(std::move(path)) {}
    ~RecordingFile() override { note_closed(); }

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        return base_->read_at(offset, out);
    }
    Result<> write_at(std::uint64_t offset, Bytes data) override {
        return state_->run({.kind = Kind::kWrite,
                            .file = number_,
                            .path = path_,
                            .offset = offset,
                            .data = ByteBuffer(data.begin(), data.end())},
                           [&] { return base_->write_at(offset, data); });
    }
    Result<> allocate(std::uint64_t size) override {
        return state_->run(
            {.kind = Kind::kAllocate, .file = number_, .path = path_, .offset = size},
            [&] { return base_->allocate(size); });
    }
    Result<> sync() override {
        return state_->run({.kind = Kind::kSync, .file = number_, .path = path_},
                           [&] { return base_->sync(); });
    }
    Result<> truncate(std::uint64_t size) override {
        return state_->run(
            {.kind = Kind::kTruncate, .file = number_, .path = path_, .offset = size},
            [&] { return base_->truncate(size); });
    }
    Result<std::uint64_t> size() override { return base_->size(); }
    Result<> close() override {
        note_closed();
        return base_->close();
    }

private:
    void note_closed() {
        if (!std::exchange(is_closed_, true)) {
            const MutexLock lock(state_->mutex);
            state_->operations.push_back({.kind = Kind::kClose, .file = number_});
        }
    }

    std::unique_ptr<File> base_;
    std::shared_ptr<State> state_;
    std::uint64_t number_;
    std::string path_;
    bool is_closed_ = false;
};

RecordingFs::RecordingFs(FileSystem& base) : base_(base), state_(std::make_shared<State>()) {}
RecordingFs::~RecordingFs() = default;

void RecordingFs::note(std::size_t number) {
    const MutexLock lock(state_->mutex);
    state_->operations.push_back({.kind = Kind::kNote, .note = number});
}

std::vector<DiskOperation> RecordingFs::take() {
    const MutexLock lock(state_->mutex);
    return std::move(state_->operations);
}

Result<std::unique_ptr<File>> RecordingFs::open(const std::string& path, OpenMode mode) {
    auto& state = *state_;
    const MutexLock lock(state.mutex);
    MS_TRY(auto file, base_.open(path, mode));
    const auto number = ++state.last_file;
    state.operations.push_back({.kind = mode == OpenMode::kCreateNew ? Kind::kCreate : Kind::kOpen,
                                .file = number,
                                .path = path,
                                .offset = static_cast<std::uint64_t>(mode)});
    return std::unique_ptr<File>(
        std::make_unique<RecordingFile>(std::move(file), state_, number, path));
}

Result<> RecordingFs::rename(const std::string& from, const std::string& to) {
    return state_->run({.kind = Kind::kRename, .path = from, .path_to = to},
                       [&] { return base_.rename(from, to); });
}

Result<> RecordingFs::remove(const std::string& path) {
    return state_->run({.kind = Kind::kRemove, .path = path}, [&] { return base_.remove(path); });
}

Result<std::vector<DirectoryEntry>> RecordingFs::list(const std::string& path) {
    return base_.list(path);
}

Result<> RecordingFs::create_directories(const std::string& path) {
    return state_->run({.kind = Kind::kMakeDirectory, .path = path},
                       [&] { return base_.create_directories(path); });
}

Result<> RecordingFs::remove_directory(const std::string& path) {
    return state_->run({.kind = Kind::kRemoveDirectory, .path = path},
                       [&] { return base_.remove_directory(path); });
}

Result<> RecordingFs::sync_directory(const std::string& path) {
    return state_->run({.kind = Kind::kSyncDirectory, .path = path},
                       [&] { return base_.sync_directory(path); });
}

Result<bool> RecordingFs::exists(const std::string& path) {
    return base_.exists(path);
}

Result<SpaceInfo> RecordingFs::space(const std::string& path) {
    return base_.space(path);
}

Result<std::unique_ptr<DirectoryLock>> RecordingFs::lock_directory(const std::string& path) {
    return state_->run({.kind = Kind::kLock, .path = path},
                       [&] { return base_.lock_directory(path); });
}

void ReplayedDisk::apply(const DiskOperation& operation) {
    auto& fs = *disk_;
    const auto file = [&]() -> File& { return *files_.at(operation.file); };
    Result<> done;
    switch (operation.kind) {
        case Kind::kCreate:
        case Kind::kOpen: {
            auto opened = fs.open(operation.path, static_cast<OpenMode>(operation.offset));
            MS_ASSERT(opened.has_value());
            files_[operation.file] = std::move(*opened);
            return;
        }
        case Kind::kClose:
            files_.erase(operation.file);
            return;
        case Kind::kNote:
            return;
        case Kind::kLock:
            MS_ASSERT(fs.lock_directory(operation.path).has_value());
            return;
        case Kind::kWrite:
            done = file().write_at(operation.offset, operation.data);
            break;
        case Kind::kAllocate:
            done = file().allocate(operation.offset);
            break;
        case Kind::kSync:
            done = file().sync();
            break;
        case Kind::kTruncate:
            done = file().truncate(operation.offset);
            break;
        case Kind::kRename:
            done = fs.rename(operation.path, operation.path_to);
            break;
        case Kind::kRemove:
            done = fs.remove(operation.path);
            break;
        case Kind::kMakeDirectory:
            done = fs.create_directories(operation.path);
            break;
        case Kind::kRemoveDirectory:
            done = fs.remove_directory(operation.path);
            break;
        case Kind::kSyncDirectory:
            done = fs.sync_directory(operation.path);
            break;
    }
    MS_ASSERT(done.has_value());
}

}  // namespace molesignal
