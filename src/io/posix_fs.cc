#include "io/posix_fs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/assert.h"

namespace molesignal {
namespace {

Error error_of(int number, std::string_view what, const std::string& path) {
    auto code = ErrorCode::kUnavailable;
    switch (number) {
        case ENOENT:
        case ENOTDIR:
            code = ErrorCode::kNotFound;
            break;
        case EEXIST:
        case ENOTEMPTY:
            code = ErrorCode::kConflict;
            break;
        case EACCES:
        case EPERM:
        case EROFS:
            code = ErrorCode::kForbidden;
            break;
        case ENOSPC:
        case EDQUOT:
        case EMFILE:
        case ENFILE:
        case ENOMEM:
        case EFBIG:
            code = ErrorCode::kResourceExhausted;
            break;
        default:
            break;
    }
    return {code, fmt::format("{} {}: {}", what, path, std::strerror(number))};
}

/// Calls a system function until it is not interrupted.
template <class Call>
auto retry_interrupted(Call call) {
    while (true) {
        const auto result = call();
        if (result >= 0 || errno != EINTR) {
            return result;
        }
    }
}

class PosixFile final : public File {
public:
    PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
    ~PosixFile() override {
        if (descriptor_ >= 0) {
            ::close(descriptor_);
        }
    }

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
        std::size_t done = 0;
        while (done < out.size()) {
            const auto got = retry_interrupted([&] {
                return ::pread(descriptor_,
                               out.data() + done,
                               out.size() - done,
                               static_cast<off_t>(offset + done));
            });
            if (got < 0) {
                return error_of(errno, "read", path_);
            }
            if (got == 0) {
                break;
            }
            done += static_cast<std::size_t>(got);
        }
        return done;
    }

    Result<> write_at(std::uint64_t offset, Bytes data) override {
        while (!data.empty()) {
            const auto put = retry_interrupted([&] {
                return ::pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(offset));
            });
            if (put < 0) {
                return error_of(errno, "write", path_);
            }
            offset += static_cast<std::uint64_t>(put);
            data = data.subspan(static_cast<std::size_t>(put));
        }
        return {};
    }

    Result<> allocate(std::uint64_t size) override {
        if (size == 0) {
            return {};  // fallocate calls this an error.
        }
        const auto done = retry_interrupted(
            [&] { return ::fallocate(descriptor_, 0, 0, static_cast<off_t>(size)); });
        if (done == 0) {
            return {};
        }
        if (errno != EOPNOTSUPP) {
            return error_of(errno, "allocate", path_);
        }
        // A file system without fallocate: zeros reserve the space just as well.
        MS_TRY(auto at, this->size());
        const ByteBuffer zeros(1U << 20U);
        while (at < size) {
            const auto count = std::min<std::uint64_t>(zeros.size(), size - at);
            MS_TRY_VOID(write_at(at, Bytes(zeros).first(count)));
            at += count;
        }
        return {};
    }

    Result<> sync() override {
        if (retry_interrupted([&] { return ::fdatasync(descriptor_); }) != 0) {
            return error_of(errno, "sync", path_);
        }
        return check_writable();
    }

    Result<> truncate(std::uint64_t size) override {
        if (retry_interrupted([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size)); }) !=
            0) {
            return error_of(errno, "truncate", path_);
        }
        return {};
    }

    Result<std::uint64_t> size() override {
        struct stat status{};
        if (::fstat(descriptor_, &status) != 0) {
            return error_of(errno, "stat", path_);
        }
        return static_cast<std::uint64_t>(status.st_size);
    }

    Result<> close() override {
        MS_ASSERT(descriptor_ >= 0);
        // Not repeated after EINTR: the descriptor is gone either way on Linux.
        const auto failed = ::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR;
        if (failed) {
            return error_of(errno, "close", path_);
        }
        return {};
    }

private:
    /// A sync that is under way while ext4 turns read-only after an error may be answered with
    /// success though its blocks are lost (seen with Linux 6.18; earlier ones answer so as long as
    /// the file system is read-only). Afterwards nothing can be opened for writing there.
    Result<> check_writable() const {
        std::array<char, 32> name{};
        fmt::format_to_n(name.data(), name.size() - 1, "/proc/self/fd/{}", descriptor_);
        const auto again =
            retry_interrupted([&] { return ::open(name.data(), O_WRONLY | O_CLOEXEC); });
        if (again >= 0) {
            ::close(again);
        } else if (errno == EROFS) {
            return error_of(EROFS, "sync", path_);
        }
        return {};
    }

    int descriptor_;
    std::string path_;
};

/// The kernel's random name of this start of the machine; empty if it has none.
std::string read_boot_id() {
    const auto descriptor = retry_interrupted(
        [] { return ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC); });
    if (descriptor < 0) {
        return {};
    }
    std::array<char, 36> text{};
    const auto got =
        retry_interrupted([&] { return ::read(descriptor, text.data(), text.size()); });
    ::close(descriptor);
    return got == static_cast<ssize_t>(text.size()) ? std::string(text.data(), text.size())
                                                    : std::string();
}

