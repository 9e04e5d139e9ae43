#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/result.h"
#include "io/file_system.h"

namespace molesignal {

/// What is looked at before SQLite opens a catalogue's file (docs/formats/catalogue.md, "Page
/// checksums").

enum class SqliteFileState : std::uint8_t {
    kMissing = 1,  ///< Or empty.
    kPlain = 2,    ///< Pages without checksums: of an earlier version, or of another program.
    kChecked = 3,
};

/// By the file's first page. kCorruption: it is damaged, or no SQLite database.
Result<SqliteFileState> look_at_sqlite_file(FileSystem& fs, const std::string& path);

/// Makes the database in `path` anew, with checksums, in its place; atomically, so that a crash
/// leaves the old one or the new one. For a kPlain file that nobody else has open (kUnavailable).
Result<> add_page_checksums(FileSystem& fs, const std::string& path);

/// `{path}-open`, a file that is there from before this process opens the database `path` until its
/// last connection has closed cleanly, SQLite's log is gone and everything has its checksum.
/// Thread-safe.
class OpenMark {
public:
    /// Errors are those of the file system; a directory that is not there is left to SQLite.
    static Result<std::shared_ptr<OpenMark>> make(const std::string& path);
    /// To be destroyed after the connections.
    ~OpenMark();
    OpenMark(const OpenMark&) = delete;
    OpenMark& operator=(const OpenMark&) = delete;

private:
    explicit OpenMark(std::string path) : path_(std::move(path)) {}
    std::string path_;
};

/// Whether another program has taken over what a killed process of ours had left in SQLite's log,
/// as `sqlite3` does when it is closed, even if it was only to read: the mark is there, the log is
/// not, and pages do not have their checksums.
Result<bool> is_written_by_others(FileSystem& fs, const std::string& path);

/// Gives the pages of such a file checksums as they are. kCorruption: SQLite finds the file
/// damaged.
Result<> accept_pages(FileSystem& fs, const std::string& path);

/// Transactions in the write-ahead log of the database `path` that stand behind a damaged one:
/// SQLite drops them without a word. A sentence with the place, or nothing. A damaged last
/// transaction is not told from one that a power cut tore.
Result<std::string> find_journal_damage(FileSystem& fs, const std::string& path);

}  // namespace molesignal
