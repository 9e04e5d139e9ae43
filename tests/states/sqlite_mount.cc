#include "tests/states/sqlite_mount.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/assert.h"
#include "common/mutex.h"

namespace molesignal {
namespace {

constexpr std::string_view kPrefix = "/sqlite-mount/";
constexpr int kPathBytesMax = 512;

/// Locks and shared memory of one database file, as the kernel would keep them.
struct FileLocks {
    Mutex mutex;
    int shared MS_GUARDED_BY(mutex) = 0;
    const void* reserved MS_GUARDED_BY(mutex) = nullptr;
    const void* pending MS_GUARDED_BY(mutex) = nullptr;  ///< Or exclusive: then `shared` is 1.
    std::array<int, SQLITE_SHM_NLOCK> slot_shared MS_GUARDED_BY(mutex) = {};
    std::array<const void*, SQLITE_SHM_NLOCK> slot_exclusive MS_GUARDED_BY(mutex) = {};
    std::vector<std::unique_ptr<char[]>> regions MS_GUARDED_BY(mutex);
    int mapped MS_GUARDED_BY(mutex) = 0;
};

}  // namespace

struct SqliteMount::State {
    explicit State(FileSystem& file_system) : fs(file_system) {}

    std::shared_ptr<FileLocks> locks_of(const std::string& path) {
        const MutexLock lock(mutex);
        auto& found = locks[path];
        if (found == nullptr) {
            found = std::make_shared<FileLocks>();
        }
        return found;
    }