class PosixDirectoryLock final : public DirectoryLock {
public:
    explicit PosixDirectoryLock(int descriptor) : descriptor_(descriptor) {
        struct stat status{};
        const auto boot = read_boot_id();
        if (!boot.empty() && ::fstat(descriptor_, &status) == 0) {
            // The LOCK file's own number: a copy of the directory has a file of its own.
            identity_ = fmt::format("{}-{:x}-{:x}", boot, status.st_dev, status.st_ino);
        }
    }
    ~PosixDirectoryLock() override { ::close(descriptor_); }
    std::string identity() const override { return identity_; }

private:
    int descriptor_;
    std::string identity_;
};

}  // namespace

Result<std::unique_ptr<File>> PosixFs::open(const std::string& path, OpenMode mode) {
    int flags = O_CLOEXEC;
    switch (mode) {
        case OpenMode::kRead:
            flags |= O_RDONLY;
            break;
        case OpenMode::kCreateNew:
            flags |= O_RDWR | O_CREAT | O_EXCL;
            break;
        case OpenMode::kReadWrite:
            flags |= O_RDWR;
            break;
    }
    const auto descriptor = retry_interrupted([&] { return ::open(path.c_str(), flags, 0640); });
    if (descriptor < 0) {
        return error_of(errno, "open", path);
    }
    return std::unique_ptr<File>(std::make_unique<PosixFile>(descriptor, path));
}

Result<> PosixFs::rename(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) {
        return error_of(errno, "rename", from);
    }
    return {};
}

Result<> PosixFs::remove(const std::string& path) {
    if (::unlink(path.c_str()) != 0) {
        return error_of(errno, "remove", path);
    }
    return {};
}

Result<std::vector<DirectoryEntry>> PosixFs::list(const std::string& path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
    if (directory == nullptr) {
        return error_of(errno, "list", path);
    }
    std::vector<DirectoryEntry> entries;
    while (true) {
        errno = 0;
        const auto* entry = ::readdir(directory.get());
        if (entry == nullptr) {
            if (errno != 0) {
                return error_of(errno, "list", path);
            }
            break;
        }
        const std::string_view name(entry->d_name);
        if (name == "." || name == "..") {
            continue;
        }
        struct stat status{};
        if (::fstatat(::dirfd(directory.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) {
                continue;  // Removed in between.
            }
            return error_of(errno, "stat", join_path(path, std::string(name)));
        }
        entries.push_back(
            {.name = std::string(name),
             .kind = S_ISDIR(status.st_mode) ? EntryKind::kDirectory : EntryKind::kFile,
             .size = static_cast<std::uint64_t>(status.st_size)});
    }
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    return entries;
}

Result<> PosixFs::create_directories(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0) {
        if (S_ISDIR(status.st_mode)) {
            return {};
        }
        return Error(ErrorCode::kConflict, fmt::format("{} exists and is not a directory", path));
    }
    const auto parent = parent_path(path);
    if (parent != path) {
        MS_TRY_VOID(create_directories(parent));
    }
    if (::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST) {
        return error_of(errno, "create directory", path);
    }
    return sync_directory(parent);
}

Result<> PosixFs::remove_directory(const std::string& path) {
    if (::rmdir(path.c_str()) != 0) {
        return error_of(errno, "remove directory", path);
    }
    return {};
}

Result<> PosixFs::sync_directory(const std::string& path) {
    const auto descriptor =
        retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) {
        return error_of(errno, "open directory", path);
    }
    const auto failed = retry_interrupted([&] { return ::fsync(descriptor); }) != 0;
    const auto number = errno;
    ::close(descriptor);
    if (failed) {
        return error_of(number, "sync directory", path);
    }
    return {};
}

Result<bool> PosixFs::exists(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0) {
        return true;
    }
    if (errno == ENOENT || errno == ENOTDIR) {
        return false;
    }
    return error_of(errno, "stat", path);
}

Result<SpaceInfo> PosixFs::space(const std::string& path) {
    struct statvfs status{};
    if (::statvfs(path.c_str(), &status) != 0) {
        return error_of(errno, "statvfs", path);
    }
    return SpaceInfo{.total_bytes = status.f_blocks * status.f_frsize,
                     .available_bytes = status.f_bavail * status.f_frsize};
}

Result<std::unique_ptr<DirectoryLock>> PosixFs::lock_directory(const std::string& path) {
    const auto name = join_path(path, "LOCK");
    const auto descriptor =
        retry_interrupted([&] { return ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640); });
    if (descriptor < 0) {
        return error_of(errno, "open", name);
    }
    // flock belongs to the open file, so a second lock within this process is refused too.
    if (retry_interrupted([&] { return ::flock(descriptor, LOCK_EX | LOCK_NB); }) != 0) {
        const auto number = errno;
        ::close(descriptor);
        if (number == EWOULDBLOCK) {
            return Error(ErrorCode::kConflict,
                         fmt::format("{} is in use by another process", path));
        }
        return error_of(number, "lock", name);
    }
    return std::unique_ptr<DirectoryLock>(std::make_unique<PosixDirectoryLock>(descriptor));
}

}  // namespace molesignal
