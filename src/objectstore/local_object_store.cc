#include "objectstore/local_object_store.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/failpoint.h"

namespace molesignal {
namespace {

MS_DEFINE_FAILPOINT(local_put_before_sync);
MS_DEFINE_FAILPOINT(local_put_before_rename);
MS_DEFINE_FAILPOINT(local_put_after_rename);
MS_DEFINE_FAILPOINT(local_before_remove);
MS_DEFINE_FAILPOINT(local_removed);

constexpr std::string_view kTemporaries = ".tmp";
constexpr std::uint64_t kCopyBytes = 1U << 20U;

}  // namespace

LocalObjectStore::LocalObjectStore(FileSystem& fs, std::string root, Random& random)
    : fs_(fs), root_(std::move(root)), random_(random) {}

Result<std::unique_ptr<LocalObjectStore>> LocalObjectStore::open(const RequestContext& context,
                                                                 FileSystem& fs,
                                                                 std::string root,
                                                                 Random& random) {
    std::unique_ptr<LocalObjectStore> store(new LocalObjectStore(fs, std::move(root), random));
    const auto temporaries = join_path(store->root_, std::string(kTemporaries));
    // The root may have been made a moment ago by a process that was killed.
    MS_TRY_VOID(ensure_durable_directory(fs, temporaries));
    MS_TRY(const auto left_behind, fs.list(temporaries));
    for (const auto& entry : left_behind) {
        MS_TRY_VOID(context.check());
        MS_TRY_VOID(fs.remove(join_path(temporaries, entry.name)));
    }
    return store;
}

std::unique_ptr<LocalObjectStore> LocalObjectStore::attach(FileSystem& fs,
                                                           std::string root,
                                                           Random& random) {
    return std::unique_ptr<LocalObjectStore>(new LocalObjectStore(fs, std::move(root), random));
}

std::string LocalObjectStore::path_of(std::string_view key) const {
    return join_path(root_, std::string(key));
}

// A directory that is there already may have been made a moment ago by another thread, or by a
// process that was killed, and not be synced yet. So the first use syncs all names above it.
Result<> LocalObjectStore::make_durable(const std::string& directory) {
    constexpr std::size_t kDirectoriesKnownMax = 4096;
    MS_TRY_VOID(fs_.create_directories(directory));
    {
        const MutexLock lock(mutex_);
        if (durable_directories_.contains(directory)) {
            return {};
        }
    }
    for (auto at = directory; at != root_ && at != parent_path(at);) {
        at = parent_path(at);
        MS_TRY_VOID(fs_.sync_directory(at));
    }
    const MutexLock lock(mutex_);
    if (durable_directories_.size() >= kDirectoriesKnownMax) {
        durable_directories_.clear();
    }
    durable_directories_.insert(directory);
    return {};
}

Result<> LocalObjectStore::store(const RequestContext& context,
                                 std::string_view key,
                                 const Fill& fill) {
    MS_TRY_VOID(check_object_key(key));
    if (key.starts_with(".tmp/")) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("object key '{}': .tmp is the store's own", key));
    }
    MS_TRY_VOID(context.check());
    const auto temporary = join_path(join_path(root_, std::string(kTemporaries)),
                                     fmt::format("{}-{:016x}", ++temporaries_, random_.next_u64()));
    MS_TRY(const auto file, fs_.open(temporary, OpenMode::kCreateNew));
    const auto write = [&]() -> Result<> {
        MS_TRY_VOID(fill(*file));
        MS_PASS_FAILPOINT(local_put_before_sync);
        MS_TRY_VOID(file->sync());
        MS_TRY_VOID(file->close());
        const auto path = path_of(key);
        const auto parent = parent_path(path);
        MS_TRY_VOID(make_durable(parent));
        MS_PASS_FAILPOINT(local_put_before_rename);
        MS_TRY_VOID(fs_.rename(temporary, path));
        MS_PASS_FAILPOINT(local_put_after_rename);
        return fs_.sync_directory(parent);
    };
    auto written = write();
    if (!written) {
        // Gone already if the rename took place; `open` removes what stays.
        (void)fs_.remove(temporary);
    }
    return written;
}

Result<> LocalObjectStore::put(const RequestContext& context, std::string_view key, Bytes body) {
    return store(context, key, [body](File& file) { return file.write_at(0, body); });
}

