#include "io/file_system.h"

#include <fmt/format.h>

namespace molesignal {

Result<ByteBuffer> read_file(FileSystem& fs, const std::string& path, std::uint64_t bytes_max) {
    MS_TRY(const auto file, fs.open(path, OpenMode::kRead));
    MS_TRY(const auto size, file->size());
    if (size > bytes_max) {
        return Error(ErrorCode::kResourceExhausted,
                     fmt::format("{} has {} bytes, the limit is {}", path, size, bytes_max));
    }
    ByteBuffer content(size);
    MS_TRY(const auto got, file->read_at(0, content));
    content.resize(got);
    return content;
}

Result<> write_file_atomically(FileSystem& fs, const std::string& path, Bytes content) {
    const auto temporary = path + ".tmp";
    MS_TRY(const auto left_behind, fs.exists(temporary));
    if (left_behind) {
        MS_TRY_VOID(fs.remove(temporary));
    }
    MS_TRY(const auto file, fs.open(temporary, OpenMode::kCreateNew));
    MS_TRY_VOID(file->write_at(0, content));
    // Sync before rename: after a power cut a renamed but unsynced file can be empty.
    MS_TRY_VOID(file->sync());
    MS_TRY_VOID(file->close());
    MS_TRY_VOID(fs.rename(temporary, path));
    return fs.sync_directory(parent_path(path));
}

Result<> ensure_durable_directory(FileSystem& fs, const std::string& path) {
    MS_TRY_VOID(fs.create_directories(path));
    for (auto at = path; at != parent_path(at);) {
        at = parent_path(at);
        if (auto synced = fs.sync_directory(at);
            !synced && synced.error().code() != ErrorCode::kForbidden) {
            return std::move(synced).error().wrap(fmt::format("make {} durable", path));
        }
    }
    return {};
}

std::string join_path(const std::string& a, const std::string& b) {
    if (a.empty() || a.back() == '/') {
        return a + b;
    }
    return a + "/" + b;
}

std::string parent_path(const std::string& path) {
    auto end = path.find_last_not_of('/');
    if (end == std::string::npos) {
        return path.empty() ? "." : "/";
    }
    const auto slash = path.rfind('/', end);
    if (slash == std::string::npos) {
        return ".";
    }
    end = path.find_last_not_of('/', slash);
    return end == std::string::npos ? "/" : path.substr(0, end + 1);
}

}  // namespace molesignal
