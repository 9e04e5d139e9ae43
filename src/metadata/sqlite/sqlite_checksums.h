#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"

namespace molesignal {

/// SQLite's file layer with a checksum in each page (docs/formats/catalogue.md, "Page checksums").
///
/// A page of the database file ends with 8 bytes that SQLite leaves alone (its "reserved bytes"):
/// the XXH3-64 of the rest, seeded with the page's offset. It is written with the page and compared
/// whenever SQLite reads the page from the file. A page that is read from SQLite's own write-ahead
/// log must go on with the log's running checksum, which SQLite looks at only in a recovery; that
/// needs `PRAGMA cache_spill=OFF`, without which SQLite reads pages whose sums it has yet to write.
/// A page that is not what was written makes the statement fail with SQLITE_IOERR;
/// take_page_damage says which one.

inline constexpr std::uint32_t kPageChecksumBytes = 8;

/// The file layer's name for sqlite3_open_v2; registered at the first call.
const char* checksum_file_layer();

/// What the last page was that this thread read and that did not have its checksum: SQLite does not
/// pass on why a read failed. Empty if there was none since the last call.
std::string take_page_damage();

/// The page's own checksum, to be stored in its last bytes.
std::uint64_t page_checksum(Bytes page, std::uint64_t offset);

}  // namespace molesignal
