// A file system in memory that can lose power: what was not synced is lost, as on a real disk.
//
//   lossy_fs MOUNTPOINT [--seed N]
//
// A file's bytes are durable after fsync of the file, a name after fsync of its directory (POSIX
// asks for no more; ext4 gives more). SIGUSR1 cuts the power: from then on every call fails with
// EIO. SIGUSR2 brings it back with what was durable, and by the seed some of the rest: nothing, a
// subset of the unsynced pages, of the unsynced sectors, or sizes without their data. Prints
// "ready", "cut" and "restored <model>" lines. Needs /dev/fuse. The same models as
// tests/support/crash_fs.h, behind the kernel instead of behind our FileSystem interface: one
// checks the other.
#define FUSE_USE_VERSION 31
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kSectorBytes = 512;

struct Inode {
    bool is_directory = false;
    ino_t number = 0;
    mode_t mode = 0;
    timespec changed{};
    std::vector<char> bytes;          // As seen now.
    std::vector<char> durable_bytes;  // After a power cut.
    std::set<std::size_t> dirty_pages;
    std::map<std::string, std::shared_ptr<Inode>> names;
    std::map<std::string, std::shared_ptr<Inode>> durable_names;
};
using InodePtr = std::shared_ptr<Inode>;

class Disk {
public:
    explicit Disk(std::uint64_t seed) : random_(seed), root_(make(true, 0755)) {}

    std::mutex mutex;
    bool is_off = false;

    InodePtr make(bool is_directory, mode_t mode) {
        auto inode = std::make_shared<Inode>();
        inode->is_directory = is_directory;
        inode->number = ++inodes_;
        inode->mode = mode & 07777U;
        ::clock_gettime(CLOCK_REALTIME, &inode->changed);
        return inode;
    }

    InodePtr find(const std::string& path) const {
        auto inode = root_;
        for (std::size_t at = 1; at < path.size();) {
            const auto end = std::min(path.find('/', at), path.size());
            const auto found = inode->names.find(path.substr(at, end - at));
            if (!inode->is_directory || found == inode->names.end()) {
                return nullptr;
            }
            inode = found->second;
            at = end + 1;
        }
        return inode;
    }
    /// The directory of `path`, and the last name in it.
    std::pair<InodePtr, std::string> parent(const std::string& path) const {
        const auto slash = path.rfind('/');
        return {find(slash == 0 ? "/" : path.substr(0, slash)), path.substr(slash + 1)};
    }

    static void touch_pages(Inode& inode, std::size_t begin, std::size_t end) {
        for (auto page = begin / kPageBytes; page * kPageBytes < end; ++page) {
            inode.dirty_pages.insert(page);
        }
    }
    static void resize(Inode& inode, std::size_t size) {
        const auto before = inode.bytes.size();
        inode.bytes.resize(size, 0);
        touch_pages(inode, std::min(before, size), std::max(before, size));
    }
    static void sync(Inode& inode) {
        inode.durable_bytes.resize(inode.bytes.size(), 0);
        for (const auto page : inode.dirty_pages) {
            copy_range(inode, page * kPageBytes, kPageBytes);
        }
        inode.dirty_pages.clear();
    }

    /// Back to what was durable, with some of the rest.
    std::string restore() {
        constexpr std::array kModels = {
            "nothing unsynced", "some pages", "some sectors", "sizes without data"};
        const auto model = random_() % kModels.size();
        std::set<Inode*> seen;
        restore(*root_, model, seen);
        return kModels[model];
    }

private:
    /// Copies [begin, begin + size) to the durable bytes, as far as they reach.
    static void copy_range(Inode& inode, std::size_t begin, std::size_t size) {
        const auto end = std::min({begin + size, inode.bytes.size(), inode.durable_bytes.size()});
        if (begin < end) {
            std::memcpy(
                inode.durable_bytes.data() + begin, inode.bytes.data() + begin, end - begin);
        }
    }

    void restore(Inode& inode, std::size_t model, std::set<Inode*>& seen) {
        if (!seen.insert(&inode).second) {
            return;
        }
        if (inode.is_directory) {
            inode.names = inode.durable_names;
            for (auto& [name, child] : inode.names) {
                restore(*child, model, seen);
            }
            return;
        }
        if (model != 0) {
            // The size may have got there without the data, and a part of the data without the
            // rest.
            if (inode.bytes.size() > inode.durable_bytes.size() && random_() % 2 == 0) {
                inode.durable_bytes.resize(inode.bytes.size(), 0);
            }
            const auto unit = model == 1 ? kPageBytes : kSectorBytes;
            for (const auto page : inode.dirty_pages) {
                for (std::size_t at = 0; model != 3 && at < kPageBytes; at += unit) {
                    if (random_() % 2 == 0) {
                        copy_range(inode, page * kPageBytes + at, unit);
                    }
                }
            }
        }
        inode.bytes = inode.durable_bytes;
        inode.dirty_pages.clear();
    }

