#pragma once

#include <cstdint>
#include <string>

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

/// Transactions in the write-ahead log of the database `path` that stand behind a damaged one:
/// SQLite drops them without a word. A sentence with the place, or nothing. A damaged last
/// transaction is not told from one that a power cut tore.
Result<std::string> find_journal_damage(FileSystem& fs, const std::string& path);

}  // namespace molesignal