    FileSystem& fs;
    std::uint64_t id = 0;
    Mutex mutex;
    std::map<std::string, std::shared_ptr<FileLocks>> locks MS_GUARDED_BY(mutex);
};

namespace {

struct Mounts {
    Mutex mutex;
    std::map<std::uint64_t, std::shared_ptr<SqliteMount::State>> by_id MS_GUARDED_BY(mutex);
    std::uint64_t last_id MS_GUARDED_BY(mutex) = 0;
};
Mounts& mounts() {
    static Mounts all;
    return all;
}

struct Place {
    std::shared_ptr<SqliteMount::State> mount;
    std::string path;
};
/// Where `name` lies, if it is in a mount.
std::optional<Place> find_place(const char* name) {
    if (name == nullptr || !std::string_view(name).starts_with(kPrefix)) {
        return std::nullopt;
    }
    auto rest = std::string_view(name).substr(kPrefix.size());
    const auto slash = rest.find('/');
    MS_ASSERT(slash != std::string_view::npos);
    auto& all = mounts();
    const MutexLock lock(all.mutex);
    const auto found = all.by_id.find(std::stoull(std::string(rest.substr(0, slash))));
    MS_ASSERT(found != all.by_id.end());
    return Place{.mount = found->second, .path = std::string(rest.substr(slash + 1))};
}

/// An open file as SQLite holds it: SQLite owns the memory, we what is behind `open`.
struct OpenFile {
    Place place;
    std::unique_ptr<File> file;
    std::shared_ptr<FileLocks> locks;
    int level = SQLITE_LOCK_NONE;
    bool sync_directory = false;  ///< A new journal: its name is not durable yet.
    bool is_mapped = false;
    unsigned slots_shared = 0;
    unsigned slots_exclusive = 0;
};
struct MountedFile {
    sqlite3_file base;
    OpenFile* open;
};
OpenFile& opened(sqlite3_file* file) {
    return *reinterpret_cast<MountedFile*>(file)->open;
}

int close_file(sqlite3_file* file);
int unlock(sqlite3_file* file, int level);
int unmap_shared(sqlite3_file* file, int remove);

int read_file_at(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
    const MutableBytes bytes(static_cast<std::byte*>(out), static_cast<std::size_t>(size));
    const auto got = opened(file).file->read_at(static_cast<std::uint64_t>(offset), bytes);
    if (!got) {
        return SQLITE_IOERR_READ;
    }
    if (*got < bytes.size()) {
        std::memset(bytes.data() + *got, 0, bytes.size() - *got);
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

int write_file_at(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
    const auto written = opened(file).file->write_at(
        static_cast<std::uint64_t>(offset),
        Bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(size)));
    if (written) {
        return SQLITE_OK;
    }
    return written.error().code() == ErrorCode::kResourceExhausted ? SQLITE_FULL
                                                                   : SQLITE_IOERR_WRITE;
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
    return opened(file).file->truncate(static_cast<std::uint64_t>(size)) ? SQLITE_OK
                                                                         : SQLITE_IOERR_TRUNCATE;
}

int sync_file(sqlite3_file* file, int /*flags*/) {
    auto& open = opened(file);
    if (!open.file->sync()) {
        return SQLITE_IOERR_FSYNC;
    }
    if (open.sync_directory) {
        if (!open.place.mount->fs.sync_directory(parent_path(open.place.path))) {
            return SQLITE_IOERR_DIR_FSYNC;
        }
        open.sync_directory = false;
    }
    return SQLITE_OK;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
    const auto bytes = opened(file).file->size();
    if (!bytes) {
        return SQLITE_IOERR_FSTAT;
    }
    *size = static_cast<sqlite3_int64>(*bytes);
    return SQLITE_OK;
}

int lock(sqlite3_file* file, int level) {
    auto& open = opened(file);
    auto& locks = *open.locks;
    if (open.level >= level) {
        return SQLITE_OK;
    }
    const MutexLock guard(locks.mutex);
    const bool others_wait = locks.pending != nullptr && locks.pending != &open;
    if (level == SQLITE_LOCK_SHARED) {
        if (others_wait) {
            return SQLITE_BUSY;
        }
        ++locks.shared;
    } else if (level == SQLITE_LOCK_RESERVED) {
        if (others_wait || (locks.reserved != nullptr && locks.reserved != &open)) {
            return SQLITE_BUSY;
        }
        locks.reserved = &open;
    } else {
        if (others_wait) {
            return SQLITE_BUSY;
        }
        locks.pending = &open;
        if (locks.shared > 1) {
            open.level = SQLITE_LOCK_PENDING;
            return SQLITE_BUSY;
        }
    }
    open.level = level;
    return SQLITE_OK;
}

int unlock(sqlite3_file* file, int level) {
    auto& open = opened(file);
    auto& locks = *open.locks;
    if (open.level <= level) {
        return SQLITE_OK;
    }
    const MutexLock guard(locks.mutex);
    if (locks.pending == &open) {
        locks.pending = nullptr;
    }
    if (locks.reserved == &open) {
        locks.reserved = nullptr;
    }
    if (level == SQLITE_LOCK_NONE) {
        --locks.shared;
    }
    open.level = level;
    return SQLITE_OK;
}

int check_reserved(sqlite3_file* file, int* is_reserved) {
    auto& locks = *opened(file).locks;
    const MutexLock guard(locks.mutex);
    *is_reserved = locks.reserved != nullptr || locks.pending != nullptr ? 1 : 0;
    return SQLITE_OK;
}

int control(sqlite3_file* /*file*/, int /*operation*/, void* /*argument*/) {
    return SQLITE_NOTFOUND;
}

int sector_size(sqlite3_file* /*file*/) {
    return 4096;
}

int characteristics(sqlite3_file* /*file*/) {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

int map_shared(sqlite3_file* file, int region, int size, int extend, volatile void** out) {
    auto& open = opened(file);
    auto& locks = *open.locks;
    const MutexLock guard(locks.mutex);
    if (!open.is_mapped) {
        open.is_mapped = true;
        ++locks.mapped;
    }
    while (extend != 0 && locks.regions.size() <= static_cast<std::size_t>(region)) {
        locks.regions.push_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));
    }
    *out = static_cast<std::size_t>(region) < locks.regions.size()
               ? locks.regions[static_cast<std::size_t>(region)].get()
               : nullptr;
    return SQLITE_OK;
}

int unlock_shared(OpenFile& open, FileLocks& locks, unsigned slots) MS_REQUIRES(locks.mutex) {
    for (unsigned i = 0; i < SQLITE_SHM_NLOCK; ++i) {
        const auto bit = 1U << i;
        if ((slots & bit) == 0) {
            continue;
        }
        if ((open.slots_shared & bit) != 0) {
            --locks.slot_shared.at(i);
        }
        if ((open.slots_exclusive & bit) != 0) {
            locks.slot_exclusive.at(i) = nullptr;
        }
    }
    open.slots_shared &= ~slots;
    open.slots_exclusive &= ~slots;
    return SQLITE_OK;
}

int lock_shared(sqlite3_file* file, int first, int count, int flags) {
    auto& open = opened(file);
    auto& locks = *open.locks;
    const unsigned slots = ((1U << static_cast<unsigned>(count)) - 1U)
                           << static_cast<unsigned>(first);
    const MutexLock guard(locks.mutex);
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        return unlock_shared(open, locks, slots);
    }
    const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    for (unsigned i = 0; i < SQLITE_SHM_NLOCK; ++i) {
        if ((slots >> i & 1U) == 0) {
            continue;
        }
        const auto* holder = locks.slot_exclusive.at(i);
        const int own = static_cast<int>(open.slots_shared >> i & 1U);
        if ((holder != nullptr && holder != &open) ||
            (exclusive && locks.slot_shared.at(i) > own)) {
            return SQLITE_BUSY;
        }
    }
    for (unsigned i = 0; i < SQLITE_SHM_NLOCK; ++i) {
        const auto bit = 1U << i;
        if ((slots & bit) == 0) {
            continue;
        }
        if (exclusive) {
            locks.slot_exclusive.at(i) = &open;
            open.slots_exclusive |= bit;
        } else if ((open.slots_shared & bit) == 0) {
            ++locks.slot_shared.at(i);
            open.slots_shared |= bit;
        }
    }
    return SQLITE_OK;
}

void barrier(sqlite3_file* file) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const MutexLock guard(opened(file).locks->mutex);
}

