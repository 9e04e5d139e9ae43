#include "app/row_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/memory_fs.h"

namespace molesignal {
namespace {

using testing::ElementsAre;

/// Hands out its text in small pieces.
class PiecewiseSource final : public ByteSource {
public:
    PiecewiseSource(std::string text, std::size_t piece) : text_(std::move(text)), piece_(piece) {}
    Result<bool> read(std::string& out) override {
        const auto piece = text_.substr(at_, piece_);
        out += piece;
        at_ += piece.size();
        return !piece.empty();
    }
    std::uint64_t size() const override { return text_.size(); }

private:
    std::string text_;
    std::size_t piece_;
    std::size_t at_ = 0;
};

struct Read {
    std::vector<std::string> chunks;
    std::vector<std::uint64_t> lines;
    std::string error;
};

Read read_all(const std::string& text,
              RowReader::Limits limits = {},
              RowFormat format = RowFormat::kAuto,
              std::size_t piece = 3) {
    RowReader reader(std::make_unique<PiecewiseSource>(text, piece), format, limits);
    Read all;
    RowChunk chunk;
    for (;;) {
        const auto more = reader.next(chunk);
        if (!more.has_value()) {
            all.error = more.error().message();
            return all;
        }
        if (!*more) {
            return all;
        }
        all.chunks.push_back(chunk.ndjson);
        all.lines.insert(all.lines.end(), chunk.lines.begin(), chunk.lines.end());
    }
}

TEST(RowReader, SplitsAtLineBordersAndCountsLines) {
    const auto all = read_all("{\"a\":1}\n\n  \r\n{\"a\":2}\n{\"a\":3}", {.chunk_rows_max = 2});
    EXPECT_EQ(all.error, "");
    EXPECT_THAT(all.chunks, ElementsAre("{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n"));
    EXPECT_THAT(all.lines, ElementsAre(1, 4, 5));
}

TEST(RowReader, KeepsChunksBelowTheLimitButNeverSplitsARow) {
    const auto all =
        read_all("{\"a\":1}\n{\"a\":\"long long long\"}\n{\"a\":2}\n", {.chunk_bytes_max = 10});
    EXPECT_THAT(all.chunks,
                ElementsAre("{\"a\":1}\n", "{\"a\":\"long long long\"}\n", "{\"a\":2}\n"));
}

TEST(RowReader, NothingIsNoChunk) {
    EXPECT_TRUE(read_all("").chunks.empty());
    EXPECT_TRUE(read_all("\n \n").chunks.empty());
    EXPECT_TRUE(read_all("[]").chunks.empty());
}

TEST(RowReader, ReadsAnArray) {
    const auto all = read_all(" [ {\"a\": \"]},\\\"{\",\n \"b\":[1,{}]} , {\"a\":2},7]\n");
    EXPECT_EQ(all.error, "");
    EXPECT_THAT(all.chunks, ElementsAre("{\"a\": \"]},\\\"{\",  \"b\":[1,{}]}\n{\"a\":2}\n7\n"));
    EXPECT_THAT(all.lines, ElementsAre(1, 2, 3));
}

TEST(RowReader, ReadsObjectsOneAfterTheOtherWhenAsked) {
    const auto all = read_all("{\n \"a\":1\n}\n{\"a\":2}", {}, RowFormat::kJson);
    EXPECT_THAT(all.chunks, ElementsAre("{  \"a\":1 }\n{\"a\":2}\n"));
}

TEST(RowReader, RefusesOpenDocuments) {
    for (const auto* text : {"[{\"a\":1}", "[{\"a\":1", "[\"a", "[1] 2", "[{},", "[}"}) {
        EXPECT_NE(read_all(text).error, "") << text;
    }
}

TEST(RowReader, LimitsLinesAndDocuments) {
    EXPECT_EQ(read_all("{}\n" + std::string(100, 'x'), {.line_bytes_max = 50}).error,
              "line 2 is longer than 50 bytes");
    EXPECT_NE(read_all("[" + std::string(100, ' '), {.document_bytes_max = 50}).error, "");
}

TEST(RowReader, UndoesCompressionByItsFirstBytes) {
    std::string text;
    for (int i = 0; i < 1000; ++i) {
        text += "{\"a\":" + std::to_string(i) + "}\n";
    }
    for (const auto coding : {ContentCoding::kGzip, ContentCoding::kZstd}) {
        const auto packed = compress_all(coding, as_bytes(text));
        ASSERT_TRUE(packed.has_value());
        const auto all = read_all(*packed, {}, RowFormat::kAuto, 100);
        EXPECT_EQ(all.error, "");
        EXPECT_THAT(all.chunks, ElementsAre(text));
        const auto cut = read_all(packed->substr(0, packed->size() / 2), {}, RowFormat::kAuto, 100);
        EXPECT_NE(cut.error, "");
    }
}

TEST(RowReader, OpensFiles) {
    MemoryFs fs;
    ASSERT_TRUE(write_file_atomically(fs, "rows.ndjson", as_bytes("{}\n")).has_value());
    auto source = ByteSource::open(fs, "rows.ndjson");
    ASSERT_TRUE(source.has_value()) << source.error().message();
    EXPECT_EQ((*source)->size(), 3U);
    std::string out;
    EXPECT_TRUE(*(*source)->read(out));
    EXPECT_EQ(out, "{}\n");
    EXPECT_FALSE(*(*source)->read(out));
    EXPECT_EQ(ByteSource::open(fs, "missing").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace molesignal
