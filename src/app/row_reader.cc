#include "app/row_reader.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "common/assert.h"

namespace molesignal {

namespace {

constexpr std::size_t kReadBytes = 256 << 10;
constexpr std::string_view kSpace = " \t\r\n";

class FileSource final : public ByteSource {
public:
    FileSource(std::unique_ptr<File> file, std::uint64_t size)
        : file_(std::move(file)), size_(size) {}
    Result<bool> read(std::string& out) override {
        const auto before = out.size();
        out.resize(before + kReadBytes);
        MS_TRY(const auto count,
               file_->read_at(offset_,
                              {reinterpret_cast<std::byte*>(out.data() + before), kReadBytes}));
        out.resize(before + count);
        offset_ += count;
        return count > 0;
    }
    std::uint64_t size() const override { return size_; }

private:
    std::unique_ptr<File> file_;
    std::uint64_t size_;
    std::uint64_t offset_ = 0;
};

class StandardInput final : public ByteSource {
public:
    Result<bool> read(std::string& out) override {
        const auto before = out.size();
        out.resize(before + kReadBytes);
        const auto count = std::fread(out.data() + before, 1, kReadBytes, stdin);
        out.resize(before + count);
        if (count == 0 && std::ferror(stdin) != 0) {
            return Error(ErrorCode::kUnavailable, "cannot read standard input");
        }
        return count > 0;
    }
    std::uint64_t size() const override { return 0; }
};

ContentCoding coding_of(std::string_view head) {
    if (head.starts_with("\x1f\x8b")) {
        return ContentCoding::kGzip;
    }
    return head.starts_with("\x28\xb5\x2f\xfd") ? ContentCoding::kZstd : ContentCoding::kIdentity;
}

/// The end of the JSON value that begins at `at`, by brackets and quotes only; npos if it is open.
std::size_t end_of_value(std::string_view text, std::size_t at) {
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = at; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            ++depth;
        } else if (depth > 0 && (c == '}' || c == ']')) {
            if (--depth == 0) {
                return i + 1;
            }
        } else if (depth == 0 &&
                   (c == ',' || c == ']' || kSpace.find(c) != std::string_view::npos)) {
            return i;
        }
    }
    return depth == 0 && !in_string ? text.size() : std::string_view::npos;
}

std::string on_one_line(std::string_view value) {
    std::string line(value);
    for (char& c : line) {
        if (c == '\n' || c == '\r') {
            c = ' ';
        }
    }
    return line;
}

}  // namespace

Result<std::unique_ptr<ByteSource>> ByteSource::open(FileSystem& fs, const std::string& path) {
    if (path == "-") {
        return std::unique_ptr<ByteSource>(std::make_unique<StandardInput>());
    }
    MS_TRY(auto file, fs.open(path, OpenMode::kRead));
    MS_TRY(const auto size, file->size());
    return std::unique_ptr<ByteSource>(std::make_unique<FileSource>(std::move(file), size));
}

Result<std::vector<std::string>> split_document(std::string_view text) {
    const auto skip = [&](std::size_t at, std::string_view what) {
        return std::min(text.find_first_not_of(what, at), text.size());
    };
    std::vector<std::string> rows;
    std::size_t at = skip(0, kSpace);
    const bool is_array = at < text.size() && text[at] == '[';
    const auto* const between = is_array ? " \t\r\n," : " \t\r\n";
    at = is_array ? skip(at + 1, kSpace) : at;
    while (at < text.size() && !(is_array && text[at] == ']')) {
        const auto end = end_of_value(text, at);
        if (end == std::string_view::npos || end == at) {
            return Error(
                ErrorCode::kInvalidArgument,
                fmt::format(
                    "not a JSON document: value {} at byte {} is not closed", rows.size() + 1, at));
        }
        rows.push_back(on_one_line(text.substr(at, end - at)));
        at = skip(end, between);
    }
    if (is_array && (at >= text.size() || skip(at + 1, kSpace) != text.size())) {
        return Error(ErrorCode::kInvalidArgument,
                     at >= text.size() ? "not a JSON document: the array is not closed"
                                       : "not a JSON document: text after the array");
    }
    return rows;
}

