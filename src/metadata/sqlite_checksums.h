#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/result.h"
#include "io/file_system.h"

namespace molesignal {

/// SQLite's file layer with a checksum in each page (docs/formats/catalogue.md, "Page checksums").
///
/// A page of the database file ends with 8 bytes that SQLite leaves alone (its "reserved bytes"):
/// the XXH3-64 of the rest, seeded with the page's offset. It is written with the page and compared
/// whenever SQLite reads the page from the file. What this process wrote to SQLite's own
/// write-ahead log is compared when it is read back; what earlier processes left there SQLite
/// verifies by itself. A page that is not what was written makes the statement fail with
/// SQLITE_IOERR; take_page_damage says which one.

inline constexpr std::uint32_t kPageChecksumBytes = 8;

/// The file layer's name for sqlite3_open_v2; registered at the first call.
const char* checksum_file_layer();

/// What the last page was that this thread read and that did not have its checksum: SQLite does not
/// pass on why a read failed. Empty if there was none since the last call.
std::string take_page_damage();

/// The page's own checksum, to be stored in its last bytes.
std::uint64_t page_checksum(Bytes page, std::uint64_t offset);

// What is looked at before SQLite opens a file.

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

/// Transactions in the write-ahead log of the database `path` that stand behind a damaged one:
/// SQLite drops them without a word. A sentence with the place, or nothing. A damaged last
/// transaction is not told from one that a power cut tore.
Result<std::string> find_journal_damage(FileSystem& fs, const std::string& path);

}  // namespace molesignal
