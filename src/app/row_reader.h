#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "io/file_system.h"
#include "net/compression.h"

namespace molesignal {

/// Bytes in order: a file, or standard input. One thread at a time.
class ByteSource {
public:
    virtual ~ByteSource() = default;
    /// Opens `path`; "-" is standard input.
    static Result<std::unique_ptr<ByteSource>> open(FileSystem& fs, const std::string& path);
    /// Appends some bytes to `out`; false at the end.
    virtual Result<bool> read(std::string& out) = 0;
    /// How many bytes there are in all; 0 if unknown.
    virtual std::uint64_t size() const = 0;
};

enum class RowFormat : std::uint8_t {
    kAuto = 1,    ///< By the first character: '[' is a document, else lines.
    kNdjson = 2,  ///< One JSON object a line.
    kJson = 3,    ///< One document: an array of objects, or objects one after the other.
};

/// Rows to send with one request.
struct RowChunk {
    std::string ndjson;  ///< Each row ended by a newline.
    std::vector<std::uint64_t>
        lines;  ///< For each row its line (or its number in a document), from 1.
};

/// Splits an input into chunks at the borders of rows; undoes gzip and zstd, recognised by their
/// first bytes. One thread at a time.
class RowReader {
public:
    struct Limits {
        std::size_t chunk_bytes_max = 1 << 20;  ///< A longer row makes a chunk of its own.
        std::size_t chunk_rows_max = 5'000;
        std::size_t line_bytes_max = 32 << 20;
        std::size_t document_bytes_max = 1 << 30;
    };
    RowReader(std::unique_ptr<ByteSource> source, RowFormat format, Limits limits);

    /// The next chunk; false at the end. kInvalidArgument: broken compression, or a document that
    /// is not complete; kTooLarge: a limit.
    Result<bool> next(RowChunk& chunk);

    /// Compressed bytes read so far, and in all (0 if unknown).
    std::uint64_t bytes_read() const { return bytes_read_; }
    std::uint64_t bytes_total() const { return source_->size(); }

private:
    Result<bool> fill();
    Result<> begin();
    Result<bool> next_lines(RowChunk& chunk);
    Result<> load_document();
    bool next_rows(RowChunk& chunk);
    bool has_room(const RowChunk& chunk, std::size_t row_bytes) const;

    std::unique_ptr<ByteSource> source_;
    RowFormat format_;
    Limits limits_;
    std::unique_ptr<StreamDecoder> decoder_;
    std::string text_;  ///< Decoded, not handed out yet (from `at_`).
    std::size_t at_ = 0;
    bool at_end_ = false;
    bool has_begun_ = false;
    std::uint64_t line_ = 0;
    std::uint64_t bytes_read_ = 0;
    std::vector<std::string> rows_;  ///< Of a document.
};

/// The objects of a JSON document as one line each: of an array its elements, else the values one
/// after the other. Only the structure is looked at; the server checks the rest. kInvalidArgument
/// if brackets or quotes are not closed.
Result<std::vector<std::string>> split_document(std::string_view text);

}  // namespace molesignal