RowReader::RowReader(std::unique_ptr<ByteSource> source, RowFormat format, Limits limits)
    : source_(std::move(source)), format_(format), limits_(limits) {}

/// Decodes one more piece into text_; false at the end.
Result<bool> RowReader::fill() {
    if (at_end_) {
        return false;
    }
    std::string raw;
    MS_TRY(const bool more, source_->read(raw));
    bytes_read_ += raw.size();
    if (decoder_ == nullptr) {
        decoder_ = StreamDecoder::make(
            coding_of(raw),
            {.bytes_max = std::numeric_limits<std::size_t>::max() / 2, .setting = "(none)"});
    }
    if (!more) {
        at_end_ = true;
        MS_TRY_VOID(decoder_->finish());
        return false;
    }
    text_.erase(0, at_);
    at_ = 0;
    MS_TRY_VOID(decoder_->write(as_bytes(raw), text_));
    return true;
}

/// Finds out what the input is.
Result<> RowReader::begin() {
    has_begun_ = true;
    if (format_ == RowFormat::kAuto) {
        std::size_t first = std::string::npos;
        for (bool more = true; more && first == std::string::npos;) {
            MS_TRY(more, fill());
            first = text_.find_first_not_of(kSpace);
        }
        format_ = first != std::string::npos && text_[first] == '[' ? RowFormat::kJson
                                                                    : RowFormat::kNdjson;
    }
    return format_ == RowFormat::kJson ? load_document() : Result<>();
}

Result<> RowReader::load_document() {
    for (bool more = true; more;) {
        MS_TRY(more, fill());
        if (text_.size() > limits_.document_bytes_max) {
            return Error(ErrorCode::kInvalidArgument,
                         fmt::format("a JSON document of more than {} bytes; write one object a "
                                     "line instead",
                                     limits_.document_bytes_max));
        }
    }
    MS_TRY(rows_, split_document(text_));
    text_.clear();
    at_ = 0;
    return {};
}

bool RowReader::has_room(const RowChunk& chunk, std::size_t row_bytes) const {
    return chunk.lines.empty() || (chunk.lines.size() < limits_.chunk_rows_max &&
                                   chunk.ndjson.size() + row_bytes < limits_.chunk_bytes_max);
}

bool RowReader::next_rows(RowChunk& chunk) {
    while (line_ < rows_.size() && has_room(chunk, rows_[line_].size())) {
        chunk.ndjson += rows_[line_];
        chunk.ndjson += '\n';
        chunk.lines.push_back(++line_);
    }
    return !chunk.lines.empty();
}

Result<bool> RowReader::next_lines(RowChunk& chunk) {
    for (;;) {
        const auto end = text_.find('\n', at_);
        if (end == std::string::npos) {
            if (text_.size() - at_ > limits_.line_bytes_max) {
                return Error(
                    ErrorCode::kInvalidArgument,
                    fmt::format(
                        "line {} is longer than {} bytes", line_ + 1, limits_.line_bytes_max));
            }
            MS_TRY(const bool more, fill());
            if (more) {
                continue;
            }
            if (at_ == text_.size()) {
                return !chunk.lines.empty();
            }
            text_ += '\n';  // The last line needs none.
            continue;
        }
        const std::string_view line = std::string_view(text_).substr(at_, end - at_);
        if (line.find_first_not_of(kSpace) != std::string_view::npos) {
            if (!has_room(chunk, line.size())) {
                return true;
            }
            chunk.ndjson += line;
            chunk.ndjson += '\n';
            chunk.lines.push_back(line_ + 1);
        }
        ++line_;
        at_ = end + 1;
    }
}

Result<bool> RowReader::next(RowChunk& chunk) {
    chunk.ndjson.clear();
    chunk.lines.clear();
    if (!has_begun_) {
        MS_TRY_VOID(begin());
    }
    return format_ == RowFormat::kJson ? Result<bool>(next_rows(chunk)) : next_lines(chunk);
}

}  // namespace molesignal