    std::mt19937_64 random_;
    ino_t inodes_ = 0;
    InodePtr root_;
};

Disk* disk = nullptr;

InodePtr& inode_of(fuse_file_info* info) {
    return *reinterpret_cast<InodePtr*>(info->fh);
}

/// Runs `work` under the lock with the power on; `work` returns 0, a count or a negative errno.
template <class Work>
int with_power(Work work) {
    const std::lock_guard lock(disk->mutex);
    return disk->is_off ? -EIO : work();
}

/// `work(Inode&)` on an open file, else on the path's.
template <class Work>
int with_inode(const char* path, fuse_file_info* info, Work work) {
    return with_power([&] {
        const auto inode = info != nullptr && info->fh != 0 ? inode_of(info) : disk->find(path);
        return inode == nullptr ? -ENOENT : work(*inode);
    });
}

int lossy_getattr(const char* path, struct stat* out, fuse_file_info* info) {
    return with_inode(path, info, [out](Inode& inode) {
        *out = {};
        out->st_ino = inode.number;
        out->st_mode = inode.mode | (inode.is_directory ? S_IFDIR : S_IFREG);
        out->st_nlink = inode.is_directory ? 2 : 1;
        out->st_size = static_cast<off_t>(inode.bytes.size());
        out->st_blocks =
            static_cast<blkcnt_t>((inode.bytes.size() + kSectorBytes - 1) / kSectorBytes);
        out->st_mtim = inode.changed;
        out->st_ctim = inode.changed;
        return 0;
    });
}

int add_name(const char* path, const InodePtr& inode) {
    const auto [directory, name] = disk->parent(path);
    if (directory == nullptr) {
        return -ENOENT;
    }
    return directory->names.emplace(name, inode).second ? 0 : -EEXIST;
}

int lossy_mkdir(const char* path, mode_t mode) {
    return with_power([&] { return add_name(path, disk->make(true, mode)); });
}

int lossy_create(const char* path, mode_t mode, fuse_file_info* info) {
    return with_power([&] {
        const auto inode = disk->make(false, mode);
        const int added = add_name(path, inode);
        if (added == 0) {
            info->fh = reinterpret_cast<std::uint64_t>(new InodePtr(inode));
        }
        return added;
    });
}

int lossy_open(const char* path, fuse_file_info* info) {
    return with_power([&] {
        const auto inode = disk->find(path);
        if (inode == nullptr) {
            return -ENOENT;
        }
        if ((info->flags & O_TRUNC) != 0) {
            Disk::resize(*inode, 0);
        }
        info->fh = reinterpret_cast<std::uint64_t>(new InodePtr(inode));
        return 0;
    });
}

int lossy_release(const char*, fuse_file_info* info) {
    const std::lock_guard lock(disk->mutex);
    delete &inode_of(info);
    return 0;
}

int lossy_read(const char* path, char* out, std::size_t size, off_t offset, fuse_file_info* info) {
    return with_inode(path, info, [&](Inode& inode) {
        const auto begin = std::min(static_cast<std::size_t>(offset), inode.bytes.size());
        const auto count = std::min(size, inode.bytes.size() - begin);
        std::memcpy(out, inode.bytes.data() + begin, count);
        return static_cast<int>(count);
    });
}

int lossy_write(
    const char* path, const char* data, std::size_t size, off_t offset, fuse_file_info* info) {
    return with_inode(path, info, [&](Inode& inode) {
        const auto begin = static_cast<std::size_t>(offset);
        if (begin + size > inode.bytes.size()) {
            Disk::resize(inode, begin + size);
        }
        std::memcpy(inode.bytes.data() + begin, data, size);
        Disk::touch_pages(inode, begin, begin + size);
        ::clock_gettime(CLOCK_REALTIME, &inode.changed);
        return static_cast<int>(size);
    });
}

int lossy_truncate(const char* path, off_t size, fuse_file_info* info) {
    return with_inode(path, info, [size](Inode& inode) {
        Disk::resize(inode, static_cast<std::size_t>(size));
        return 0;
    });
}

int lossy_fallocate(const char* path, int mode, off_t offset, off_t length, fuse_file_info* info) {
    if (mode != 0) {
        return -EOPNOTSUPP;
    }
    return with_inode(path, info, [&](Inode& inode) {
        const auto end = static_cast<std::size_t>(offset + length);
        if (end > inode.bytes.size()) {
            Disk::resize(inode, end);
        }
        return 0;
    });
}

int lossy_fsync(const char* path, int, fuse_file_info* info) {
    return with_inode(path, info, [](Inode& inode) {
        Disk::sync(inode);
        return 0;
    });
}

