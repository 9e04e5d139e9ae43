#include "metadata/sqlite/sqlite_file_state.h"

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/bytes.h"
#include "common/log.h"
#include "io/posix_fs.h"
#include "metadata/sqlite/sqlite_checksums.h"
#include "metadata/sqlite/sqlite_format.h"

namespace molesignal {
namespace {

bool has_checksum(Bytes page) {
    return page_checksum(page, 0) == load_le<std::uint64_t>(page, page.size() - kPageChecksumBytes);
}

/// Whether it is a page with a checksum whose page size or number of reserved bytes was changed.
bool is_damaged_first_page(ByteBuffer bytes) {
    bytes[kSqliteReservedAt] = std::byte{kPageChecksumBytes};
    for (auto size = kSqlitePageBytesMin; size <= bytes.size() && size <= kSqlitePageBytesMax;
         size *= 2) {
        const auto stored = size == kSqlitePageBytesMax ? 1U : size;
        bytes[kSqlitePageSizeAt] = static_cast<std::byte>(stored >> 8U);
        bytes[kSqlitePageSizeAt + 1] = static_cast<std::byte>(stored);
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
    ByteBuffer page(kSqlitePageBytesMin);
    MS_TRY_VOID(file->read_at(0, page));
    const auto page_bytes = sqlite_page_size(page.data());
    if (page_bytes == 0 || page[kSqliteReservedAt] != std::byte{kPageChecksumBytes}) {
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

std::string mark_path(const std::string& path) {
    return path + "-open";
}

/// Whether every page of the file has its checksum.
Result<bool> has_checksums(FileSystem& fs, const std::string& path) {
    MS_TRY(const auto file, fs.open(path, OpenMode::kRead));
    MS_TRY(const auto size, file->size());
    ByteBuffer page(kSqlitePageBytesMin);
    MS_TRY(const auto got, file->read_at(0, page));
    const auto page_bytes = got < page.size() ? 0 : sqlite_page_size(page.data());
    if (page_bytes == 0) {
        return false;
    }
    page.resize(page_bytes);
    for (std::uint64_t offset = 0; offset + page_bytes <= size; offset += page_bytes) {
        MS_TRY_VOID(file->read_at(offset, page));
        if (page_checksum(page, offset) !=
            load_le<std::uint64_t>(page, page_bytes - kPageChecksumBytes)) {
            return false;
        }
    }
    return true;
}

/// SQLite's own look at all tables and indexes, without checksums.
Result<> check_plainly(const std::string& path) {
    sqlite3* raw = nullptr;
    const int opened =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    const std::unique_ptr<sqlite3, CloseDatabase> database(raw);
    std::string found;
    const auto note = [](void* out, int count, char** texts, char**) {
        auto& text = *static_cast<std::string*>(out);
        if (text.empty() && count > 0 && texts[0] != nullptr) {
            text = texts[0];
        }
        return 0;
    };
    const int checked = opened != SQLITE_OK
                            ? opened
                            : sqlite3_exec(raw, "PRAGMA integrity_check(1)", note, &found, nullptr);
    if (checked == SQLITE_CORRUPT || checked == SQLITE_NOTADB ||
        (checked == SQLITE_OK && found != "ok")) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("the catalogue {} is damaged: {}",
                                 path,
                                 checked == SQLITE_OK ? found : sqlite3_errstr(checked)));
    }
    if (checked != SQLITE_OK) {
        return Error(ErrorCode::kUnavailable,
                     fmt::format("check the catalogue {}: {}", path, sqlite3_errstr(checked)));
    }
    return {};
}

/// Walks the frames of a write-ahead log as SQLite's recovery does.
class JournalWalk {
public:
    JournalWalk(File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

    Result<std::string> run() {
        header_.resize(kJournalHeaderBytes);
        MS_TRY(const auto got, file_.read_at(0, header_));
        if (got < kJournalHeaderBytes || file_bytes_ <= kJournalHeaderBytes + kFrameHeaderBytes) {
            return std::string();  // Nothing was committed.
        }
        const auto magic = load_be32(header_.data());
        page_bytes_ = load_be32(&header_[8]);
        sums_ = JournalSums((magic & 1U) != 0);
        sums_.add(header_.data(), kJournalSumsAt);
        if ((magic & ~1U) != kJournalMagic || !is_sqlite_page_size(page_bytes_) ||
            !sums_.equals(&header_[kJournalSumsAt])) {
            // It is synced before the first frame: this is no torn write.
            return std::string("its header is damaged, and nothing in it can be read");
        }
        return look_at_frames();
    }

private:
    struct Frame {
        std::uint64_t offset = 0;
        bool is_of_this_log = false;
        bool ends_transaction = false;
    };

    Result<std::string> look_at_frames() {
        ByteBuffer frame(kFrameHeaderBytes + page_bytes_);
        std::vector<Frame> behind;  // From the damage on.
        for (auto at = kJournalHeaderBytes; at + frame.size() <= file_bytes_; at += frame.size()) {
            MS_TRY(const auto got, file_.read_at(at, frame));
            if (got < frame.size()) {
                break;
            }
            const bool has_salts =
                std::memcmp(&frame[kFrameSaltsAt], &header_[kJournalSaltsAt], kSaltsBytes) == 0;
            if (behind.empty() && has_salts && follows(sums_, frame)) {
                continue;
            }
            // The frame before it is of this log if this one goes on from its sums, whatever it
            // says.
            if (!behind.empty() && has_salts &&
                follows(JournalSums(stored_sums_.data(), big()), frame)) {
                behind.back().is_of_this_log = true;
            }
            std::memcpy(stored_sums_.data(), &frame[kFrameSumsAt], stored_sums_.size());
            behind.push_back({.offset = at,
                              .is_of_this_log = has_salts,
                              .ends_transaction = load_be32(&frame[4]) != 0});
        }
        return describe(behind);
    }

    static std::string describe(const std::vector<Frame>& behind) {
        std::uint64_t lost = 0;  // Transactions that ended behind the damage.
        bool goes_on = false;    // Frames follow the first end of a transaction.
        for (const auto& frame : behind) {
            if (frame.is_of_this_log) {
                goes_on = goes_on || lost > 0;
                lost += frame.ends_transaction ? 1 : 0;
            }
        }
        // A transaction is synced before the next one begins: what a power cut tears is the last.
        return goes_on ? fmt::format(
                             "its frame at offset {} is damaged, and {} transactions from "
                             "there on cannot be read",
                             behind.front().offset,
                             lost)
                       : std::string();
    }

    bool big() const { return (load_be32(header_.data()) & 1U) != 0; }

    /// Whether the frame's running checksum goes on from `sums`.
    template <class Sums>
    static bool follows(Sums&& sums, const ByteBuffer& frame) {
        sums.add(frame.data(), kFrameSaltsAt);
        sums.add(&frame[kFrameHeaderBytes], frame.size() - kFrameHeaderBytes);
        return sums.equals(&frame[kFrameSumsAt]);
    }

    File& file_;
    std::uint64_t file_bytes_;
    ByteBuffer header_;
    std::uint32_t page_bytes_ = 0;
    JournalSums sums_;
    std::array<std::byte, 8> stored_sums_{};  // Of the last frame behind the damage.
};

}  // namespace

Result<SqliteFileState> look_at_sqlite_file(FileSystem& fs, const std::string& path) {
    auto opened = fs.open(path, OpenMode::kRead);
    if (!opened && opened.error().code() == ErrorCode::kNotFound) {
        return SqliteFileState::kMissing;
    }
    MS_TRY(const auto file, std::move(opened));
    ByteBuffer bytes(kSqlitePageBytesMax);
    MS_TRY(const auto got, file->read_at(0, bytes));
    bytes.resize(got);
    if (bytes.empty()) {
        return SqliteFileState::kMissing;
    }
    if (bytes.size() < kSqlitePageBytesMin ||
        as_text(bytes).substr(0, kSqliteMagic.size()) != kSqliteMagic) {
        return Error(ErrorCode::kCorruption,
                     fmt::format("{} is no SQLite database, or its begin is damaged", path));
    }
    if (bytes[kSqliteReservedAt] == std::byte{kPageChecksumBytes}) {
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

Result<std::shared_ptr<OpenMark>> OpenMark::make(const std::string& path) {
    PosixFs fs;
    if (!fs.exists(parent_path(path)).value_or(false)) {
        return std::shared_ptr<OpenMark>();
    }
    MS_TRY(const bool exists, fs.exists(mark_path(path)));
    if (!exists) {
        MS_TRY_VOID(write_file_atomically(fs, mark_path(path), {}));
    }
    return std::shared_ptr<OpenMark>(new OpenMark(path));
}

OpenMark::~OpenMark() {
    PosixFs fs;
    // Another process may have it open still, or the log could not be taken over.
    if (!fs.exists(path_ + "-wal").value_or(true)) {
        (void)fs.remove(mark_path(path_));
    }
}

Result<bool> is_written_by_others(FileSystem& fs, const std::string& path) {
    MS_TRY(const bool is_marked, fs.exists(mark_path(path)));
    if (!is_marked) {
        return false;
    }
    auto log = fs.open(path + "-wal", OpenMode::kRead);
    if (log) {
        MS_TRY(const auto bytes, (*log)->size());
        if (bytes > 0) {
            return false;
        }
    } else if (log.error().code() != ErrorCode::kNotFound) {
        return std::move(log).error();
    }
    MS_TRY(const bool good, has_checksums(fs, path));
    return !good;
}

Result<> accept_pages(FileSystem& fs, const std::string& path) {
    MS_TRY_VOID(check_plainly(path));
    MS_TRY_VOID(write_checksums(fs, path));
    log_warn(
        "another program has written to the catalogue after this one was killed; SQLite finds the "
        "file "
        "whole, and it is taken as it is",
        {{"path", path}});
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
