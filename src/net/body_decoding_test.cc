#include "net/body_decoding.h"

#include <bit>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>

#include "common/crc32c.h"
#include "common/random.h"
#include "net/snappy_content.h"

namespace molesignal {
namespace {

using ::testing::HasSubstr;

std::string lines(std::size_t bytes) {
    SeededRandom random(3);
    std::string text;
    while (text.size() < bytes) {
        text += "{\"n\":" + std::to_string(random.next_u64()) + "}\n";
    }
    text.resize(bytes);
    return text;
}

std::string snappy_block(const std::string& text) {
    std::string out;
    snappy::Compress(text.data(), text.size(), &out);
    return out;
}

std::string snappy_chunk(unsigned type, std::string_view content) {
    std::string out(1, static_cast<char>(type));
    for (unsigned shift = 0; shift < 24; shift += 8) {
        out.push_back(static_cast<char>(content.size() >> shift));
    }
    return out.append(content);
}

std::string data_chunk(unsigned type, const std::string& text) {
    const std::uint32_t crc = std::rotr(crc32c(as_bytes(text)), 15) + 0xa282ead8U;
    ByteBuffer sum;
    append_le(sum, crc);
    return snappy_chunk(type, std::string(as_text(sum)) + (type == 0 ? snappy_block(text) : text));
}

const std::string kStreamStart = snappy_chunk(0xff, "sNaPpY");

/// `text` as a framed snappy stream: compressed and plain chunks by turns, padding between.
std::string snappy_frames(const std::string& text) {
    std::string out = kStreamStart;
    for (std::size_t at = 0; at < text.size(); at += 60'000) {
        out += data_chunk(at / 60'000 % 2, text.substr(at, 60'000));
        out += snappy_chunk(0xfe, "padding");
    }
    return out;
}

class BodyDecodingTest : public ::testing::Test {
protected:
    Result<std::string> decode(ContentCoding coding,
                               const std::string& wire,
                               std::size_t bytes_max = 1 << 20) {
        reservation_ = MemoryReservation(budget_);
        return decode_body(coding, as_bytes(wire), {.bytes_max = bytes_max}, reservation_);
    }
    ErrorCode code(ContentCoding coding, const std::string& wire, std::size_t bytes_max = 1 << 20) {
        const auto decoded = decode(coding, wire, bytes_max);
        return decoded ? ErrorCode{} : decoded.error().code();
    }