int lossy_fsyncdir(const char* path, int, fuse_file_info*) {
    return with_inode(path, nullptr, [](Inode& inode) {
        inode.durable_names = inode.names;
        return 0;
    });
}

int remove_name(const char* path, bool is_directory) {
    return with_power([&] {
        const auto inode = disk->find(path);
        if (inode == nullptr) {
            return -ENOENT;
        }
        if (inode->is_directory != is_directory) {
            return is_directory ? -ENOTDIR : -EISDIR;
        }
        if (is_directory && !inode->names.empty()) {
            return -ENOTEMPTY;
        }
        const auto [directory, name] = disk->parent(path);
        directory->names.erase(name);
        return 0;
    });
}
int lossy_unlink(const char* path) {
    return remove_name(path, false);
}
int lossy_rmdir(const char* path) {
    return remove_name(path, true);
}

int lossy_rename(const char* from, const char* to, unsigned flags) {
    if (flags != 0) {
        return -EINVAL;
    }
    return with_power([&] {
        const auto inode = disk->find(from);
        const auto [source, old_name] = disk->parent(from);
        const auto [target, new_name] = disk->parent(to);
        if (inode == nullptr || target == nullptr) {
            return -ENOENT;
        }
        source->names.erase(old_name);
        target->names[new_name] = inode;
        return 0;
    });
}

int lossy_readdir(const char* path,
                  void* buffer,
                  fuse_fill_dir_t fill,
                  off_t,
                  fuse_file_info*,
                  fuse_readdir_flags) {
    return with_inode(path, nullptr, [&](Inode& inode) {
        for (const auto* name : {".", ".."}) {
            fill(buffer, name, nullptr, 0, {});
        }
        for (const auto& [name, child] : inode.names) {
            fill(buffer, name.c_str(), nullptr, 0, {});
        }
        return 0;
    });
}

int lossy_chmod(const char* path, mode_t mode, fuse_file_info* info) {
    return with_inode(path, info, [mode](Inode& inode) {
        inode.mode = mode & 07777U;
        return 0;
    });
}
int lossy_chown(const char*, uid_t, gid_t, fuse_file_info*) {
    return 0;
}
int lossy_utimens(const char* path, const timespec times[2], fuse_file_info* info) {
    return with_inode(path, info, [times](Inode& inode) {
        inode.changed = times[1];
        return 0;
    });
}

int lossy_statfs(const char*, struct statvfs* out) {
    *out = {};
    out->f_bsize = kPageBytes;
    out->f_frsize = kPageBytes;
    out->f_blocks = 1U << 20U;
    out->f_bfree = 1U << 19U;
    out->f_bavail = 1U << 19U;
    out->f_namemax = 255;
    return 0;
}

void* lossy_init(fuse_conn_info*, fuse_config* config) {
    // Nothing is remembered by the kernel that a power cut would change.
    config->attr_timeout = 0;
    config->entry_timeout = 0;
    config->negative_timeout = 0;
    config->hard_remove = 1;
    config->use_ino = 1;
    fmt::print("ready\n");
    std::fflush(stdout);
    return nullptr;
}

void serve_signals(sigset_t signals) {
    int number = 0;
    while (::sigwait(&signals, &number) == 0) {
        const std::lock_guard lock(disk->mutex);
        if (number == SIGUSR1) {
            disk->is_off = true;
            fmt::print("cut\n");
        } else {
            fmt::print("restored {}\n", disk->restore());
            disk->is_off = false;
        }
        std::fflush(stdout);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && !(argc == 4 && std::strcmp(argv[2], "--seed") == 0)) {
        fmt::print(stderr, "lossy_fs MOUNTPOINT [--seed N]\n");
        return 2;
    }
    Disk the_disk(argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 1);
    disk = &the_disk;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread(serve_signals, signals).detach();

    fuse_operations operations{};
    operations.init = lossy_init;
    operations.getattr = lossy_getattr;
    operations.mkdir = lossy_mkdir;
    operations.create = lossy_create;
    operations.open = lossy_open;
    operations.release = lossy_release;
    operations.read = lossy_read;
    operations.write = lossy_write;
    operations.truncate = lossy_truncate;
    operations.fallocate = lossy_fallocate;
    operations.fsync = lossy_fsync;
    operations.fsyncdir = lossy_fsyncdir;
    operations.unlink = lossy_unlink;
    operations.rmdir = lossy_rmdir;
    operations.rename = lossy_rename;
    operations.readdir = lossy_readdir;
    operations.chmod = lossy_chmod;
    operations.chown = lossy_chown;
    operations.utimens = lossy_utimens;
    operations.statfs = lossy_statfs;
    std::string foreground = "-f";
    char* arguments[] = {argv[0], argv[1], foreground.data(), nullptr};
    return fuse_main(3, arguments, &operations, nullptr);
}
