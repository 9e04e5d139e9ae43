#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "ingest/batch_codec.h"
#include "ingest/json_decoder.h"
#include "ingest/timestamp_parser.h"

namespace molesignal {
namespace {

constexpr std::int64_t kNow = 1'790'000'000'000'000'000;

/// The rows as text: "field:type=value;…", fields sorted by the order of their columns.
std::vector<std::string> show(const RowBatch& batch) {
    std::vector<std::string> rows;
    for (std::uint32_t row = 0; row < batch.rows(); ++row) {
        std::string text =
            batch.timestamps[row] == kNow ? "now" : std::to_string(batch.timestamps[row]);
        for (const auto& column : batch.columns) {
            if (column.is_null(row)) {
                continue;
            }
            std::string value;
            if (is_variable_width(column.type())) {
                value = column.text(row);
            } else if (column.type() == FieldType::kFloat64) {
                value = fmt::format("{}", std::bit_cast<double>(column.fixed(row)));
            } else if (column.type() == FieldType::kUint64) {
                value = std::to_string(column.fixed(row));
            } else {
                value = std::to_string(static_cast<std::int64_t>(column.fixed(row)));
            }
            text += fmt::format(" {}:{}={}", column.name(), field_type_name(column.type()), value);
        }
        rows.push_back(text);
    }
    return rows;
}

std::vector<std::string> show(const DecodedRows& decoded) {
    std::vector<std::string> rows;
    for (const auto& batch : decoded.batches) {
        EXPECT_GT(batch.rows(), 0U);
        const auto more = show(batch);
        rows.insert(rows.end(), more.begin(), more.end());
    }
    EXPECT_EQ(rows.size(), decoded.accepted);
    return rows;
}

std::size_t capacity_bytes(const DecodedRows& decoded) {
    std::size_t bytes = 0;
    for (const auto& batch : decoded.batches) {
        bytes += batch.capacity_bytes();
    }
    return bytes;
}

/// An object of `count` members `prefix<n>`: n.
std::string wide_object(std::string_view prefix, int count) {
    std::string out = "{";
    for (int i = 0; i < count; ++i) {
        out += fmt::format("{}\"{}{}\":{}", i == 0 ? "" : ",", prefix, i, i);
    }
    return out + "}";
}

DecodedRows decode(std::string body,
                   DecodeLimits limits = {},
                   DecodeSettings settings = {.now_ns = kNow}) {
    body.reserve(body.size() + kJsonPaddingBytes);
    auto decoded = decode_json_rows(body, limits, settings);
    EXPECT_TRUE(decoded) << decoded.error().message();
    return decoded ? std::move(*decoded) : DecodedRows{};
}

struct Case {
    std::string body;
    std::vector<std::string> rows;
    std::uint64_t rejected = 0;
};

TEST(JsonDecoder, BytesAndTheirDocumentedResults) {
    const std::vector<Case> cases = {
        {"", {}},
        {" \n \r\n", {}},
        {R"({"a":1})", {"now a:int64=1"}},
        {"\xef\xbb\xbf{\"a\":1}", {"now a:int64=1"}},
        {R"([{"a":1},{"b":"x"}])", {"now a:int64=1", "now b:string=x"}},
        {"[]", {}},
        {"{\"a\":1}\n{\"a\":2}\n", {"now a:int64=1", "now a:int64=2"}},
        {"{\n  \"a\": 1,\n  \"b\": {\n    \"c\": true\n  }\n}", {"now a:int64=1 b.c:bool=1"}},
        {"{\"a\":1}\n{\"a\":\n{\"a\":3}", {"now a:int64=1", "now a:int64=3"}, 1},
        {"{\"a\":1} x\n{\"a\":2}", {"now a:int64=2"}, 1},
        {"5\n{\"a\":2}", {"now a:int64=2"}, 1},
        {R"([{"a":1},7,{"a":2}])", {"now a:int64=1", "now a:int64=2"}, 1},
        {R"([{"a":1},{"a":,{"a":2}])", {"now a:int64=1"}, 1},
        {R"({"a":null})", {"now"}},
        {R"({"a":9223372036854775807,"b":-9223372036854775808,"c":9223372036854775808,"d":18446744073709551615})",
         {"now a:int64=9223372036854775807 b:int64=-9223372036854775808 "
          "c:uint64=9223372036854775808 "
          "d:uint64=18446744073709551615"}},
        {R"({"a":18446744073709551616,"b":-9223372036854775809})",
         {"now a:string=18446744073709551616 b:string=-9223372036854775809"}},
        {R"({"a":0.1,"b":1e300,"c":-0.0})", {"now a:float64=0.1 b:float64=1e+300 c:float64=-0"}},
        {R"({"a":NaN})", {}, 1},
        {R"({"a":01})", {}, 1},
        {R"({"a":1,"a":2})", {"now a:int64=2"}},
        {R"({"a":1,"a":"x","a":2.5})", {"now a:float64=2.5"}},
        {R"({"a":"q\"\\\u00e9\u0000\n"})", {std::string("now a:string=q\"\\\u00e9") + '\0' + "\n"}},
        {R"({"a":nulx})", {}, 1},
        {R"({"a":null~]}})", {}, 1},
        {R"({"a":tru})", {}, 1},
        {"{\"a\":\"\xff\"}", {"now a:string=\xef\xbf\xbd"}},
        {"[{\"a\":\"\xe2\x82\"}]", {"now a:string=\xef\xbf\xbd"}},
        {R"({"a":"\ud800"})", {"now a:string=\xef\xbf\xbd"}},
        {R"({"a":0.33333333333333333333})", {"now a:float64=0.3333333333333333"}},
        {R"({"a":1e-400})", {"now a:string=1e-400"}},
        {R"({"a":{"b":{"c":1}},"d":[1,"x",{"y":2}],"e":{}})",
         {"now a.b.c:int64=1 d:json=[1,\"x\",{\"y\":2}]"}},
        {R"({"":1,"_position":2,"ok":3})", {"now ok:int64=3 _extra:json={\"\":1,\"_position\":2}"}},
        {R"({"k\u0065y":1,"key2":2})", {"now key:int64=1 key2:int64=2"}},
        {R"({"_timestamp":1700000000,"a":1})", {"1700000000000000000 a:int64=1"}},
        {R"({"_timestamp":1700000000123})", {"1700000000123000000"}},
        {R"({"@timestamp":1700000000123456})", {"1700000000123456000"}},
        {R"({"time":1700000000123456789})", {"1700000000123456789"}},
        {R"({"timestamp":"2023-11-14T22:13:20.123456789Z"})", {"1700000000123456789"}},
        {R"({"timestamp":"2023-11-15T00:13:20+02:00"})", {"1700000000000000000"}},
        {R"({"time":1700000000.5})", {"1700000000500000000"}},
        {R"({"time":"soon","a":1})", {"now a:int64=1 time:string=soon"}},
        {R"({"time":"1700000000","timestamp":1600000000})",
         {"1600000000000000000 time:string=1700000000"}},
        {R"({"_timestamp":"never"})", {"now _extra:json={\"_timestamp\":\"never\"}"}},
        {R"({"time":{"x":1}})", {"now time.x:int64=1"}},
    };
    for (const auto& test : cases) {
        const auto decoded = decode(test.body);
        EXPECT_EQ(show(decoded), test.rows) << test.body;
        EXPECT_EQ(decoded.rejected, test.rejected) << test.body;
        EXPECT_EQ(decoded.errors.size(), test.rejected) << test.body;
    }
}

