#include "net/compression.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "common/random.h"

namespace molesignal {
namespace {

std::string sample_text(std::size_t lines) {
    SeededRandom random(11);
    std::string text;
    for (std::size_t i = 0; i < lines; ++i) {
        text += "{\"level\":\"info\",\"request\":" + std::to_string(random.next_u64()) + "}\n";
    }
    return text;
}

std::string raw_deflate(const std::string& text) {
    z_stream stream{};
    EXPECT_EQ(::deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(::deflateBound(&stream, text.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    ::deflateEnd(&stream);
    return out;
}

class EveryCoding : public testing::TestWithParam<ContentCoding> {};
INSTANTIATE_TEST_SUITE_P(Codings,
                         EveryCoding,
                         testing::Values(ContentCoding::kIdentity,
                                         ContentCoding::kGzip,
                                         ContentCoding::kDeflate,
                                         ContentCoding::kZstd));

TEST_P(EveryCoding, RoundTripsAtAnyPieceSize) {
    const auto text = sample_text(5000);
    const auto encoded = compress_all(GetParam(), as_bytes(text));
    ASSERT_TRUE(encoded);
    for (const std::size_t piece :
         {std::size_t{1}, std::size_t{7}, std::size_t{4096}, encoded->size()}) {
        const auto decoder = StreamDecoder::make(GetParam(), {});
        std::string out;
        for (std::size_t at = 0; at < encoded->size(); at += piece) {
            ASSERT_TRUE(
                decoder->write(as_bytes(std::string_view(*encoded).substr(at, piece)), out));
        }
        ASSERT_TRUE(decoder->finish());
        EXPECT_EQ(out, text) << piece;
    }
}

TEST_P(EveryCoding, ExactlyTheLimitIsAllowedAndOneMoreByteIsNot) {
    const auto text = sample_text(100);
    const auto encoded = compress_all(GetParam(), as_bytes(text));
    ASSERT_TRUE(encoded);
    const auto fits = decompress_all(GetParam(), as_bytes(*encoded), text.size());
    ASSERT_TRUE(fits);
    EXPECT_EQ(*fits, text);
    const auto refused = decompress_all(GetParam(), as_bytes(*encoded), text.size() - 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kTooLarge);
    EXPECT_NE(refused.error().message().find(std::to_string(text.size() - 1)), std::string::npos);
}

TEST_P(EveryCoding, FlushLetsTheReaderDecodeWhatWasWritten) {
    const auto encoder = StreamEncoder::make(GetParam());
    const auto decoder = StreamDecoder::make(GetParam(), {});
    std::string out;
    for (int i = 0; i < 3; ++i) {
        std::string wire;
        ASSERT_TRUE(encoder->write(as_bytes("row\n"), wire));
        ASSERT_TRUE(encoder->flush(wire));
        ASSERT_TRUE(decoder->write(as_bytes(wire), out));
        EXPECT_EQ(out.size(), 4U * static_cast<std::size_t>(i + 1));
    }
}

TEST_P(EveryCoding, TruncatedOrDamagedContentIsAnError) {
    if (GetParam() == ContentCoding::kIdentity) {
        GTEST_SKIP() << "identity has no structure";
    }
    const auto text = sample_text(1000);
    auto encoded = compress_all(GetParam(), as_bytes(text));
    ASSERT_TRUE(encoded);
    const auto cut = decompress_all(
        GetParam(), as_bytes(std::string_view(*encoded).substr(0, encoded->size() - 3)), 1 << 20);
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().code(), ErrorCode::kInvalidArgument);
    const auto noise =
        decompress_all(GetParam(), as_bytes("this is not compressed at all"), 1 << 20);
    ASSERT_FALSE(noise);
    EXPECT_EQ(noise.error().code(), ErrorCode::kInvalidArgument);
}

TEST_P(EveryCoding, BombStopsAtTheLimitWithoutTakingTheMemory) {
    if (GetParam() == ContentCoding::kIdentity) {
        GTEST_SKIP() << "identity cannot grow";
    }
    const auto encoder = StreamEncoder::make(GetParam());
    const std::string zeros(1 << 20, '\0');
    std::string bomb;
    for (int i = 0; i < 256; ++i) {
        ASSERT_TRUE(encoder->write(as_bytes(zeros), bomb));
    }
    ASSERT_TRUE(encoder->finish(bomb));
    const auto decoder = StreamDecoder::make(GetParam(), {.bytes_max = 1 << 20});
    std::string out;
    const auto result = decoder->write(as_bytes(bomb), out);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::kTooLarge);
    EXPECT_LE(out.capacity(), 4U << 20U);
}

TEST(Compression, ConcatenatedMembersAreOneContent) {
    for (const auto coding : {ContentCoding::kGzip, ContentCoding::kZstd}) {
        const auto first = compress_all(coding, as_bytes("first "));
        const auto second = compress_all(coding, as_bytes("second"));
        ASSERT_TRUE(first);
        ASSERT_TRUE(second);
        const auto both = decompress_all(coding, as_bytes(*first + *second), 100);
        ASSERT_TRUE(both);
        EXPECT_EQ(*both, "first second");
    }
}

TEST(Compression, ZstdFormatsFromBeforeTheStandardAreRefused) {
    for (const std::string head : {"\x1e", "\x22", "\x25", "\x27"}) {
        const auto content = head + "\xb5\x2f\xfd\x09\xcb\x07";
        std::string out;
        const auto whole = StreamDecoder::make(ContentCoding::kZstd, {.bytes_max = 1000});
        EXPECT_FALSE(whole->write(as_bytes(content), out));
        const auto pieces = StreamDecoder::make(ContentCoding::kZstd, {.bytes_max = 1000});
        EXPECT_FALSE(pieces->write(as_bytes(content).first(1), out));
        EXPECT_EQ(out, "");
    }
}

TEST(Compression, AZstdFrameThatEndsEarlyIsAnError) {
    // It says that it has 27,514 bytes; then comes an empty last block.
    constexpr unsigned char kFrame[] = {
        0x28, 0xb5, 0x2f, 0xfd, 0x50, 0x2a, 0x7a, 0x6b, 0x05, 0x00, 0x00};
    for (const std::size_t piece : {std::size_t{1}, std::size_t{5}, std::size(kFrame)}) {
        const auto decoder = StreamDecoder::make(ContentCoding::kZstd, {.bytes_max = 1 << 20});
        std::string out;
        bool good = true;
        for (std::size_t at = 0; good && at < std::size(kFrame); at += piece) {
            const auto size = std::min(piece, std::size(kFrame) - at);
            good = decoder->write(std::as_bytes(std::span(kFrame + at, size)), out).has_value();
        }
        EXPECT_FALSE(good && decoder->finish()) << piece;
    }
}

TEST(Compression, AZstdFrameIsJudgedTheSameInOnePieceAndInMany) {
    // Zero bytes of content in an empty compressed block: the library's function for whole frames
    // refuses it, its streaming one does not.
    constexpr unsigned char kFrame[] = {
        0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00};
    for (std::size_t piece = 1; piece <= std::size(kFrame); ++piece) {
        const auto decoder = StreamDecoder::make(ContentCoding::kZstd, {.bytes_max = 1 << 20});
        std::string out;
        for (std::size_t at = 0; at < std::size(kFrame); at += piece) {
            const auto size = std::min(piece, std::size(kFrame) - at);
            EXPECT_TRUE(decoder->write(std::as_bytes(std::span(kFrame + at, size)), out)) << piece;
        }
        EXPECT_TRUE(decoder->finish()) << piece;
        EXPECT_EQ(out, "") << piece;
    }
}

TEST(Compression, RawDeflateIsRecognised) {
    for (const std::size_t lines : {std::size_t{1}, std::size_t{1000}}) {
        const auto text = sample_text(lines);
        const auto decoded =
            decompress_all(ContentCoding::kDeflate, as_bytes(raw_deflate(text)), 1 << 20);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(*decoded, text);
    }
}

TEST(Compression, CodingNames) {
    EXPECT_EQ(parse_content_coding("").value(), ContentCoding::kIdentity);
    EXPECT_EQ(parse_content_coding(" GZIP ").value(), ContentCoding::kGzip);
    EXPECT_EQ(parse_content_coding("zstd").value(), ContentCoding::kZstd);
    const auto unknown = parse_content_coding("br");
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().message().find("gzip, deflate, zstd"), std::string::npos);
    EXPECT_FALSE(parse_content_coding("gzip, gzip"));
    EXPECT_EQ(content_coding_of_file("a.ndjson.gz"), ContentCoding::kGzip);
    EXPECT_EQ(content_coding_of_file("a.json.zst"), ContentCoding::kZstd);
    EXPECT_EQ(content_coding_of_file("gz"), ContentCoding::kIdentity);
}

TEST(Compression, AcceptEncodingIsNegotiated) {
    struct Case {
        std::string_view accept;
        ContentCoding expected;
    };
    const Case cases[] = {
        {"", ContentCoding::kIdentity},
        {"gzip", ContentCoding::kGzip},
        {"gzip, deflate, br, zstd", ContentCoding::kZstd},
        {"gzip;q=1.0, zstd;q=0.5", ContentCoding::kGzip},
        {"gzip;q=0, zstd;q=0", ContentCoding::kIdentity},
        {"*", ContentCoding::kZstd},
        {"zstd;q=0, *", ContentCoding::kGzip},
        {"identity, *;q=0", ContentCoding::kIdentity},
        {"br", ContentCoding::kIdentity},
    };
    for (const auto& one : cases) {
        EXPECT_EQ(choose_content_coding(one.accept), one.expected) << one.accept;
    }
}

}  // namespace
}  // namespace molesignal
