#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "index/sidecar_reader.h"
#include "index/sidecar_writer.h"

namespace molesignal {

/// A sidecar in memory.
class MemoryRange final : public RangeReader {
public:
    explicit MemoryRange(ByteBuffer file) : file_(std::move(file)) {}
    std::uint64_t size() const override { return file_.size(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        EXPECT_LE(offset, file_.size());
        EXPECT_LE(length, file_.size() - offset);
        const auto begin = file_.begin() + static_cast<std::ptrdiff_t>(offset);
        return ByteBuffer(begin, begin + static_cast<std::ptrdiff_t>(length));
    }

private:
    ByteBuffer file_;
};

/// The values of a field in a part, by row.
struct TestColumn {
    std::int32_t id = 1;
    bool is_text = false;
    std::vector<std::optional<std::string>> values;
};

inline std::shared_ptr<MemoryBudget> test_memory(std::int64_t bytes_max = std::int64_t{1} << 40U) {
    return MemoryBudget::make_root("index", "test", bytes_max);
}

/// The sidecar of a part with these columns, of equally many rows each.
inline ByteBuffer make_sidecar(const std::vector<TestColumn>& columns, std::uint32_t rows) {
    SidecarWriter writer({.rows = rows, .all_fields_listed = true}, test_memory());
    for (const auto& column : columns) {
        if (column.is_text) {
            writer.begin_text_field(FieldId{column.id});
        } else {
            writer.begin_value_field(FieldId{column.id});
        }
        for (std::uint32_t row = 0; row < column.values.size(); ++row) {
            if (column.values[row]) {
                writer.add(row, *column.values[row]);
            }
        }
        EXPECT_TRUE(writer.end_field());
    }
    return *writer.finish();
}

/// A sidecar with its bytes.
struct OpenSidecar {
    explicit OpenSidecar(const ByteBuffer& file)
        : source(file), reader(*SidecarReader::open(source)) {}
    RowSelection select(const IndexQuery& query) {
        auto selection = reader.select(source, query, stats);
        EXPECT_TRUE(selection) << selection.error().message();
        return selection ? std::move(*selection) : RowSelection::unknown(reader.rows());
    }
    MemoryRange source;
    SidecarReader reader;
    SidecarReadStats stats;
};

}  // namespace molesignal
