#include "metadata/sqlite/sqlite_checksums.h"

#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <sqlite3.h>
#include <xxhash.h>

#include "metadata/sqlite/sqlite_format.h"

namespace molesignal {
namespace {

constexpr const char* kName = "molesignal-checksums";

std::uint64_t checksum_of(const void* page, std::size_t page_bytes, std::int64_t offset) {
    return XXH3_64bits_withSeed(
        page, page_bytes - kPageChecksumBytes, static_cast<std::uint64_t>(offset));
}

std::uint64_t stored_checksum(const void* page, std::size_t page_bytes) {
    std::uint64_t stored = 0;
    std::memcpy(
        &stored, static_cast<const char*>(page) + page_bytes - kPageChecksumBytes, sizeof stored);
    return stored;
}

std::string& last_damage() {
    thread_local std::string text;
    return text;
}

enum class FileKind : std::uint8_t { kDatabase = 1, kLog = 2, kOther = 3 };

/// What a file of ours has beside SQLite's.
struct FileState {
    FileKind kind = FileKind::kOther;
    std::string path;
    std::uint32_t page_bytes = 0;  ///< Of a database; 0: not known yet.
    ByteBuffer page;               ///< Of the write that is going on.
};

/// SQLite allocates it, with the real file behind it.
struct ChecksumFile {
    sqlite3_file base;
    FileState* state;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
    int read(void* bytes, std::size_t count, std::int64_t offset) {
        return real()->pMethods->xRead(real(), bytes, static_cast<int>(count), offset);
    }
};

ChecksumFile& ours(sqlite3_file* file) {
    return *reinterpret_cast<ChecksumFile*>(file);
}

sqlite3_vfs* real_layer(sqlite3_vfs* layer) {
    return static_cast<sqlite3_vfs*>(layer->pAppData);
}

/// Remembers the page's size from the begin of the file.
void learn_database(FileState& state, const void* bytes, std::size_t count) {
    if (count >= kSqliteHeaderBytes &&
        std::memcmp(bytes, kSqliteMagic.data(), kSqliteMagic.size()) == 0) {
        state.page_bytes = sqlite_page_size(bytes);
    }
}

int fail_page(FileState& state, std::int64_t offset) {
    last_damage() =
        fmt::format("{}: the page at offset {} does not have its checksum", state.path, offset);
    return SQLITE_IOERR_DATA;
}

int check_database_page(FileState& state,
                        const void* bytes,
                        std::size_t count,
                        std::int64_t offset) {
    if (offset == 0) {
        learn_database(state, bytes, count);
    }
    const bool whole = is_sqlite_page_size(count) &&
                       offset % static_cast<std::int64_t>(count) == 0 &&
                       (count == state.page_bytes || state.page_bytes == 0);
    if (!whole) {
        return SQLITE_OK;  // The header alone, when a database is opened.
    }
    return checksum_of(bytes, count, offset) == stored_checksum(bytes, count)
               ? SQLITE_OK
               : fail_page(state, offset);
}

/// Whether the running checksum of the frame at `begin` goes on from that of the frame before it,
/// or of the log's header, with this page in it.
bool follows_previous(ChecksumFile& file,
                      const void* page,
                      std::size_t page_bytes,
                      std::int64_t begin) {
    std::array<char, kJournalHeaderBytes> log{};
    std::array<char, kFrameHeaderBytes> frame{};
    std::array<char, kFrameHeaderBytes> previous{};
    const bool is_first = begin == static_cast<std::int64_t>(kJournalHeaderBytes);
    const auto previous_at = begin - static_cast<std::int64_t>(page_bytes + kFrameHeaderBytes);
    if (file.read(log.data(), log.size(), 0) != SQLITE_OK ||
        file.read(frame.data(), frame.size(), begin) != SQLITE_OK ||
        (!is_first && file.read(previous.data(), previous.size(), previous_at) != SQLITE_OK)) {
        return false;
    }
    JournalSums sums(is_first ? &log[kJournalSumsAt] : &previous[kFrameSumsAt],
                     (load_be32(log.data()) & 1U) != 0);
    sums.add(frame.data(), kFrameSaltsAt);
    sums.add(page, page_bytes);
    return sums.equals(&frame[kFrameSumsAt]) &&
           std::memcmp(&frame[kFrameSaltsAt], &log[kJournalSaltsAt], kSaltsBytes) == 0;
}

/// SQLite verifies its write-ahead log only while it recovers it. This is the read of a frame's
/// page later: by a query or a checkpoint.
int check_log_page(ChecksumFile& file, const void* bytes, std::size_t count, std::int64_t offset) {
    const auto begin = offset - static_cast<std::int64_t>(kFrameHeaderBytes);
    const auto frame_bytes = static_cast<std::int64_t>(kFrameHeaderBytes + count);
    const auto first = static_cast<std::int64_t>(kJournalHeaderBytes);
    if (!is_sqlite_page_size(count) || begin < first || (begin - first) % frame_bytes != 0) {
        return SQLITE_OK;  // The header, or a whole frame: a recovery.
    }
    return follows_previous(file, bytes, count, begin) ? SQLITE_OK : fail_page(*file.state, offset);
}

int file_read(sqlite3_file* base, void* bytes, int count, sqlite3_int64 offset) {
    auto& file = ours(base);
    const auto size = static_cast<std::size_t>(count);
    const int done = file.read(bytes, size, offset);
    if (done != SQLITE_OK) {
        return done;
    }
    switch (file.state->kind) {
        case FileKind::kDatabase:
            return check_database_page(*file.state, bytes, size, offset);
        case FileKind::kLog:
            return check_log_page(file, bytes, size, offset);
        case FileKind::kOther:
            return SQLITE_OK;
    }
    return SQLITE_OK;
}

int file_write(sqlite3_file* base, const void* bytes, int count, sqlite3_int64 offset) {
    auto& file = ours(base);
    auto& state = *file.state;
    auto* real = file.real();
    if (state.kind != FileKind::kDatabase) {
        return real->pMethods->xWrite(real, bytes, count, offset);
    }
    if (offset == 0) {
        learn_database(state, bytes, static_cast<std::size_t>(count));
    }
    if (static_cast<std::uint32_t>(count) != state.page_bytes || offset % count != 0) {
        return real->pMethods->xWrite(real, bytes, count, offset);
    }
    const auto* begin = static_cast<const std::byte*>(bytes);
    state.page.assign(begin, begin + count);
    const auto checksum = checksum_of(bytes, state.page_bytes, offset);
    std::memcpy(&state.page[state.page_bytes - kPageChecksumBytes], &checksum, sizeof checksum);
    return real->pMethods->xWrite(real, state.page.data(), count, offset);
}

int file_close(sqlite3_file* base) {
    auto& file = ours(base);
    delete std::exchange(file.state, nullptr);
    return file.real()->pMethods->xClose(file.real());
}

/// Everything else goes to the real file.
template <auto kMethod, class... Arguments>
auto forward(sqlite3_file* base, Arguments... arguments) {
    auto* real = ours(base).real();
    return (real->pMethods->*kMethod)(real, arguments...);
}

/// Version 2: without memory maps, which would go past the checks.
constexpr sqlite3_io_methods kMethods{
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = forward<&sqlite3_io_methods::xTruncate, sqlite3_int64>,
    .xSync = forward<&sqlite3_io_methods::xSync, int>,
    .xFileSize = forward<&sqlite3_io_methods::xFileSize, sqlite3_int64*>,
    .xLock = forward<&sqlite3_io_methods::xLock, int>,
    .xUnlock = forward<&sqlite3_io_methods::xUnlock, int>,
    .xCheckReservedLock = forward<&sqlite3_io_methods::xCheckReservedLock, int*>,
    .xFileControl = forward<&sqlite3_io_methods::xFileControl, int, void*>,
    .xSectorSize = forward<&sqlite3_io_methods::xSectorSize>,
    .xDeviceCharacteristics = forward<&sqlite3_io_methods::xDeviceCharacteristics>,
    .xShmMap = forward<&sqlite3_io_methods::xShmMap, int, int, int, volatile void**>,
    .xShmLock = forward<&sqlite3_io_methods::xShmLock, int, int, int>,
    .xShmBarrier = forward<&sqlite3_io_methods::xShmBarrier>,
    .xShmUnmap = forward<&sqlite3_io_methods::xShmUnmap, int>,
    .xFetch = nullptr,
    .xUnfetch = nullptr};

int layer_open(
    sqlite3_vfs* layer, const char* name, sqlite3_file* base, int flags, int* out_flags) {
    auto& file = ours(base);
    file.base.pMethods = nullptr;
    file.state = nullptr;
    auto* real = real_layer(layer);
    const int opened = real->xOpen(real, name, file.real(), flags, out_flags);
    if (opened != SQLITE_OK) {
        return opened;
    }
    auto state = std::make_unique<FileState>();
    state->path = name == nullptr ? "" : name;
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
        state->kind = FileKind::kDatabase;
    } else if ((flags & SQLITE_OPEN_WAL) != 0) {
        state->kind = FileKind::kLog;
    }
    file.state = state.release();
    file.base.pMethods = &kMethods;
    return SQLITE_OK;
}

/// A copy of the real layer in whose place only xOpen differs: the other calls do not know it.
template <auto kMethod, class... Arguments>
auto forward_layer(sqlite3_vfs* layer, Arguments... arguments) {
    auto* real = real_layer(layer);
    return (real->*kMethod)(real, arguments...);
}

sqlite3_vfs make_layer() {
    auto* real = sqlite3_vfs_find(nullptr);
    sqlite3_vfs layer{};
    layer.iVersion = 2;
    layer.szOsFile = static_cast<int>(sizeof(ChecksumFile)) + real->szOsFile;
    layer.mxPathname = real->mxPathname;
    layer.zName = kName;
    layer.pAppData = real;
    layer.xOpen = layer_open;
    layer.xDelete = forward_layer<&sqlite3_vfs::xDelete, const char*, int>;
    layer.xAccess = forward_layer<&sqlite3_vfs::xAccess, const char*, int, int*>;
    layer.xFullPathname = forward_layer<&sqlite3_vfs::xFullPathname, const char*, int, char*>;
    layer.xDlOpen = forward_layer<&sqlite3_vfs::xDlOpen, const char*>;
    layer.xDlError = forward_layer<&sqlite3_vfs::xDlError, int, char*>;
    layer.xDlSym = nullptr;  // Extensions are never loaded.
    layer.xDlClose = forward_layer<&sqlite3_vfs::xDlClose, void*>;
    layer.xRandomness = forward_layer<&sqlite3_vfs::xRandomness, int, char*>;
    layer.xSleep = forward_layer<&sqlite3_vfs::xSleep, int>;
    layer.xCurrentTime = forward_layer<&sqlite3_vfs::xCurrentTime, double*>;
    layer.xGetLastError = forward_layer<&sqlite3_vfs::xGetLastError, int, char*>;
    layer.xCurrentTimeInt64 = forward_layer<&sqlite3_vfs::xCurrentTimeInt64, sqlite3_int64*>;
    return layer;
}

}  // namespace

const char* checksum_file_layer() {
    static sqlite3_vfs layer = make_layer();
    static const int registered = sqlite3_vfs_register(&layer, 0);
    return registered == SQLITE_OK ? kName : nullptr;
}

std::uint64_t page_checksum(Bytes page, std::uint64_t offset) {
    return checksum_of(page.data(), page.size(), static_cast<std::int64_t>(offset));
}

std::string take_page_damage() {
    return std::exchange(last_damage(), {});
}

}  // namespace molesignal
