#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "index/index_query.h"
#include "index/row_set.h"
#include "index/sidecar_format.h"
#include "io/range_reader.h"

namespace molesignal {

/// What look-ups read; they add to it.
struct SidecarReadStats {
    std::uint64_t reads = 0;  ///< Calls of RangeReader::read.
    std::uint64_t bytes = 0;  ///< Read by them.
};

/// A value of an exact field and its rows in the part.
struct ValueCount {
    std::string value;
    std::uint64_t rows = 0;
};

/// Rows that answer a query, without the rows themselves.
struct RowCount {
    std::uint64_t rows = 0;
    bool exact = true;  ///< Otherwise not more than `rows`.
};

/// An opened sidecar: its directory and the end of the file, which often has all that a look-up
/// needs. Look-ups read the blocks they need and check each block's CRC.
///
/// Damage anywhere gives kCorruption from the call that meets it, never other rows; the caller goes
/// on as if there were no sidecar. Immutable: may be kept in a cache, and used by several threads,
/// each with its own RangeReader of the same object.
class SidecarReader {
public:
    /// Reads directory and tail. `tail`: bytes of the object's end that the caller has already;
    /// without it kSidecarTailBytes are read. kCorruption: not a sidecar, or a damaged one.
    /// kInvalidArgument never; errors of `source` pass through.
    static Result<SidecarReader> open(RangeReader& source,
                                      ByteBuffer tail = {},
                                      SidecarReadStats* stats = nullptr);

    std::uint32_t rows() const { return directory_.rows; }
    /// Each field with kind, distinct count and bytes, ascending by id.
    std::span<const SidecarField> fields() const { return directory_.fields; }
    const SidecarField* find(FieldId id) const { return directory_.find(id); }
    const SidecarDirectory& directory() const { return directory_; }
    /// Whether its tokens are cut as today's queries cut them. If not, look-ups of words answer
    /// "unknown".
    bool has_current_tokens() const;
    std::size_t memory_bytes() const;

    /// The rows that answer `query`. Takes memory in proportion to the part's rows (an eighth of a
    /// byte each) for each level of the query, and the blocks it reads until it returns.
    Result<RowSelection> select(RangeReader& source,
                                const IndexQuery& query,
                                SidecarReadStats& stats) const;
    /// How many rows answer `query`; for one word without reading its rows.
    Result<RowCount> count(RangeReader& source,
                           const IndexQuery& query,
                           SidecarReadStats& stats) const;
    /// The values of an exact field, in the order of their bytes; nothing for other kinds. A field
    /// that is not there has no values if all fields are listed.
    Result<std::optional<std::vector<ValueCount>>> value_counts(RangeReader& source,
                                                                FieldId field,
                                                                SidecarReadStats& stats) const;

    /// Bytes [begin, end) of the file if they are in the kept tail, else an empty span.
    Bytes kept(std::uint64_t begin, std::uint64_t end) const;

private:
    SidecarReader(SidecarDirectory directory, ByteBuffer tail, std::uint64_t areas_end)
        : directory_(std::move(directory)), tail_(std::move(tail)), areas_end_(areas_end) {}
    SidecarDirectory directory_;
    ByteBuffer tail_;
    std::uint64_t areas_end_;  ///< Of the file: where the directory begins.
};

}  // namespace molesignal
