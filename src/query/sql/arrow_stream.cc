#include "query/sql/arrow_stream.h"

#include <arrow/api.h>
#include <arrow/c/bridge.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <duckdb.hpp>
#include <duckdb/common/arrow/arrow_appender.hpp>
#include <duckdb/common/arrow/arrow_converter.hpp>
#include <fmt/format.h>

namespace molesignal {
namespace {

Error arrow_error(const arrow::Status& status) {
    return {ErrorCode::kInternal, fmt::format("encode Arrow: {}", status.ToString())};
}

}  // namespace

struct ArrowStream::Implementation {
    Implementation(duckdb::QueryResult& rows, std::size_t columns)
        : result(rows),
          types(rows.types.begin(), rows.types.begin() + static_cast<std::ptrdiff_t>(columns)),
          names(rows.names.begin(), rows.names.begin() + static_cast<std::ptrdiff_t>(columns)) {}

    duckdb::QueryResult& result;
    duckdb::vector<duckdb::LogicalType> types;
    duckdb::vector<duckdb::string> names;
    std::shared_ptr<arrow::Schema> schema;
    std::shared_ptr<arrow::io::BufferOutputStream> output;
    std::shared_ptr<arrow::ipc::RecordBatchWriter> writer;

    arrow::Status open() {
        ArrowSchema exported;
        duckdb::ArrowConverter::ToArrowSchema(&exported, types, names, result.client_properties);
        ARROW_ASSIGN_OR_RAISE(schema, arrow::ImportSchema(&exported));
        ARROW_ASSIGN_OR_RAISE(output, arrow::io::BufferOutputStream::Create());
        ARROW_ASSIGN_OR_RAISE(writer, arrow::ipc::MakeStreamWriter(output, schema));
        return arrow::Status::OK();
    }

    arrow::Status write(duckdb::DataChunk& chunk, std::size_t from, std::size_t to) {
        duckdb::unordered_map<duckdb::idx_t,
                              const duckdb::shared_ptr<duckdb::ArrowTypeExtensionData>>
            extensions;
        duckdb::ArrowAppender appender(types, to - from, result.client_properties, extensions);
        duckdb::DataChunk shown;
        shown.InitializeEmpty(types);
        for (std::size_t i = 0; i < types.size(); ++i) {
            shown.data[i].Reference(chunk.data[i]);
        }
        shown.SetCardinality(chunk.size());
        appender.Append(shown, from, to, shown.size());
        auto exported = appender.Finalize();
        ARROW_ASSIGN_OR_RAISE(const auto batch, arrow::ImportRecordBatch(&exported, schema));
        return writer->WriteRecordBatch(*batch);
    }

    /// Moves what was written so far to `out`.
    arrow::Status drain(std::string& out) {
        ARROW_ASSIGN_OR_RAISE(const auto buffer, output->Finish());
        out.append(reinterpret_cast<const char*>(buffer->data()),
                   static_cast<std::size_t>(buffer->size()));
        return output->Reset();
    }
};

ArrowStream::ArrowStream(duckdb::QueryResult& result, std::size_t columns)
    : implementation_(std::make_unique<Implementation>(result, columns)) {}
ArrowStream::~ArrowStream() = default;

Result<> ArrowStream::append(duckdb::DataChunk& chunk,
                             std::size_t from,
                             std::size_t to,
                             std::string& out) {
    auto& all = *implementation_;
    auto status = all.writer == nullptr ? all.open() : arrow::Status::OK();
    if (status.ok()) {
        status = all.write(chunk, from, to);
    }
    if (status.ok()) {
        status = all.drain(out);
    }
    return status.ok() ? Result<>() : Result<>(arrow_error(status));
}

Result<> ArrowStream::finish(std::string& out) {
    auto& all = *implementation_;
    auto status = all.writer == nullptr ? all.open() : arrow::Status::OK();
    if (status.ok()) {
        status = all.writer->Close();
    }
    if (status.ok()) {
        status = all.drain(out);
    }
    return status.ok() ? Result<>() : Result<>(arrow_error(status));
}

}  // namespace molesignal