int unmap_shared(sqlite3_file* file, int /*remove*/) {
    auto& open = opened(file);
    auto& locks = *open.locks;
    const MutexLock guard(locks.mutex);
    if (!open.is_mapped) {
        return SQLITE_OK;
    }
    open.is_mapped = false;
    (void)unlock_shared(open, locks, ~0U);
    if (--locks.mapped == 0) {
        locks.regions.clear();
    }
    return SQLITE_OK;
}

int close_file(sqlite3_file* file) {
    (void)unmap_shared(file, 0);
    (void)unlock(file, SQLITE_LOCK_NONE);
    auto* mounted = reinterpret_cast<MountedFile*>(file);
    (void)mounted->open->file->close();
    delete mounted->open;
    mounted->open = nullptr;
    return SQLITE_OK;
}

const sqlite3_io_methods kMethods = {.iVersion = 2,
                                     .xClose = close_file,
                                     .xRead = read_file_at,
                                     .xWrite = write_file_at,
                                     .xTruncate = truncate_file,
                                     .xSync = sync_file,
                                     .xFileSize = file_size,
                                     .xLock = lock,
                                     .xUnlock = unlock,
                                     .xCheckReservedLock = check_reserved,
                                     .xFileControl = control,
                                     .xSectorSize = sector_size,
                                     .xDeviceCharacteristics = characteristics,
                                     .xShmMap = map_shared,
                                     .xShmLock = lock_shared,
                                     .xShmBarrier = barrier,
                                     .xShmUnmap = unmap_shared,
                                     .xFetch = nullptr,
                                     .xUnfetch = nullptr};

sqlite3_vfs* system_vfs(sqlite3_vfs* vfs) {
    return static_cast<sqlite3_vfs*>(vfs->pAppData);
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* out, int flags, int* out_flags) {
    auto place = find_place(name);
    if (!place.has_value()) {
        return system_vfs(vfs)->xOpen(system_vfs(vfs), name, out, flags, out_flags);
    }
    auto* mounted = reinterpret_cast<MountedFile*>(out);
    mounted->base.pMethods = nullptr;
    auto& fs = place->mount->fs;
    auto file = fs.open(place->path, OpenMode::kReadWrite);
    bool is_new = false;
    if (!file && file.error().code() == ErrorCode::kNotFound && (flags & SQLITE_OPEN_CREATE) != 0) {
        file = fs.open(place->path, OpenMode::kCreateNew);
        is_new = true;
    }
    if (!file) {
        return SQLITE_CANTOPEN;
    }
    constexpr int kJournals =
        SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
    auto open = std::make_unique<OpenFile>();
    open->locks = place->mount->locks_of(place->path);
    open->place = std::move(*place);
    open->file = std::move(*file);
    open->sync_directory = is_new && (flags & kJournals) != 0;
    mounted->open = open.release();
    mounted->base.pMethods = &kMethods;
    if (out_flags != nullptr) {
        *out_flags = flags;
    }
    return SQLITE_OK;
}