TEST(JsonDecoder, LimitsNameThemselves) {
    const auto large =
        decode("{\"a\":\"" + std::string(200, 'x') + "\"}\n{\"a\":1}", {.row_bytes_max = 100});
    EXPECT_EQ(show(large), std::vector<std::string>{"now a:int64=1"});
    ASSERT_EQ(large.errors.size(), 1U);
    EXPECT_NE(large.errors[0].reason.find("ingester.row_bytes_max"), std::string::npos);

    const auto wide = decode(R"({"a":1,"b":2,"c":3})", {.fields_max = 2});
    EXPECT_EQ(show(wide),
              std::vector<std::string>{"now a:int64=1 b:int64=2 _extra:json={\"c\":3}"});
    EXPECT_EQ(wide.extra_values, 1U);

    const auto deep = decode(R"({"a":{"b":{"c":{"d":1}}}})", {.depth_max = 2});
    EXPECT_EQ(show(deep), std::vector<std::string>{"now a.b:json={\"c\":{\"d\":1}}"});

    std::string body = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}";
    body.reserve(body.size() + kJsonPaddingBytes);
    const auto many = decode_json_rows(body, {.rows_max = 2}, {.now_ns = kNow});
    ASSERT_FALSE(many);
    EXPECT_EQ(many.error().code(), ErrorCode::kTooLarge);
    EXPECT_NE(many.error().message().find("ingester.rows_per_request_max"), std::string::npos);
}