    std::shared_ptr<MemoryBudget> budget_ =
        MemoryBudget::make_root("bodies", "http.inflight_body_bytes_max", 64 << 20);
    MemoryReservation reservation_;
};

TEST_F(BodyDecodingTest, EveryCodingDecodesToAPaddedBodyWhoseMemoryIsCounted) {
    const auto text = lines(700'000);
    const auto check = [&](ContentCoding coding, const std::string& wire) {
        const auto decoded = decode(coding, wire);
        ASSERT_TRUE(decoded) << decoded.error().message();
        EXPECT_EQ(*decoded, text) << to_string(coding);
        EXPECT_GE(decoded->capacity() - decoded->size(), kBodyPaddingBytes);
        EXPECT_GE(budget_->used_bytes(), static_cast<std::int64_t>(text.size()));
        EXPECT_EQ(budget_->used_bytes(), reservation_.bytes())
            << "the decoder's state is given back";
    };
    for (const auto coding : {ContentCoding::kIdentity,
                              ContentCoding::kGzip,
                              ContentCoding::kDeflate,
                              ContentCoding::kZstd}) {
        check(coding, compress_all(coding, as_bytes(text)).value());
    }
    check(ContentCoding::kSnappy, snappy_block(text));
    check(ContentCoding::kSnappy, snappy_frames(text));
}

TEST_F(BodyDecodingTest, ExactlyTheLimitIsAllowedAndOneMoreByteIsNot) {
    const auto text = lines(300'000);
    const std::pair<ContentCoding, std::string> cases[] = {
        {ContentCoding::kGzip, compress_all(ContentCoding::kGzip, as_bytes(text)).value()},
        {ContentCoding::kZstd, compress_all(ContentCoding::kZstd, as_bytes(text)).value()},
        {ContentCoding::kSnappy, snappy_block(text)},
        {ContentCoding::kSnappy, snappy_frames(text)},
    };
    for (const auto& [coding, wire] : cases) {
        EXPECT_TRUE(decode(coding, wire, text.size())) << to_string(coding);
        const auto refused = decode(coding, wire, text.size() - 1);
        ASSERT_FALSE(refused) << to_string(coding);
        EXPECT_EQ(refused.error().code(), ErrorCode::kTooLarge);
        EXPECT_THAT(refused.error().message(), HasSubstr("299999"));
    }
}

TEST_F(BodyDecodingTest, ASnappyLengthIsBelievedOnlyWithinTheLimit) {
    // 4 GiB - 1, then nothing.
    EXPECT_EQ(code(ContentCoding::kSnappy, "\xff\xff\xff\xff\x0f"), ErrorCode::kTooLarge);
    EXPECT_LT(budget_->peak_bytes(), 4096);
    // A length within the limit that the block does not fill.
    EXPECT_EQ(code(ContentCoding::kSnappy, std::string("\xe8\x07\x00x", 4)),
              ErrorCode::kInvalidArgument);
}

TEST_F(BodyDecodingTest, MalformedSnappyIsRefused) {
    const auto good = data_chunk(0, "hello hello hello hello");
    auto damaged = kStreamStart + good;
    damaged[kStreamStart.size() + 5] ^= 1;
    const std::string cases[] = {
        "",
        "\xff",
        kStreamStart + good.substr(0, good.size() - 1),
        kStreamStart + good.substr(0, 3),
        damaged,
        kStreamStart + snappy_chunk(0x02, "reserved"),
        kStreamStart + snappy_chunk(0xff, "sNaPpX"),
        kStreamStart + snappy_chunk(0x01, "abc"),
        kStreamStart + data_chunk(0x01, std::string(65'537, 'x')),
        kStreamStart + data_chunk(0x00, std::string(65'537, 'x')),
    };
    for (const auto& wire : cases) {
        EXPECT_EQ(code(ContentCoding::kSnappy, wire), ErrorCode::kInvalidArgument)
            << ::testing::PrintToString(wire.substr(0, 40));
    }
    EXPECT_EQ(*decode(ContentCoding::kSnappy, kStreamStart + snappy_chunk(0x80, "skip") + good),
              "hello hello hello hello");
}

TEST_F(BodyDecodingTest, EmptyMembersCostNoMemoryAndAreBounded) {
    for (const auto coding : {ContentCoding::kGzip, ContentCoding::kZstd}) {
        const auto empty = compress_all(coding, {}).value();
        std::string wire;
        for (int i = 0; i < 5'000; ++i) {
            wire += empty;
        }
        wire += compress_all(coding, as_bytes("the end")).value();
        EXPECT_EQ(decode(coding, wire).value(), "the end");
        std::string endless;
        for (int i = 0; i < 100'002; ++i) {
            endless += empty;
        }
        const auto refused = decode(coding, endless);
        ASSERT_FALSE(refused) << to_string(coding);
        EXPECT_THAT(refused.error().message(), HasSubstr("100000 compressed members"));
    }
}

TEST_F(BodyDecodingTest, TheBudgetIsAskedBeforeMemoryIsTaken) {
    const std::string zeros(20 << 20, '\0');
    budget_ = MemoryBudget::make_root("bodies", "http.inflight_body_bytes_max", 4 << 20);
    for (const auto coding :
         {ContentCoding::kGzip, ContentCoding::kDeflate, ContentCoding::kZstd}) {
        const auto wire = compress_all(coding, as_bytes(zeros)).value();
        const auto refused = decode(coding, wire, 32 << 20);
        ASSERT_FALSE(refused) << to_string(coding);
        EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
        EXPECT_THAT(refused.error().message(), HasSubstr("http.inflight_body_bytes_max"));
    }
    EXPECT_EQ(code(ContentCoding::kSnappy, snappy_block(zeros), 32 << 20),
              ErrorCode::kResourceExhausted);
    EXPECT_LE(budget_->peak_bytes(), 4 << 20);
}

}  // namespace
}  // namespace molesignal
