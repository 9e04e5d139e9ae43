// Scripts of tests/scenario/ingest: what each input becomes, row by row.
#include <bit>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/bytes.h"
#include "ingest/json_decoder.h"
#include "ingest/otlp_decoder.h"
#include "tests/support/data_driven.h"
#include "tests/support/test_environment.h"

namespace molesignal {
namespace {

constexpr std::int64_t kNow = 1'790'000'000'000'000'000;

/// %XX is the byte with this number.
std::string unescape(const std::string& text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '%' && at + 2 < text.size()) {
            out.push_back(static_cast<char>(std::stoi(text.substr(at + 1, 2), nullptr, 16)));
            at += 2;
        } else {
            out.push_back(text[at]);
        }
    }
    return out;
}

/// The text with what cannot be seen as %XX; long ones by their size.
std::string show_text(std::string_view text) {
    constexpr std::size_t kShownBytes = 200;
    if (text.size() > kShownBytes) {
        return fmt::format("({} bytes)", text.size());
    }
    std::string out;
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte < 0x20 || byte == 0x7f || byte == '%') {
            out += fmt::format("%{:02x}", byte);
        } else {
            out.push_back(character);
        }
    }
    return out;
}

std::string show_value(const BatchColumn& column, std::uint32_t row) {
    switch (column.type()) {
        case FieldType::kBool:
            return column.fixed(row) != 0 ? "true" : "false";
        case FieldType::kFloat64:
            return fmt::format("{}", std::bit_cast<double>(column.fixed(row)));
        case FieldType::kUint64:
            return std::to_string(column.fixed(row));
        case FieldType::kInt64:
        case FieldType::kTimestamp:
            return std::to_string(static_cast<std::int64_t>(column.fixed(row)));
        case FieldType::kBytes: {
            std::string hex;
            for (const auto byte : as_bytes(column.text(row))) {
                hex += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
            }
            return hex;
        }
        default:
            return show_text(column.text(row));
    }
}

std::string show(const Result<DecodedRows>& decoded) {
    if (!decoded) {
        return fmt::format("refused: {}", decoded.error().message());
    }
    std::string out;
    for (const auto& batch : decoded->batches) {
        for (std::uint32_t row = 0; row < batch.rows(); ++row) {
            const auto time = batch.timestamps[row];
            out += time == kNow ? "now" : fmt::format("{}", time);
            for (const auto& column : batch.columns) {
                if (!column.is_null(row)) {
                    out += fmt::format(" {}:{}={}",
                                       show_text(column.name()),
                                       field_type_name(column.type()),
                                       show_value(column, row));
                }
            }
            out += "\n";
        }
    }
    for (const auto& error : decoded->errors) {
        out += fmt::format("rejected {}: {}\n", error.index, show_text(error.reason));
    }
    if (decoded->repaired_texts > 0) {
        out += fmt::format("repaired {}\n", decoded->repaired_texts);
    }
    if (decoded->unparsed_times > 0) {
        out += fmt::format("unparsed times {}\n", decoded->unparsed_times);
    }
    return out.empty() ? "nothing" : out;
}

std::string run(const DataCommand& command) {
    std::string body;
    for (const auto& line : command.input) {
        body += (body.empty() ? "" : "\n") + unescape(line);
    }
    if (const auto times = command.number("repeat"); times > 0) {
        // `repeat=N` of the part in <…>: for what is long.
        const auto begin = body.find('<');
        const auto end = body.find('>');
        std::string part;
        for (std::int64_t i = 0; i < times; ++i) {
            part += body.substr(begin + 1, end - begin - 1);
        }
        body = body.substr(0, begin) + part + body.substr(end + 1);
    }
    const DecodeLimits limits;
    constexpr std::int64_t kDay = 86'400'000'000'000;
    const DecodeSettings settings{.now_ns = kNow, .time_max_ns = kNow + kDay};
    if (command.name == "otlp-json") {
        return show(decode_otlp_logs_json(body, limits, settings));
    }
    if (command.name == "otlp") {
        return show(decode_otlp_logs(as_bytes(body), limits, settings));
    }
    EXPECT_EQ(command.name, "json") << "unknown command in line " << command.line;
    body.reserve(body.size() + kJsonPaddingBytes);
    return show(decode_json_rows(body, limits, settings));
}

class DecodeScenario : public ::testing::TestWithParam<std::string> {
protected:
    static void TearDownTestSuite() {
        record_figure("bad-rows",
                      "scenario/scripts",
                      fmt::format("{} listed bodies, each with its documented result", cases_),
                      std::nullopt);
    }
    static inline int cases_ = 0;
};

TEST_P(DecodeScenario, Script) {
    const auto count_and_run = [](const DataCommand& command) {
        ++cases_;
        return run(command);
    };
    EXPECT_EQ(run_data_driven(GetParam(), count_and_run), "");
}

INSTANTIATE_TEST_SUITE_P(Files,
                         DecodeScenario,
                         ::testing::ValuesIn(data_driven_files("tests/scenario/ingest")),
                         [](const auto& info) { return fmt::format("{}", info.index); });

}  // namespace
}  // namespace molesignal
