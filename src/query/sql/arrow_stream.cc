#include "query/sql/arrow_stream.h"

#include <arrow/api.h>
#include <arrow/c/bridge.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <duckdb.hpp>
#include <duckdb/common/arrow/arrow_converter.hpp>
#include <fmt/format.h>

namespace molesignal {
namespace {

Error arrow_error(const arrow::Status& status) {
    return {ErrorCode::kInternal, fmt::format("encode Arrow: {}", status.ToString())};
}

}  // namespace

struct ArrowStream::Implementation {
    duckdb::QueryResult& result;
    std::shared_ptr<arrow::Schema> schema;
    std::shared_ptr<arrow::io::BufferOutputStream> output;
    std::shared_ptr<arrow::ipc::RecordBatchWriter> writer;

    arrow::Status open() {
        ArrowSchema exported;
        duckdb::ArrowConverter::ToArrowSchema(
            &exported, result.types, result.names, result.client_properties);
        ARROW_ASSIGN_OR_RAISE(schema, arrow::ImportSchema(&exported));
        ARROW_ASSIGN_OR_RAISE(output, arrow::io::BufferOutputStream::Create());
        ARROW_ASSIGN_OR_RAISE(writer, arrow::ipc::MakeStreamWriter(output, schema));
        return arrow::Status::OK();
    }

    arrow::Status write(duckdb::DataChunk& chunk) {
        ArrowArray exported;
        duckdb::unordered_map<duckdb::idx_t,
                              const duckdb::shared_ptr<duckdb::ArrowTypeExtensionData>>
            extensions;
        duckdb::ArrowConverter::ToArrowArray(
            chunk, &exported, result.client_properties, extensions);
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

ArrowStream::ArrowStream(duckdb::QueryResult& result)
    : implementation_(new Implementation{
          .result = result, .schema = nullptr, .output = nullptr, .writer = nullptr}) {}
ArrowStream::~ArrowStream() = default;

Result<> ArrowStream::append(duckdb::DataChunk& chunk, std::string& out) {
    auto& all = *implementation_;
    auto status = all.writer == nullptr ? all.open() : arrow::Status::OK();
    if (status.ok()) {
        status = all.write(chunk);
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
