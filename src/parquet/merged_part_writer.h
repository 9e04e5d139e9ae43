#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/memory_budget.h"
#include "common/result.h"
#include "io/file_system.h"
#include "parquet/part_plan.h"
#include "parquet/part_reader.h"
#include "parquet/part_writer.h"

namespace molesignal {

/// What a merged part's file holds.
struct MergedPart : PartShape {
    ShardId shard;  ///< Of all rows; 0: they are of several.
    std::uint64_t file_bytes = 0;
    std::uint64_t file_xxh3 = 0;  ///< XXH3-64 of the whole file.
};

/// Writes the Parquet file of a part row group after row group, to a file: memory for one row group
/// and the file's footer, however large the part. One thread at a time.
class MergedPartWriter {
public:
    /// `columns`: every column that a row will have, each (field, type) once; `coded` asks for
    /// dictionaries. `sort_field`: what rows are sorted by before their time; may be empty. `out`
    /// is empty and outlives the writer.
    static Result<std::unique_ptr<MergedPartWriter>> open(File& out,
                                                          std::vector<PartFileColumn> columns,
                                                          std::string sort_field,
                                                          const PartWriterOptions& options,
                                                          std::shared_ptr<MemoryBudget> memory);
    virtual ~MergedPartWriter() = default;
    MergedPartWriter(const MergedPartWriter&) = delete;
    MergedPartWriter& operator=(const MergedPartWriter&) = delete;

    /// Appends `rows` of `chunks` as one row group, in their order. At least one row, and less than
    /// 2 GiB of text in any column.
    virtual Result<> write_group(std::span<const PartChunk> chunks,
                                 std::span<const RowRef> rows) = 0;
    /// So far, without what the row group's writer still holds.
    virtual std::uint64_t bytes_written() const = 0;
    /// Completes the file, not durably. Once, after the last row group.
    virtual Result<MergedPart> finish() = 0;

protected:
    MergedPartWriter() = default;
};

}  // namespace molesignal