Result<> LocalObjectStore::put_file(const RequestContext& context,
                                    std::string_view key,
                                    const std::string& path) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY(const auto source, fs_.open(path, OpenMode::kRead));
    return store(context, key, [&](File& file) -> Result<> {
        ByteBuffer buffer(kCopyBytes);
        for (std::uint64_t offset = 0;;) {
            MS_TRY_VOID(context.check());
            MS_TRY(const auto got, source->read_at(offset, buffer));
            if (got == 0) {
                return {};
            }
            MS_TRY_VOID(file.write_at(offset, Bytes(buffer).first(got)));
            offset += got;
        }
    });
}

Result<ByteBuffer> LocalObjectStore::get(const RequestContext& context,
                                         std::string_view key,
                                         std::uint64_t offset,
                                         std::uint64_t length) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    MS_TRY(const auto file, fs_.open(path_of(key), OpenMode::kRead));
    MS_TRY(const auto size, file->size());
    if (offset > size) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("object {} has {} bytes, wanted from {}", key, size, offset));
    }
    ByteBuffer content(std::min(length, size - offset));
    MS_TRY(const auto got, file->read_at(offset, content));
    if (got != content.size()) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("object {} ended at {} of {} bytes", key, offset + got, size));
    }
    return content;
}

Result<std::optional<ObjectMeta>> LocalObjectStore::head(const RequestContext& context,
                                                         std::string_view key) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    auto file = fs_.open(path_of(key), OpenMode::kRead);
    if (!file) {
        if (file.error().code() == ErrorCode::kNotFound) {
            return std::optional<ObjectMeta>();
        }
        return std::move(file).error();
    }
    MS_TRY(const auto size, (*file)->size());
    return std::optional(ObjectMeta{.key = std::string(key), .size_bytes = size});
}

Result<> LocalObjectStore::list(const RequestContext& context,
                                std::string_view prefix,
                                const std::function<bool(const ObjectMeta&)>& visit) {
    MS_TRY(const auto more, visit_directory(context, root_, "", prefix, visit));
    (void)more;
    return {};
}

Result<bool> LocalObjectStore::visit_directory(
    const RequestContext& context,
    const std::string& directory,
    const std::string& key_prefix,
    std::string_view prefix,
    const std::function<bool(const ObjectMeta&)>& visit) {
    MS_TRY_VOID(context.check());
    auto entries = fs_.list(directory);
    if (!entries) {
        if (entries.error().code() == ErrorCode::kNotFound) {
            return true;  // Removed in between.
        }
        return std::move(entries).error();
    }
    // Key order: a directory sorts as its name with the '/' behind it.
    std::ranges::sort(*entries, {}, [](const DirectoryEntry& entry) {
        return entry.kind == EntryKind::kDirectory ? entry.name + "/" : entry.name;
    });
    for (const auto& entry : *entries) {
        auto key = key_prefix + entry.name;
        if (key_prefix.empty() && entry.name == kTemporaries) {
            continue;
        }
        if (entry.kind == EntryKind::kDirectory) {
            key += '/';
            const auto common = std::min(key.size(), prefix.size());
            if (std::string_view(key).substr(0, common) != prefix.substr(0, common)) {
                continue;
            }
            MS_TRY(const auto more,
                   visit_directory(context, join_path(directory, entry.name), key, prefix, visit));
            if (!more) {
                return false;
            }
        } else if (key.starts_with(prefix) && !visit({.key = key, .size_bytes = entry.size})) {
            return false;
        }
    }
    return true;
}

Result<> LocalObjectStore::remove(const RequestContext& context, std::string_view key) {
    MS_TRY_VOID(check_object_key(key));
    MS_TRY_VOID(context.check());
    MS_PASS_FAILPOINT(local_before_remove);
    const auto path = path_of(key);
    auto removed = fs_.remove(path);
    if (!removed && removed.error().code() != ErrorCode::kNotFound) {
        return removed;
    }
    MS_PASS_FAILPOINT(local_removed);
    // Also if it is not there: an earlier try may have removed it and failed before this.
    auto synced = fs_.sync_directory(parent_path(path));
    if (!synced && synced.error().code() == ErrorCode::kNotFound) {
        return {};
    }
    return synced;
}

std::string LocalObjectStore::describe() const {
    return fmt::format("local directory {}", root_);
}

}  // namespace molesignal
