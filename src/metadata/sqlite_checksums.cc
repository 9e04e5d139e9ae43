#include "metadata/sqlite_checksums.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <sqlite3.h>
#include <xxhash.h>

#include "common/bytes.h"
#include "common/log.h"
#include "common/mutex.h"

namespace molesignal {
namespace {

constexpr const char* kName = "molesignal-checksums";
constexpr std::string_view kMagic{"SQLite format 3\0", 16};
// Of the database's header: docs/formats/catalogue.md names what is used of SQLite's format.
constexpr std::size_t kHeaderBytes = 100;
constexpr std::size_t kPageSizeAt = 16;
constexpr std::uint32_t kPageBytesMin = 512;
constexpr std::uint32_t kPageBytesMax = 65'536;
// Of SQLite's write-ahead log.
constexpr std::int64_t kLogHeaderBytes = 32;
constexpr std::int64_t kFrameHeaderBytes = 24;
using FrameHeader = std::array<std::byte, kFrameHeaderBytes>;

std::uint64_t checksum_of(const void* page, std::uint32_t page_bytes, std::int64_t offset) {
    return XXH3_64bits_withSeed(
        page, page_bytes - kPageChecksumBytes, static_cast<std::uint64_t>(offset));
}

std::uint64_t stored_checksum(const void* page, std::uint32_t page_bytes) {
    std::uint64_t stored = 0;
    std::memcpy(
        &stored, static_cast<const char*>(page) + page_bytes - kPageChecksumBytes, sizeof stored);
    return stored;
}

std::uint32_t page_size_of(const unsigned char* header) {
    const auto size =
        static_cast<std::uint32_t>(header[kPageSizeAt] << 8U | header[kPageSizeAt + 1]);
    return size == 1 ? kPageBytesMax : size;
}

std::uint32_t big_endian(const void* bytes) {
    const auto* b = static_cast<const unsigned char*>(bytes);
    return static_cast<std::uint32_t>(b[0]) << 24U | static_cast<std::uint32_t>(b[1]) << 16U |
           static_cast<std::uint32_t>(b[2]) << 8U | b[3];
}

/// What this process wrote to one write-ahead log, by the place of the page. Thread-safe.
class LogPages {
public:
    void note_header(std::int64_t offset, const void* bytes) {
        const MutexLock lock(mutex_);
        auto& page = pages_[offset + kFrameHeaderBytes];
        std::memcpy(page.header.data(), bytes, kFrameHeaderBytes);
    }
    void note_page(std::int64_t offset, const void* bytes, std::size_t count) {
        const MutexLock lock(mutex_);
        if (const auto found = pages_.find(offset); found != pages_.end()) {
            found->second.hash = XXH3_64bits(bytes, count);
        }
    }
    /// Anything else was written from `offset` on.
    void forget_from(std::int64_t offset) {
        const MutexLock lock(mutex_);
        pages_.erase(pages_.lower_bound(offset), pages_.end());
    }
    /// The header of the frame whose page is at `offset`, if the page is another one now.
    std::optional<FrameHeader> find_changed(std::int64_t offset,
                                            const void* bytes,
                                            std::size_t count) {
        const MutexLock lock(mutex_);
        const auto found = pages_.find(offset);
        if (found == pages_.end() || !found->second.hash.has_value() ||
            *found->second.hash == XXH3_64bits(bytes, count)) {
            return std::nullopt;
        }
        return found->second.header;
    }

private:
    struct Page {
        FrameHeader header{};
        std::optional<std::uint64_t> hash;
    };
    Mutex mutex_;
    std::map<std::int64_t, Page> pages_ MS_GUARDED_BY(mutex_);
};

/// What all connections of the process share. Thread-safe.
class SharedState {
public:
    std::shared_ptr<LogPages> log_of(const std::string& path) {
        const MutexLock lock(mutex_);
        auto& weak = logs_[path];
        auto log = weak.lock();
        if (log == nullptr) {
            log = std::make_shared<LogPages>();
            weak = log;
        }
        return log;
    }

private:
    Mutex mutex_;
    std::map<std::string, std::weak_ptr<LogPages>> logs_ MS_GUARDED_BY(mutex_);
};

SharedState& shared_state() {
    static SharedState state;
    return state;
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
    std::uint32_t page_bytes = 0;  ///< 0: not known yet.
    std::shared_ptr<LogPages> log;
    ByteBuffer page;  ///< Of the write that is going on.
};

/// SQLite allocates it, with the real file behind it.
struct ChecksumFile {
    sqlite3_file base;
    FileState* state;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

ChecksumFile& ours(sqlite3_file* file) {
    return *reinterpret_cast<ChecksumFile*>(file);
}

sqlite3_vfs* real_layer(sqlite3_vfs* layer) {
    return static_cast<sqlite3_vfs*>(layer->pAppData);
}

bool is_page_size(std::uint32_t bytes) {
    return bytes >= kPageBytesMin && bytes <= kPageBytesMax && (bytes & (bytes - 1)) == 0;
}

/// Remembers the page's size from the begin of the file.
void learn_database(FileState& state, const void* bytes, int count) {
    if (count >= static_cast<int>(kHeaderBytes) &&
        std::memcmp(bytes, kMagic.data(), kMagic.size()) == 0) {
        const auto size = page_size_of(static_cast<const unsigned char*>(bytes));
        state.page_bytes = is_page_size(size) ? size : 0;
    }
}

int fail_page(FileState& state, std::int64_t offset) {
    last_damage() =
        fmt::format("{}: the page at offset {} does not have its checksum", state.path, offset);
    return SQLITE_IOERR_DATA;
}

int check_database_page(FileState& state, const void* bytes, int count, std::int64_t offset) {
    if (offset == 0) {
        learn_database(state, bytes, count);
    }
    const auto size = static_cast<std::uint32_t>(count);
    const bool whole = is_page_size(size) && offset % count == 0 &&
                       (size == state.page_bytes || state.page_bytes == 0);
    if (!whole) {
        return SQLITE_OK;  // The header alone, when a database is opened.
    }
    return checksum_of(bytes, size, offset) == stored_checksum(bytes, size)
               ? SQLITE_OK
               : fail_page(state, offset);
}

bool is_frame_header(const FileState& state, int count, std::int64_t offset) {
    return state.page_bytes != 0 && count == kFrameHeaderBytes && offset >= kLogHeaderBytes &&
           (offset - kLogHeaderBytes) % (kFrameHeaderBytes + state.page_bytes) == 0;
}

bool is_frame_page(const FileState& state, int count, std::int64_t offset) {
    return state.page_bytes != 0 && static_cast<std::uint32_t>(count) == state.page_bytes &&
           offset >= kLogHeaderBytes + kFrameHeaderBytes &&
           (offset - kLogHeaderBytes - kFrameHeaderBytes) %
                   (kFrameHeaderBytes + state.page_bytes) ==
               0;
}

void learn_log(FileState& state, const void* bytes, int count, std::int64_t offset) {
    if (offset == 0 && count == kLogHeaderBytes) {
        const auto size = big_endian(static_cast<const char*>(bytes) + 8);
        state.page_bytes = is_page_size(size) ? size : 0;
    }
}

/// Adds to the two running sums of a write-ahead log.
void add_words(const void* bytes, std::size_t count, bool is_big_endian, std::uint32_t (&sums)[2]) {
    const auto* at = static_cast<const char*>(bytes);
    for (std::size_t i = 0; i + 8 <= count; i += 8) {
        std::uint32_t words[2];
        std::memcpy(words, at + i, sizeof words);
        if (is_big_endian) {
            words[0] = big_endian(at + i);
            words[1] = big_endian(at + i + 4);
        }
        sums[0] += words[0] + sums[1];
        sums[1] += words[1] + sums[0];
    }
}

/// Whether the frame's running checksum goes on from that of the frame before it, or of the log's
/// header.
bool follows_previous(ChecksumFile& file,
                      const FrameHeader& header,
                      const void* page,
                      std::int64_t offset) {
    auto* real = file.real();
    char log_header[kLogHeaderBytes];
    if (real->pMethods->xRead(real, log_header, kLogHeaderBytes, 0) != SQLITE_OK) {
        return false;
    }
    const bool is_big_endian = (big_endian(log_header) & 1U) != 0;
    const auto page_bytes = file.state->page_bytes;
    const auto begin = offset - kFrameHeaderBytes;
    char before[8];  // The two sums end both headers.
    const auto before_at = begin == kLogHeaderBytes
                               ? kLogHeaderBytes - 8
                               : begin - static_cast<std::int64_t>(page_bytes) - 8;
    if (real->pMethods->xRead(real, before, sizeof before, before_at) != SQLITE_OK) {
        return false;
    }
    std::uint32_t sums[2] = {big_endian(before), big_endian(before + 4)};
    add_words(header.data(), 8, is_big_endian, sums);
    add_words(page, page_bytes, is_big_endian, sums);
    return sums[0] == big_endian(header.data() + 16) && sums[1] == big_endian(header.data() + 20);
}

int check_log_page(ChecksumFile& file, const void* bytes, int count, std::int64_t offset) {
    auto& state = *file.state;
    learn_log(state, bytes, count, offset);
    const auto frame_bytes = kFrameHeaderBytes + static_cast<int>(state.page_bytes);
    if (state.page_bytes != 0 && count == frame_bytes &&
        is_frame_header(state, kFrameHeaderBytes, offset)) {
        // A recovery: SQLite verifies it now, and the page is the same from here on.
        state.log->note_header(offset, bytes);
        state.log->note_page(offset + kFrameHeaderBytes,
                             static_cast<const char*>(bytes) + kFrameHeaderBytes,
                             state.page_bytes);
        return SQLITE_OK;
    }
    if (!is_frame_page(state, count, offset)) {
        return SQLITE_OK;
    }
    const auto header = state.log->find_changed(offset, bytes, state.page_bytes);
    if (!header.has_value()) {
        return SQLITE_OK;
    }
    // Another process may have written the frame; then its running checksum is right.
    FrameHeader now{};
    auto* real = file.real();
    const int read =
        real->pMethods->xRead(real, now.data(), kFrameHeaderBytes, offset - kFrameHeaderBytes);
    if (read == SQLITE_OK && now != *header && follows_previous(file, now, bytes, offset)) {
        return SQLITE_OK;
    }
    return fail_page(state, offset);
}

int file_read(sqlite3_file* base, void* bytes, int count, sqlite3_int64 offset) {
    auto& file = ours(base);
    auto* real = file.real();
    const int done = real->pMethods->xRead(real, bytes, count, offset);
    if (done != SQLITE_OK) {
        return done;
    }
    switch (file.state->kind) {
        case FileKind::kDatabase:
            return check_database_page(*file.state, bytes, count, offset);
        case FileKind::kLog:
            return check_log_page(file, bytes, count, offset);
        case FileKind::kOther:
            return SQLITE_OK;
    }
    return SQLITE_OK;
}

int write_database(ChecksumFile& file, const void* bytes, int count, std::int64_t offset) {
    auto& state = *file.state;
    auto* real = file.real();
    if (offset == 0) {
        learn_database(state, bytes, count);
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

int write_log(ChecksumFile& file, const void* bytes, int count, std::int64_t offset) {
    auto& state = *file.state;
    auto* real = file.real();
    const int done = real->pMethods->xWrite(real, bytes, count, offset);
    if (done != SQLITE_OK) {
        state.log->forget_from(offset);
        return done;
    }
    learn_log(state, bytes, count, offset);
    if (is_frame_header(state, count, offset)) {
        state.log->note_header(offset, bytes);
    } else if (is_frame_page(state, count, offset)) {
        state.log->note_page(offset, bytes, state.page_bytes);
    } else if (offset != 0) {
        state.log->forget_from(offset);
    }
    return SQLITE_OK;
}

int file_write(sqlite3_file* base, const void* bytes, int count, sqlite3_int64 offset) {
    auto& file = ours(base);
    switch (file.state->kind) {
        case FileKind::kDatabase:
            return write_database(file, bytes, count, offset);
        case FileKind::kLog:
            return write_log(file, bytes, count, offset);
        case FileKind::kOther:
            break;
    }
    return file.real()->pMethods->xWrite(file.real(), bytes, count, offset);
}

int file_close(sqlite3_file* base) {
    auto& file = ours(base);
    delete std::exchange(file.state, nullptr);
    return file.real()->pMethods->xClose(file.real());
}

int file_truncate(sqlite3_file* base, sqlite3_int64 size) {
    auto& file = ours(base);
    if (file.state->kind == FileKind::kLog) {
        file.state->log->forget_from(size);
    }
    return file.real()->pMethods->xTruncate(file.real(), size);
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
    .xTruncate = file_truncate,
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
        state->log = shared_state().log_of(state->path);
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

constexpr std::size_t kReservedAt = 20;
constexpr std::uint32_t kLogMagic = 0x377f0682;

std::uint32_t big_endian(Bytes bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        value = value << 8U | static_cast<std::uint32_t>(bytes[at + i]);
    }
    return value;
}

/// 0: none that SQLite allows.
std::uint32_t page_size_of(Bytes header) {
    const auto size = static_cast<std::uint32_t>(header[kPageSizeAt]) << 8U |
                      static_cast<std::uint32_t>(header[kPageSizeAt + 1]);
    const auto bytes = size == 1 ? kPageBytesMax : size;
    const bool allowed = bytes >= kPageBytesMin && (bytes & (bytes - 1)) == 0;
    return allowed ? bytes : 0;
}

bool has_checksum(Bytes page) {
    return page_checksum(page, 0) == load_le<std::uint64_t>(page, page.size() - kPageChecksumBytes);
}

/// Whether it is a page with a checksum whose page size or number of reserved bytes was changed.
bool is_damaged_first_page(ByteBuffer bytes) {
    bytes[kReservedAt] = std::byte{kPageChecksumBytes};
    for (auto size = kPageBytesMin; size <= bytes.size() && size <= kPageBytesMax; size *= 2) {
        const auto stored = size == kPageBytesMax ? 1U : size;
        bytes[kPageSizeAt] = static_cast<std::byte>(stored >> 8U);
        bytes[kPageSizeAt + 1] = static_cast<std::byte>(stored);
        if (has_checksum(Bytes(bytes).first(size))) {
            return true;
        }
    }
    return false;
}

struct CloseDatabase {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};

/// Runs `sql` with SQLite's own file layer.
Result<> run_plainly(sqlite3* database, const std::string& sql) {
    if (sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) {
        return {};
    }
    const int code = sqlite3_errcode(database);
    return Error(code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? ErrorCode::kCorruption
                                                                 : ErrorCode::kUnavailable,
                 fmt::format("{} ({})", sqlite3_errmsg(database), sql));
}

/// A copy with room for checksums in each page.
Result<> copy_with_room(const std::string& path, const std::string& copy) {
    sqlite3* raw = nullptr;
    const int opened =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    const std::unique_ptr<sqlite3, CloseDatabase> database(raw);
    if (opened != SQLITE_OK) {
        return Error(ErrorCode::kUnavailable, sqlite3_errstr(opened));
    }
    constexpr int kBusyMillis = 5000;
    sqlite3_busy_timeout(raw, kBusyMillis);
    // Takes in what is in the write-ahead log and removes it: nobody else may have it open.
    MS_TRY_VOID(run_plainly(raw, "PRAGMA journal_mode=DELETE"));
    int reserved = static_cast<int>(kPageChecksumBytes);
    sqlite3_file_control(raw, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    std::string quoted = copy;
    for (auto at = quoted.find('\''); at != std::string::npos; at = quoted.find('\'', at + 2)) {
        quoted.insert(at, 1, '\'');
    }
    return run_plainly(raw, fmt::format("VACUUM INTO '{}'", quoted));
}

Result<> write_checksums(FileSystem& fs, const std::string& path) {
    MS_TRY(const auto file, fs.open(path, OpenMode::kReadWrite));
    MS_TRY(const auto size, file->size());
    ByteBuffer page(kPageBytesMin);
    MS_TRY_VOID(file->read_at(0, page));
    const auto page_bytes = page_size_of(page);
    if (page_bytes == 0 || page[kReservedAt] != std::byte{kPageChecksumBytes}) {
        return Error(ErrorCode::kInternal, "SQLite made no room for checksums");
    }
    page.resize(page_bytes);
    for (std::uint64_t offset = 0; offset + page_bytes <= size; offset += page_bytes) {
        MS_TRY_VOID(file->read_at(offset, page));
        store_le(MutableBytes(page), page_bytes - kPageChecksumBytes, page_checksum(page, offset));
        MS_TRY_VOID(file->write_at(offset, page));
    }
    MS_TRY_VOID(file->sync());
    return file->close();
}

/// Walks the frames of a write-ahead log as SQLite's recovery does.
class JournalWalk {
public:
    JournalWalk(File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

    Result<std::string> run() {
        header_.resize(kBegin);
        MS_TRY(const auto got, file_.read_at(0, header_));
        if (got < kBegin || file_bytes_ <= kBegin + kHead) {
            return std::string();  // Nothing was committed.
        }
        big_endian_words_ = (big_endian(header_, 0) & 1U) != 0;
        page_bytes_ = big_endian(header_, 8);
        add(Bytes(header_).first(kBegin - 8));
        if ((big_endian(header_, 0) & ~1U) != kLogMagic || page_bytes_ < kPageBytesMin ||
            page_bytes_ > kPageBytesMax || first_ != big_endian(header_, 24) ||
            second_ != big_endian(header_, 28)) {
            // It is synced before the first frame: this is no torn write.
            return std::string("its header is damaged, and nothing in it can be read");
        }
        return look_at_frames();
    }

private:
    static constexpr std::uint64_t kBegin = kLogHeaderBytes;  // Of the first frame.
    static constexpr std::uint64_t kHead = kFrameHeaderBytes;
    Result<std::string> look_at_frames() {
        ByteBuffer frame(kHead + page_bytes_);
        std::uint64_t damaged_at = 0;
        std::uint64_t lost = 0;  // Transactions that ended behind the damage.
        bool goes_on = false;    // Frames follow the first end of a transaction behind it.
        for (auto at = kBegin; at + frame.size() <= file_bytes_; at += frame.size()) {
            MS_TRY(const auto got, file_.read_at(at, frame));
            if (got < frame.size()) {
                break;
            }
            const bool is_of_this_log =
                std::ranges::equal(Bytes(frame).subspan(8, 8), Bytes(header_).subspan(16, 8));
            if (damaged_at == 0 && is_of_this_log && follows(frame)) {
                continue;
            }
            damaged_at = damaged_at == 0 ? at : damaged_at;
            if (!is_of_this_log) {
                continue;
            }
            goes_on = goes_on || lost > 0;
            lost += big_endian(frame, 4) != 0 ? 1 : 0;
        }
        // A transaction is synced before the next one begins: what a power cut tears is the last.
        if (!goes_on) {
            return std::string();
        }
        return fmt::format(
            "its frame at offset {} is damaged, and {} transactions from there on "
            "cannot be read",
            damaged_at,
            lost);
    }

    /// Whether the frame's running checksum is right.
    bool follows(Bytes frame) {
        add(frame.first(8));
        add(frame.subspan(kHead));
        return first_ == big_endian(frame, 16) && second_ == big_endian(frame, 20);
    }

    void add(Bytes bytes) {
        for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
            first_ += word(bytes, at) + second_;
            second_ += word(bytes, at + 4) + first_;
        }
    }

    std::uint32_t word(Bytes bytes, std::size_t at) const {
        return big_endian_words_ ? big_endian(bytes, at) : load_le<std::uint32_t>(bytes, at);
    }

    File& file_;
    std::uint64_t file_bytes_;
    ByteBuffer header_;
    std::uint32_t page_bytes_ = 0;
    bool big_endian_words_ = false;
    std::uint32_t first_ = 0;
    std::uint32_t second_ = 0;
};

}  // namespace

const char* checksum_file_layer() {
    static sqlite3_vfs layer = make_layer();
    static const int registered = sqlite3_vfs_register(&layer, 0);
    return registered == SQLITE_OK ? kName : nullptr;
}

std::uint64_t page_checksum(Bytes page, std::uint64_t offset) {
    return checksum_of(
        page.data(), static_cast<std::uint32_t>(page.size()), static_cast<std::int64_t>(offset));
}

std::string take_page_damage() {
    return std::exchange(last_damage(), {});
}

Result<SqliteFileState> look_at_sqlite_file(FileSystem& fs, const std::string& path) {
    auto opened = fs.open(path, OpenMode::kRead);
    if (!opened && opened.error().code() == ErrorCode::kNotFound) {
        return SqliteFileState::kMissing;
    }
    MS_TRY(const auto file, std::move(opened));
    ByteBuffer bytes(kPageBytesMax);
    MS_TRY(const auto got, file->read_at(0, bytes));
    bytes.resize(got);
    if (bytes.empty()) {
        return SqliteFileState::kMissing;
    }
    if (bytes.size() < kPageBytesMin || as_text(bytes).substr(0, kMagic.size()) != kMagic) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("{} is no SQLite database, or its begin is damaged", path));
    }
    if (bytes[kReservedAt] == std::byte{kPageChecksumBytes}) {
        return SqliteFileState::kChecked;
    }
    if (is_damaged_first_page(std::move(bytes))) {
        return Error(ErrorCode::kCorruption, fmt::format("{}: the begin is damaged", path));
    }
    return SqliteFileState::kPlain;
}

Result<> add_page_checksums(FileSystem& fs, const std::string& path) {
    const auto copy = path + ".checked";
    if (auto removed = fs.remove(copy);
        !removed && removed.error().code() != ErrorCode::kNotFound) {
        return removed;
    }
    const auto make = [&]() -> Result<> {
        MS_TRY_VOID(copy_with_room(path, copy));
        return write_checksums(fs, copy);
    };
    if (auto made = make(); !made) {
        (void)fs.remove(copy);
        return std::move(made).error().wrap(
            fmt::format("give the pages of the catalogue {} checksums", path));
    }
    MS_TRY_VOID(fs.rename(copy, path));
    MS_TRY_VOID(fs.sync_directory(parent_path(path)));
    log_info("the catalogue's pages have checksums now", {{"path", path}});
    return {};
}

Result<std::string> find_journal_damage(FileSystem& fs, const std::string& path) {
    auto opened = fs.open(path + "-wal", OpenMode::kRead);
    if (!opened && opened.error().code() == ErrorCode::kNotFound) {
        return std::string();
    }
    MS_TRY(const auto file, std::move(opened));
    MS_TRY(const auto size, file->size());
    return JournalWalk(*file, size).run();
}

}  // namespace molesignal
