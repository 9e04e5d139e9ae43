#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/memory_budget.h"
#include "common/result.h"
#include "io/range_reader.h"
#include "model/hot_chunk.h"
#include "model/schema.h"

namespace molesignal {

/// A user column of a part's file.
struct PartFileColumn {
    FieldId id;
    std::string field;  ///< The field's name, not the column's in the file.
    FieldType type = FieldType::kString;
    bool coded = false;  ///< Some of its row groups have a dictionary; not of bytes.
};

/// Rows of a part, at most HotChunk::kRowsMax, for a writer. `rows.shard` and
/// `rows.first_position` mean nothing: each row has its own.
struct PartChunk {
    HotChunk rows;
    const std::uint64_t* shards = nullptr;     ///< A value a row.
    const std::uint64_t* positions = nullptr;  ///< A value a row.
};

/// Reads the Parquet file of a part (docs/formats/part.md), a row group at a time, as views into
/// decoded columns. Page checksums are verified; whether the file is the part's is for the caller
/// to check (`RangeReader` sees every byte). One thread at a time.
///
/// kCorruption from any call: the file is not as a part's is.
class PartReader {
public:
    /// `schema` names the types of the file's fields; one that it does not have is kCorruption.
    /// What is decoded is counted on `memory`, above its limit too. `source` outlives the reader.
    static Result<std::unique_ptr<PartReader>> open(RangeReader& source,
                                                    const StreamSchema& schema,
                                                    std::shared_ptr<MemoryBudget> memory);
    virtual ~PartReader() = default;
    PartReader(const PartReader&) = delete;
    PartReader& operator=(const PartReader&) = delete;

    /// The user columns and `_extra`, in the order of the file.
    virtual std::span<const PartFileColumn> columns() const = 0;
    virtual std::size_t groups() const = 0;
    virtual std::uint64_t group_rows(std::size_t group) const = 0;
    /// Where the bytes of a row group lie: [first, second).
    virtual std::pair<std::uint64_t, std::uint64_t> group_range(std::size_t group) const = 0;
    /// The newest time in a row group, rounded up to a whole microsecond; nothing if the file does
    /// not say.
    virtual std::optional<std::int64_t> group_time_max_ns(std::size_t group) const = 0;

    /// All columns of a row group, its bytes read at once. The chunks keep what they view alive.
    virtual Result<std::vector<PartChunk>> read_group(std::size_t group) = 0;
    /// One column of a row group, by its index in columns(); only its bytes are read. Nothing but
    /// `rows.rows` and `rows.columns` is set in the chunks.
    virtual Result<std::vector<HotChunk>> read_column(std::size_t group, std::size_t column) = 0;

protected:
    PartReader() = default;
};

}  // namespace molesignal
