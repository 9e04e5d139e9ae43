// JSON rows: whatever comes in, every accepted row goes through the log's encoding and a memtable
// and comes out unaltered.
#include <memory>

#include "fuzz.h"
#include "ingest/batch_codec.h"
#include "ingest/json_decoder.h"
#include "storage/memtable.h"

namespace molesignal {
namespace {

void check_equal(const RowBatch& a, const RowBatch& b) {
    require(a.timestamps == b.timestamps, "the encoding keeps times");
    require(a.columns.size() == b.columns.size(), "the encoding keeps columns");
    for (std::size_t i = 0; i < a.columns.size(); ++i) {
        const auto& x = a.columns[i];
        const auto& y = b.columns[i];
        require(x.name() == y.name() && x.type() == y.type(), "the encoding keeps names and types");
        for (std::uint32_t row = 0; row < a.rows(); ++row) {
            require(x.is_null(row) == y.is_null(row), "the encoding keeps nulls");
            if (x.is_null(row)) {
                continue;
            }
            require(is_variable_width(x.type()) ? x.text(row) == y.text(row)
                                                : x.fixed(row) == y.fixed(row),
                    "the encoding keeps values");
        }
    }
}

/// The memtable has the batch's rows from `first` on.
void check_stored(const std::vector<HotChunk>& chunks, std::uint64_t first, const RowBatch& batch) {
    for (const auto& chunk : chunks) {
        for (auto row = chunk.begin; row < chunk.rows; ++row) {
            const auto position = chunk.first_position.value + row;
            if (position < first || position >= first + batch.rows()) {
                continue;
            }
            const auto source_row = static_cast<std::uint32_t>(position - first);
            for (const auto& column : batch.columns) {
                const auto* stored = chunk.find(column.name(), column.type());
                const bool null = stored == nullptr || stored->is_null(row);
                require(null == column.is_null(source_row), "the memtable keeps nulls");
                if (!null) {
                    require(is_variable_width(column.type())
                                ? stored->text_at(row) == column.text(source_row)
                                : stored->fixed_at(row) == column.fixed(source_row),
                            "the memtable keeps values");
                }
            }
        }
    }
}

void run(FuzzInput input) {
    DecodeLimits limits;
    limits.row_bytes_max = 4096;
    limits.rows_max = 2000;
    limits.name_bytes_max = 64;
    limits.fields_max = 40;
    limits.depth_max = 4;
    limits.batch_rows_max = 1 + input.byte();
    limits.decoded_bytes_max = 64U << 20U;
    std::string body(input.rest());
    body.reserve(body.size() + kJsonPaddingBytes);
    const auto decoded =
        decode_json_rows(body, limits, {.now_ns = 1'700'000'000'000'000'000, .time_min_ns = 0});
    if (!decoded) {
        return;
    }
    std::uint64_t rows = 0;
    Memtable table(ShardId{1}, Position{0});
    for (const auto& batch : decoded->batches) {
        const auto bytes = joined(encode_batch(batch));
        const auto back = decode_batch(bytes);
        require(back.has_value(), "what was encoded can be decoded");
        check_equal(batch, *back);
        table.append(*back, 0);
        check_stored(table.snapshot(), rows, batch);
        rows += batch.rows();
        require(batch.rows() <= limits.batch_rows_max, "batches end in time");
    }
    require(rows == decoded->accepted, "accepted counts the rows");
    require(decoded->errors.size() <= decoded->rejected, "every error is a rejected row");
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    molesignal::run(molesignal::FuzzInput(data, size));
    return 0;
}