int remove_file(sqlite3_vfs* vfs, const char* name, int sync_directory) {
    const auto place = find_place(name);
    if (!place.has_value()) {
        return system_vfs(vfs)->xDelete(system_vfs(vfs), name, sync_directory);
    }
    auto& fs = place->mount->fs;
    if (const auto removed = fs.remove(place->path); !removed) {
        return removed.error().code() == ErrorCode::kNotFound ? SQLITE_IOERR_DELETE_NOENT
                                                              : SQLITE_IOERR_DELETE;
    }
    if (sync_directory != 0 && !fs.sync_directory(parent_path(place->path))) {
        return SQLITE_IOERR_DIR_FSYNC;
    }
    return SQLITE_OK;
}

// A file without content does not exist for SQLite, as in its unix VFS.
int access_file(sqlite3_vfs* vfs, const char* name, int flags, int* is_there) {
    const auto place = find_place(name);
    if (!place.has_value()) {
        return system_vfs(vfs)->xAccess(system_vfs(vfs), name, flags, is_there);
    }
    auto& fs = place->mount->fs;
    const auto exists = fs.exists(place->path);
    if (!exists) {
        return SQLITE_IOERR_ACCESS;
    }
    *is_there = 0;
    if (*exists) {
        const auto file = fs.open(place->path, OpenMode::kRead);
        const auto size = file ? (*file)->size() : Result<std::uint64_t>(file.error());
        if (!size) {
            return SQLITE_IOERR_ACCESS;
        }
        *is_there = *size > 0 || flags != SQLITE_ACCESS_EXISTS ? 1 : 0;
    }
    return SQLITE_OK;
}

int full_name(sqlite3_vfs* vfs, const char* name, int size, char* out) {
    if (!std::string_view(name).starts_with(kPrefix)) {
        return system_vfs(vfs)->xFullPathname(system_vfs(vfs), name, size, out);
    }
    const std::string_view text(name);
    if (text.size() >= static_cast<std::size_t>(size)) {
        return SQLITE_CANTOPEN;
    }
    std::ranges::copy(text, out);
    out[text.size()] = '\0';
    return SQLITE_OK;
}

/// The system's VFS with the files of mounts in front of it; the default from the first call on.
void register_vfs() {
    static sqlite3_vfs vfs = [] {
        MS_ASSERT(sqlite3_initialize() == SQLITE_OK);
        auto* system = sqlite3_vfs_find(nullptr);
        MS_ASSERT(system != nullptr);
        sqlite3_vfs made = *system;
        made.szOsFile = std::max(system->szOsFile, static_cast<int>(sizeof(MountedFile)));
        made.mxPathname = std::max(system->mxPathname, kPathBytesMax);
        made.pNext = nullptr;
        made.zName = "molesignal-test-mounts";
        made.pAppData = system;
        made.xOpen = open_file;
        made.xDelete = remove_file;
        made.xAccess = access_file;
        made.xFullPathname = full_name;
        return made;
    }();
    static const int registered = sqlite3_vfs_register(&vfs, 1);
    MS_ASSERT(registered == SQLITE_OK);
}

}  // namespace

SqliteMount::SqliteMount(FileSystem& fs) : state_(std::make_shared<State>(fs)) {
    register_vfs();
    auto& all = mounts();
    const MutexLock lock(all.mutex);
    state_->id = ++all.last_id;
    all.by_id[state_->id] = state_;
}

SqliteMount::~SqliteMount() {
    auto& all = mounts();
    const MutexLock lock(all.mutex);
    all.by_id.erase(state_->id);
}

std::string SqliteMount::database(const std::string& path) const {
    return fmt::format("{}{}/{}", kPrefix, state_->id, path);
}

}  // namespace molesignal
