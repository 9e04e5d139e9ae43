#include "tests/support/trace_fs.h"

#include <fmt/format.h>

#include "common/mutex.h"

namespace molesignal {

struct TraceFs::Trace {
    explicit Trace(std::string root_path) : root(std::move(root_path)) {
        if (!root.ends_with('/')) {
            root += '/';
        }
    }
    std::string name(const std::string& path) const {
        if (path + "/" == root) {
            return ".";
        }
        return path.starts_with(root) ? path.substr(root.size()) : path;
    }
    /// Adds the line of an operation and hands its result on.
    template <class Outcome>
    Outcome add(std::string line, Outcome outcome) {
        if (!outcome.has_value()) {
            line += " failed";
        }
        const MutexLock lock(mutex);
        text += line + "\n";
        return outcome;
    }

    std::string root;
    Mutex mutex;
    std::string text MS_GUARDED_BY(mutex);
};

class TraceFs::TraceFile final : public File {
public:
    TraceFile(std::unique_ptr<File> base, std::shared_ptr<Trace> trace, std::string name)
        : base_(std::move(base)), trace_(std::move(trace)), name_(std::move(name)) {}

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        return base_->read_at(offset, out);
    }
    Result<> write_at(std::uint64_t offset, Bytes data) override {
        return trace_->add(fmt::format("write {} offset={} bytes={}", name_, offset, data.size()),
                           base_->write_at(offset, data));
    }
    Result<> allocate(std::uint64_t size) override {
        return trace_->add(fmt::format("allocate {} size={}", name_, size), base_->allocate(size));
    }
    Result<> sync() override { return trace_->add(fmt::format("sync {}", name_), base_->sync()); }
    Result<> truncate(std::uint64_t size) override {
        return trace_->add(fmt::format("truncate {} size={}", name_, size), base_->truncate(size));
    }
    Result<std::uint64_t> size() override { return base_->size(); }
    Result<> close() override {
        return trace_->add(fmt::format("close {}", name_), base_->close());
    }

private:
    std::unique_ptr<File> base_;
    std::shared_ptr<Trace> trace_;
    std::string name_;
};

TraceFs::TraceFs(FileSystem& base, std::string root)
    : base_(base), trace_(std::make_shared<Trace>(std::move(root))) {}
TraceFs::~TraceFs() = default;

std::string TraceFs::take_trace() {
    auto& trace = *trace_;
    const MutexLock lock(trace.mutex);
    return std::exchange(trace.text, {});
}

Result<std::unique_ptr<File>> TraceFs::open(const std::string& path, OpenMode mode) {
    auto file = base_.open(path, mode);
    if (mode == OpenMode::kCreateNew) {
        file = trace_->add(fmt::format("create {}", trace_->name(path)), std::move(file));
    }
    if (!file) {
        return file;
    }
    return std::unique_ptr<File>(
        std::make_unique<TraceFile>(*std::move(file), trace_, trace_->name(path)));
}

Result<> TraceFs::rename(const std::string& from, const std::string& to) {
    return trace_->add(fmt::format("rename {} {}", trace_->name(from), trace_->name(to)),
                       base_.rename(from, to));
}

Result<> TraceFs::remove(const std::string& path) {
    return trace_->add(fmt::format("remove {}", trace_->name(path)), base_.remove(path));
}

Result<std::vector<DirectoryEntry>> TraceFs::list(const std::string& path) {
    return base_.list(path);
}

Result<> TraceFs::create_directories(const std::string& path) {
    return trace_->add(fmt::format("mkdir {}", trace_->name(path)), base_.create_directories(path));
}

Result<> TraceFs::remove_directory(const std::string& path) {
    return trace_->add(fmt::format("rmdir {}", trace_->name(path)), base_.remove_directory(path));
}

Result<> TraceFs::sync_directory(const std::string& path) {
    return trace_->add(fmt::format("sync-directory {}", trace_->name(path)),
                       base_.sync_directory(path));
}

Result<bool> TraceFs::exists(const std::string& path) {
    return base_.exists(path);
}

Result<SpaceInfo> TraceFs::space(const std::string& path) {
    return base_.space(path);
}

Result<std::unique_ptr<DirectoryLock>> TraceFs::lock_directory(const std::string& path) {
    return trace_->add(fmt::format("lock {}", trace_->name(path)), base_.lock_directory(path));
}

}  // namespace molesignal