TEST(JsonDecoder, RowsOfAnArrayHaveTheRowLimitToo) {
    const auto decoded =
        decode("[{\"a\":\"" + std::string(200, 'x') + "\",\"only_large\":1},{\"a\":1}]",
               {.row_bytes_max = 100});
    EXPECT_EQ(show(decoded), std::vector<std::string>{"now a:int64=1"});
    EXPECT_EQ(decoded.by_reason[static_cast<int>(RejectReason::kTooLarge)], 1U);
    EXPECT_EQ(decoded.batches.at(0).columns.size(), 1U);
}

TEST(JsonDecoder, NestedValuesKeptAsTextAreJson) {
    const auto decoded = decode(
        "{\"a\":[tru]}\n{\"a\":[1.2.3]}\n{\"a\":{\"b\":[{\"c\":nul}]}}\n"
        "{\"a\":[01]}\n{\"a\":[true,{\"b\":1.5}]}");
    EXPECT_EQ(show(decoded), std::vector<std::string>{"now a:json=[true,{\"b\":1.5}]"});
    EXPECT_EQ(decoded.rejected, 4U);
}

TEST(JsonDecoder, SparseRowsTakeMemoryByTheirValues) {
    std::string body = wide_object("f", 1000) + "\n";
    for (int i = 0; i < 100'000; ++i) {
        body += "{}\n";
    }
    const auto decoded = decode(body);
    EXPECT_EQ(decoded.accepted, 100'001U);
    // A bit a row and column, not eight bytes: 100,001 rows x 1,000 columns are 13 MB.
    EXPECT_LT(capacity_bytes(decoded), 20U << 20U);
}

TEST(JsonDecoder, ALargeRequestBecomesSeveralBatches) {
    std::string body;
    std::vector<std::string> expected;
    for (int i = 0; i < 25; ++i) {
        body += fmt::format("{{\"n\":{},\"s{}\":\"x\"}}\n", i, i % 3);
        expected.push_back(fmt::format("now n:int64={} s{}:string=x", i, i % 3));
    }
    const auto decoded = decode(body, {.batch_rows_max = 10});
    EXPECT_EQ(decoded.batches.size(), 3U);
    // The order of columns is each batch's own.
    auto rows = show(decoded);
    EXPECT_EQ(rows, expected);
    EXPECT_EQ(decode(body, {.batch_bytes_max = 1}).batches.size(), 25U);
}

TEST(JsonDecoder, RejectedRowsLeaveNoNamesBehind) {
    const DecodeSettings settings{.now_ns = kNow, .time_min_ns = kNow - 1000};
    std::string body;
    for (int i = 0; i < 50; ++i) {
        body += fmt::format("{{\"old{}\":1,\"time\":1}}\n", i);
    }
    body += "{\"a\":1,\"b\":2}";
    const auto decoded = decode(body, {.fields_max = 2}, settings);
    EXPECT_EQ(show(decoded), std::vector<std::string>{"now a:int64=1 b:int64=2"});
    EXPECT_EQ(decoded.rejected, 50U);
}

TEST(JsonDecoder, AnotherTypeOfARejectedRowIsUndone) {
    const auto decoded = decode("{\"a\":1}\n{\"a\":\"x\",\"b\":}\n{\"a\":2}\n{\"a\":\"y\"}");
    const std::vector<std::string> expected = {"now a:int64=1", "now a:int64=2", "now a:string=y"};
    EXPECT_EQ(show(decoded), expected);
}

TEST(JsonDecoder, ALongPathIsKeptOnce) {
    const auto key = std::string(100'000, 'k');
    const auto decoded = decode("{\"" + key + "\":" + wide_object("a", 10'000) + "}");
    ASSERT_EQ(decoded.accepted, 1U);
    const auto& batch = decoded.batches.at(0);
    ASSERT_EQ(batch.columns.size(), 1U);
    EXPECT_EQ(batch.columns[0].name(), "_extra");
    EXPECT_LT(batch.columns[0].text(0).size(), 400'000U);
}

TEST(JsonDecoder, NamesThatAreNoColumnsAreNotRemembered) {
    std::string body;
    for (int i = 0; i < 1000; ++i) {
        body += fmt::format("{{\"name{}\":{}}}\n", i, i);
    }
    const auto decoded = decode(body, {.fields_max = 3});
    EXPECT_EQ(decoded.extra_values, 997U);
    EXPECT_EQ(show(decoded).back(), "now _extra:json={\"name999\":999}");
}

TEST(JsonDecoder, DecodedBytesAreBounded) {
    std::string body;
    for (int i = 0; i < 20'000; ++i) {
        body += fmt::format("{{\"n\":{},\"text\":\"{}\"}}\n", i, std::string(100, 'x'));
    }
    body.reserve(body.size() + kJsonPaddingBytes);
    const auto alone = decode_json_rows(body, {.decoded_bytes_max = 1U << 20U}, {.now_ns = kNow});
    ASSERT_FALSE(alone);
    EXPECT_EQ(alone.error().code(), ErrorCode::kTooLarge);
    EXPECT_NE(alone.error().message().find("ingester.decode_memory_mb"), std::string::npos);

    const auto memory = MemoryBudget::make_root("all", "ingester.decode_memory_mb", 1 << 20);
    const auto together = decode_json_rows(body, {}, {.now_ns = kNow, .memory = memory});
    ASSERT_FALSE(together);
    EXPECT_EQ(together.error().code(), ErrorCode::kResourceExhausted);
    EXPECT_EQ(memory->used_bytes(), 0);

    const auto enough = MemoryBudget::make_root("all", "ingester.decode_memory_mb", 1 << 30);
    {
        const auto decoded = decode_json_rows(body, {}, {.now_ns = kNow, .memory = enough});
        ASSERT_TRUE(decoded);
        EXPECT_EQ(enough->used_bytes(), static_cast<std::int64_t>(capacity_bytes(*decoded)));
    }
    EXPECT_EQ(enough->used_bytes(), 0);
}

TEST(JsonDecoder, RowsOutsideTheTimeBoundsAreRejectedAndLeaveNothing) {
    const DecodeSettings settings{
        .now_ns = kNow, .time_min_ns = kNow - 1000, .time_max_ns = kNow + 1000};
    const auto decoded =
        decode("{\"time\":1500000000,\"only_old\":1}\n{\"a\":1}\n{\"time\":2000000000,\"a\":2}",
               {},
               settings);
    EXPECT_EQ(show(decoded), std::vector<std::string>{"now a:int64=1"});
    EXPECT_EQ(decoded.batches.at(0).columns.size(), 1U);
    EXPECT_EQ(decoded.by_reason[static_cast<int>(RejectReason::kTooOld)], 1U);
    EXPECT_EQ(decoded.by_reason[static_cast<int>(RejectReason::kTooNew)], 1U);
    EXPECT_EQ(decoded.errors[1].index, 2U);
}

TEST(JsonDecoder, PinnedTypesSendOthersToExtra) {
    const DecodeSettings settings{.now_ns = kNow, .pinned_types = {{"code", FieldType::kInt64}}};
    const auto decoded = decode("{\"code\":1}\n{\"code\":\"x\"}", {}, settings);
    const std::vector<std::string> expected = {"now code:int64=1",
                                               "now _extra:json={\"code\":\"x\"}"};
    EXPECT_EQ(show(decoded), expected);
}

TEST(TimestampParser, RefusesWhatIsNoTime) {
    for (const auto* text : {"",
                             "-",
                             "2023-13-01",
                             "2023-02-30",
                             "2023-01-01T25:00:00Z",
                             "2023-01-01T00:00:00.Z",
                             "0001-01-01",
                             "9999-12-31T23:59:59Z",
                             "2023-01-01T00:00:00+25:00",
                             "12x"}) {
        EXPECT_FALSE(time_from_text(text).has_value()) << text;
    }
    EXPECT_EQ(time_from_text("1970-01-01"), 0);
    EXPECT_EQ(time_from_text("1969-12-31T23:59:59.5Z"), -500'000'000);
    EXPECT_EQ(time_from_integer(INT64_MAX), INT64_MAX);
}

RowBatch random_batch(SeededRandom& random) {
    RowBatch batch;
    const auto rows = random.next_u64() % 300;
    for (std::uint32_t row = 0; row < rows; ++row) {
        batch.timestamps.push_back(static_cast<std::int64_t>(random.next_u64()));
        for (int field = 0; field < 8; ++field) {
            if (random.next_u64() % 4 == 0) {
                continue;
            }
            const auto type = static_cast<FieldType>(field + 1);
            auto& column = batch.columns[batch.find_or_add(fmt::format("f{}", field), type)];
            if (is_variable_width(type)) {
                column.append_text(
                    row, std::string(random.next_u64() % 40, static_cast<char>('a' + field)));
            } else {
                column.append_fixed(row, random.next_u64() >> (random.next_u64() % 64));
            }
        }
    }
    batch.finish();
    return batch;
}

ByteBuffer joined(const EncodedBatch& encoded) {
    ByteBuffer bytes;
    for (const auto piece : encoded.pieces()) {
        append_bytes(bytes, piece);
    }
    return bytes;
}

TEST(BatchCodec, RandomBatchesComeBack) {
    const auto* text = std::getenv("MS_TEST_SEED");
    const auto seed = text != nullptr ? std::strtoull(text, nullptr, 10) : 42;
    SCOPED_TRACE(fmt::format("MS_TEST_SEED={}", seed));
    SeededRandom random(seed);
    for (int round = 0; round < 100; ++round) {
        const auto batch = random_batch(random);
        const auto encoded = encode_batch(batch);
        const auto bytes = joined(encoded);
        EXPECT_EQ(bytes.size(), encoded.size_bytes());
        const auto back = decode_batch(bytes);
        ASSERT_TRUE(back) << back.error().message();
        ASSERT_EQ(show(*back), show(batch));
    }
}

TEST(BatchCodec, DamageIsAnErrorOrAnotherBatchNeverACrash) {
    SeededRandom random(3);
    const auto batch = random_batch(random);
    const auto bytes = joined(encode_batch(batch));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        ASSERT_FALSE(decode_batch(Bytes(bytes).first(size))) << size;
    }
    for (std::size_t at = 0; at < bytes.size(); at += 5) {
        for (const unsigned flip : {0x01U, 0x80U, 0xffU}) {
            auto damaged = bytes;
            damaged[at] ^= static_cast<std::byte>(flip);
            if (const auto back = decode_batch(damaged); back) {
                (void)show(*back);
            }
        }
    }
}

TEST(BatchCodec, TheFormatPagesExample) {
    RowBatch batch;
    batch.timestamps = {1000, 1002};
    batch.columns[batch.find_or_add("n", FieldType::kInt64)].append_fixed(0, 7);
    auto& message = batch.columns[batch.find_or_add("m", FieldType::kString)];
    message.append_text(0, "hi");
    message.append_text(1, "you");
    batch.finish();
    std::string hex;
    for (const auto byte : joined(encode_batch(batch))) {
        hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    }
    EXPECT_EQ(hex,
              "4d534232"
              "02000000"
              "02000000"
              "e803000000000000"
              "01"
              "0002"
              "02"
              "01"
              "0100"
              "6e"
              "0100000000000000"
              "0700000000000000"
              "01"
              "00"
              "05"
              "00"
              "0100"
              "6d"
              "0200000000000000"
              "01"
              "0001"
              "6869"
              "796f75");
}

}  // namespace
}  // namespace molesignal
