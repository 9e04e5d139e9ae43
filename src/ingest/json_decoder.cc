#include "ingest/json_decoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <simdjson.h>

#include "common/assert.h"
#include "ingest/batch_builder.h"
#include "ingest/json_number.h"
#include "ingest/json_repair.h"
#include "ingest/timestamp_parser.h"

namespace molesignal {
namespace {

namespace ondemand = simdjson::ondemand;
static_assert(kJsonPaddingBytes >= simdjson::SIMDJSON_PADDING);

/// Fields that may hold a row's time, the first that parses wins.
constexpr std::array<std::string_view, 5> kTimeFields = {
    "_timestamp", "@timestamp", "timestamp", "time", "_time"};
constexpr std::size_t kLineBytesMax = 4U << 20U;
/// Longer reals are parsed by the standard library: simdjson 3.0's on-demand parser returns wrong
/// values for 20 digits and more (0.33333333333333333333 becomes 0.1488…).
constexpr std::size_t kDigitsMax = 18;

bool is_space(char character) {
    return character == ' ' || character == '\n' || character == '\r' || character == '\t';
}

/// A value that is not an object or array.
struct Scalar {
    FieldType type = FieldType::kString;
    bool is_null = false;
    std::uint64_t bits = 0;
    std::string_view text;
};

class JsonRows {
public:
    JsonRows(const DecodeLimits& limits, const DecodeSettings& settings)
        : limits_(limits), settings_(settings), builder_(limits, settings) {}

    Result<DecodedRows> run(std::string_view body, std::size_t capacity) {
        const auto begin =
            body.substr(0, 3) == "\xef\xbb\xbf" ? 3 : 0;  // A byte order mark is skipped.
        const auto* first = std::find_if_not(body.begin() + begin, body.end(), is_space);
        const auto offset = static_cast<std::size_t>(first - body.begin());
        if (first != body.end()) {
            if (*first == '[') {
                read_array(body.substr(offset), capacity - offset);
            } else if (is_one_document(body.substr(offset))) {
                read_row(body.substr(offset), capacity - offset);
            } else {
                read_lines(body, offset, capacity);
            }
        }
        if (index_ > limits_.rows_max) {
            return Error(ErrorCode::kTooLarge,
                         fmt::format("the request has more than {} rows "
                                     "(ingester.rows_per_request_max); send fewer at once",
                                     limits_.rows_max));
        }
        MS_TRY_VOID(builder_.finish(out_));
        return std::move(out_);
    }

private:
    /// Whether the body is one object over several lines rather than an object a line.
    static bool is_one_document(std::string_view body) {
        auto line = body.substr(0, body.find('\n'));
        while (!line.empty() && is_space(line.back())) {
            line.remove_suffix(1);
        }
        return line.size() < body.size() && !line.empty() && line.back() != '}' &&
               body.find("\n{") == std::string_view::npos;
    }

    /// Whether anything but space follows the value that was read.
    static bool has_more(ondemand::document& document) {
        const char* where = nullptr;
        return document.current_location().get(where) == simdjson::SUCCESS;
    }

    void read_lines(std::string_view body, std::size_t at, std::size_t capacity) {
        while (at < body.size() && index_ <= limits_.rows_max && !builder_.failed()) {
            const auto* found =
                static_cast<const char*>(std::memchr(body.data() + at, '\n', body.size() - at));
            const auto end =
                found == nullptr ? body.size() : static_cast<std::size_t>(found - body.data());
            auto line = body.substr(at, end - at);
            while (!line.empty() && is_space(line.back())) {
                line.remove_suffix(1);
            }
            if (!line.empty()) {
                read_row(line, capacity - at);
            }
            at = end + 1;
        }
    }

    void read_array(std::string_view body, std::size_t capacity) {
        if (needs_repair(body, capacity)) {
            ++out_.repaired_texts;
            auto repaired = repair_json(body);
            repaired.reserve(repaired.size() + kJsonPaddingBytes);
            read_valid_array(repaired, repaired.capacity());
            return;
        }
        read_valid_array(body, capacity);
    }

    /// Whether the text has bytes that make simdjson refuse it as a whole, before it looks at
    /// values.
    bool needs_repair(std::string_view text, std::size_t capacity) {
        ondemand::document document;
        const auto error = parser_.iterate(text.data(), text.size(), capacity).get(document);
        return error == simdjson::UTF8_ERROR || error == simdjson::UNESCAPED_CHARS;
    }

    void read_valid_array(std::string_view body, std::size_t capacity) {
        ondemand::document document;
        ondemand::array array;
        auto error = parser_.iterate(body.data(), body.size(), capacity).get(document);
        if (error == simdjson::SUCCESS) {
            error = document.get_array().get(array);
        }
        if (error != simdjson::SUCCESS) {
            refuse(RejectReason::kMalformed, simdjson::error_message(error));
            return;
        }
        for (auto element : array) {
            ondemand::value value;
            error = element.get(value);
            if (error == simdjson::SUCCESS) {
                ondemand::object object;
                if (value.get_object().get(object) != simdjson::SUCCESS) {
                    refuse(RejectReason::kMalformed, "is not an object");
                    continue;
                }
                const auto* begin = location(document);
                error = read_fields_of_row(object);
                if (error == simdjson::SUCCESS) {
                    end_array_row(static_cast<std::size_t>(location(document) - begin));
                }
            }
            if (error != simdjson::SUCCESS) {
                // Where a row ends is not known any more: what follows cannot be told apart.
                const char* where = nullptr;
                const auto offset = document.current_location().get(where) == simdjson::SUCCESS
                                        ? where - body.data()
                                        : -1;
                builder_.undo_row();
                refuse(RejectReason::kMalformed,
                       fmt::format("{} near byte {}; this row and all after it are not stored",
                                   simdjson::error_message(error),
                                   offset));
                return;
            }
            if (index_ > limits_.rows_max || builder_.failed()) {
                return;
            }
        }
        if (has_more(document)) {
            refuse(RejectReason::kMalformed, "there is text after the array's end");
        }
    }

    /// Where reading is in the text; its end once it is exhausted.
    static const char* location(ondemand::document& document) {
        const char* where = nullptr;
        return document.current_location().get(where) == simdjson::SUCCESS ? where : nullptr;
    }

    /// Ends a row of an array, of which `bytes` were read.
    void end_array_row(std::size_t bytes) {
        if (bytes > limits_.row_bytes_max) {
            builder_.undo_row();
            refuse_large(bytes);
            return;
        }
        builder_.end_row(index_++, take_time(), out_);
    }

    void refuse_large(std::size_t bytes) {
        refuse(RejectReason::kTooLarge,
               fmt::format("has {} bytes, the limit is {} (ingester.row_bytes_max)",
                           bytes,
                           limits_.row_bytes_max));
    }

    /// One object in a text of its own.
    void read_row(std::string_view text, std::size_t capacity) {
        if (text.size() > limits_.row_bytes_max) {
            refuse_large(text.size());
            return;
        }
        auto error = read_fields_of_text(text, capacity);
        if (error == simdjson::UTF8_ERROR || error == simdjson::UNESCAPED_CHARS ||
            error == simdjson::STRING_ERROR) {
            // A character cut in two or a bare line break is no reason to lose the row.
            builder_.undo_row();
            auto repaired = repair_json(text);
            repaired.reserve(repaired.size() + kJsonPaddingBytes);
            error = read_fields_of_text(repaired, repaired.capacity());
            out_.repaired_texts += error == simdjson::SUCCESS ? 1 : 0;
        }
        if (error == simdjson::SUCCESS) {
            builder_.end_row(index_++, take_time(), out_);
            return;
        }
        builder_.undo_row();
        refuse(RejectReason::kMalformed,
               error == simdjson::INCORRECT_TYPE ? "is not an object"
                                                 : simdjson::error_message(error));
    }

    /// Reads the fields of the one object that is the text.
    simdjson::error_code read_fields_of_text(std::string_view text, std::size_t capacity) {
        ondemand::document document;
        ondemand::object object;
        auto error =
            parser_
                .iterate(text.data(), text.size(), std::min(capacity, text.size() + kLineBytesMax))
                .get(document);
        if (error == simdjson::SUCCESS) {
            error = document.get_object().get(object);
        }
        if (error == simdjson::SUCCESS) {
            error = read_fields_of_row(object);
        }
        return error == simdjson::SUCCESS && has_more(document) ? simdjson::TRAILING_CONTENT
                                                                : error;
    }

    /// Reads the fields of a row; the caller ends or undoes it.
    simdjson::error_code read_fields_of_row(ondemand::object object) {
        for (auto& time : times_) {
            time.present = false;
        }
        prefix_.clear();
        return read_fields(object, 0);
    }

    simdjson::error_code read_fields(ondemand::object object, std::size_t depth) {
        const auto prefix_bytes = prefix_.size();
        for (auto field : object) {
            ondemand::value value;
            if (const auto error = field.error(); error != simdjson::SUCCESS) {
                return error;
            }
            const char* raw = field.key().value_unsafe().raw();
            std::size_t name_bytes = 0;
            BatchBuilder::Entry* entry = nullptr;
            std::string_view name;
            if (depth == 0) {
                // At least the padding follows, so that the comparison cannot leave the buffer.
                entry = builder_.guess(raw, simdjson::SIMDJSON_PADDING, name_bytes);
            }
            if (entry == nullptr) {
                if (const auto error = field.unescaped_key().get(name);
                    error != simdjson::SUCCESS) {
                    return error;
                }
            } else {
                name = entry->name;
            }
            value = field.value().value_unsafe();
            if (depth == 0 && is_time_candidate(name)) {
                if (const auto error = note_time(name, value); error != simdjson::SUCCESS) {
                    return error;
                }
                continue;
            }
            if (prefix_bytes > 0) {
                prefix_.resize(prefix_bytes);
                prefix_ += name;
                name = prefix_;
            }
            if (const auto error = read_value(entry, name, value, depth);
                error != simdjson::SUCCESS) {
                return error;
            }
        }
        prefix_.resize(prefix_bytes);
        return simdjson::SUCCESS;
    }

    simdjson::error_code read_value(BatchBuilder::Entry* entry,
                                    std::string_view name,
                                    ondemand::value value,
                                    std::size_t depth) {
        ondemand::json_type type{};
        if (const auto error = value.type().get(type); error != simdjson::SUCCESS) {
            return error;
        }
        // A path that is too long for a column is cut here: its members would each repeat it.
        if (type == ondemand::json_type::object && depth + 1 < limits_.depth_max &&
            name.size() < limits_.name_bytes_max) {
            ondemand::object object;
            if (const auto error = value.get_object().get(object); error != simdjson::SUCCESS) {
                return error;
            }
            if (prefix_.data() != name.data()) {
                prefix_.assign(name);
            }
            const auto keep = prefix_.size();
            prefix_.push_back('.');
            const auto error = read_fields(object, depth + 1);
            prefix_.resize(keep);
            return error;
        }
        if (type == ondemand::json_type::object || type == ondemand::json_type::array) {
            std::string_view text;
            if (const auto error = simdjson::to_json_string(value).get(text);
                error != simdjson::SUCCESS) {
                return error;
            }
            // What was skipped over is not checked yet: it is kept as text and must be JSON. The
            // rest of the body, at least its padding, follows it.
            if (const auto error = nested_.parse(text.data(), text.size(), false).error();
                error != simdjson::SUCCESS) {
                return error;
            }
            add_text(entry, name, FieldType::kJson, text);
            return simdjson::SUCCESS;
        }
        Scalar scalar;
        if (const auto error = read_scalar(value, type, scalar); error != simdjson::SUCCESS) {
            return error;
        }
        add_scalar(entry, name, scalar);
        return simdjson::SUCCESS;
    }

    void add_text(BatchBuilder::Entry* entry,
                  std::string_view name,
                  FieldType type,
                  std::string_view text) {
        entry != nullptr ? builder_.add_text(*entry, type, text)
                         : builder_.add_text(name, type, text);
    }

    void add_scalar(BatchBuilder::Entry* entry, std::string_view name, const Scalar& scalar) {
        if (scalar.is_null) {
            return;
        }
        if (is_variable_width(scalar.type)) {
            add_text(entry, name, scalar.type, scalar.text);
        } else if (entry != nullptr) {
            builder_.add_fixed(*entry, scalar.type, scalar.bits);
        } else {
            builder_.add_fixed(name, scalar.type, scalar.bits);
        }
    }

    static simdjson::error_code read_scalar(ondemand::value value,
                                            ondemand::json_type type,
                                            Scalar& scalar) {
        switch (type) {
            case ondemand::json_type::string:
                scalar.type = FieldType::kString;
                return value.get_string().get(scalar.text);
            case ondemand::json_type::boolean: {
                bool flag = false;
                const auto error = value.get_bool().get(flag);
                scalar.type = FieldType::kBool;
                scalar.bits = flag ? 1 : 0;
                // simdjson calls a word that only begins like true or false another type.
                return error == simdjson::INCORRECT_TYPE ? simdjson::T_ATOM_ERROR : error;
            }
            case ondemand::json_type::null: {
                // "null" may also be a word that only begins like it.
                const auto error = value.is_null().get(scalar.is_null);
                return error != simdjson::SUCCESS || !scalar.is_null ? simdjson::N_ATOM_ERROR
                                                                     : simdjson::SUCCESS;
            }
            case ondemand::json_type::number:
                return read_number(value, scalar);
            default:
                return simdjson::INCORRECT_TYPE;
        }
    }

    static simdjson::error_code read_number(ondemand::value value, Scalar& scalar) {
        auto token = value.raw_json_token();
        while (!token.empty() && is_space(token.back())) {
            token.remove_suffix(1);
        }
        if (token.size() > kDigitsMax && token.find_first_of(".eE") != std::string_view::npos) {
            return read_real(token, scalar);
        }
        ondemand::number number;
        if (const auto error = value.get_number().get(number); error != simdjson::SUCCESS) {
            return keep_digits(token, scalar);
        }
        switch (number.get_number_type()) {
            case ondemand::number_type::signed_integer:
                scalar.type = FieldType::kInt64;
                scalar.bits = static_cast<std::uint64_t>(number.get_int64());
                break;
            case ondemand::number_type::unsigned_integer:
                scalar.type = FieldType::kUint64;
                scalar.bits = number.get_uint64();
                break;
            case ondemand::number_type::floating_point_number:
                scalar.type = FieldType::kFloat64;
                scalar.bits = std::bit_cast<std::uint64_t>(number.get_double());
                if (number.get_double() == 0) {
                    return read_real(token, scalar);
                }
                break;
        }
        return simdjson::SUCCESS;
    }

    static simdjson::error_code read_real(std::string_view token, Scalar& scalar) {
        const auto value = is_json_number(token) ? double_of_json(token) : std::nullopt;
        if (!value.has_value()) {
            return keep_digits(token, scalar);
        }
        scalar.type = FieldType::kFloat64;
        scalar.bits = std::bit_cast<std::uint64_t>(*value);
        return simdjson::SUCCESS;
    }

    /// Integers beyond 64 bits and reals beyond double keep their digits as text.
    static simdjson::error_code keep_digits(std::string_view token, Scalar& scalar) {
        if (!is_json_number(token)) {
            return simdjson::NUMBER_ERROR;
        }
        scalar.type = FieldType::kString;
        scalar.text = token;
        return simdjson::SUCCESS;
    }

    static bool is_time_candidate(std::string_view name) {
        if (name.empty() || name.size() > 10 ||
            (name[0] != '_' && name[0] != '@' && name[0] != 't')) {
            return false;
        }
        return std::ranges::find(kTimeFields, name) != kTimeFields.end();
    }

    simdjson::error_code note_time(std::string_view name, ondemand::value value) {
        auto& time = times_[static_cast<std::size_t>(std::ranges::find(kTimeFields, name) -
                                                     kTimeFields.begin())];
        ondemand::json_type type{};
        if (const auto error = value.type().get(type); error != simdjson::SUCCESS) {
            return error;
        }
        if (type == ondemand::json_type::object || type == ondemand::json_type::array) {
            return read_value(nullptr, name, value, 0);
        }
        Scalar scalar;
        if (const auto error = read_scalar(value, type, scalar); error != simdjson::SUCCESS) {
            return error;
        }
        if (scalar.is_null) {
            time.present = false;
            return simdjson::SUCCESS;
        }
        time.present = true;
        time.type = scalar.type;
        time.bits = scalar.bits;
        time.text.assign(scalar.text);
        return simdjson::SUCCESS;
    }

    /// The row's time; what was not used of the candidates becomes ordinary fields.
    std::int64_t take_time() {
        std::optional<std::int64_t> result;
        bool any = false;
        for (std::size_t i = 0; i < kTimeFields.size(); ++i) {
            auto& time = times_[i];
            if (!time.present) {
                continue;
            }
            any = true;
            if (!result.has_value()) {
                result = parse_time(time);
                if (result.has_value()) {
                    continue;
                }
            }
            Scalar scalar{
                .type = time.type, .is_null = false, .bits = time.bits, .text = time.text};
            add_scalar(nullptr, kTimeFields[i], scalar);
        }
        if (any && !result.has_value()) {
            ++out_.unparsed_times;
        }
        return result.value_or(settings_.now_ns);
    }

    struct TimeCandidate {
        bool present = false;
        FieldType type = FieldType::kInt64;
        std::uint64_t bits = 0;
        std::string text;
    };
    static std::optional<std::int64_t> parse_time(const TimeCandidate& time) {
        switch (time.type) {
            case FieldType::kInt64:
                return time_from_integer(static_cast<std::int64_t>(time.bits));
            case FieldType::kFloat64:
                return time_from_real(std::bit_cast<double>(time.bits));
            case FieldType::kString:
                return time_from_text(time.text);
            default:
                return std::nullopt;
        }
    }

    void refuse(RejectReason reason, std::string text) {
        out_.reject(index_++, reason, std::move(text), limits_.errors_max);
    }

    const DecodeLimits& limits_;
    const DecodeSettings& settings_;
    BatchBuilder builder_;
    DecodedRows out_;
    ondemand::parser parser_;
    simdjson::dom::parser nested_;
    std::array<TimeCandidate, kTimeFields.size()> times_;
    std::string prefix_;
    std::uint64_t index_ = 0;
};

}  // namespace

Result<DecodedRows> decode_json_rows(const std::string& body,
                                     const DecodeLimits& limits,
                                     const DecodeSettings& settings) {
    MS_ASSERT(body.capacity() - body.size() >= kJsonPaddingBytes);
    JsonRows rows(limits, settings);
    return rows.run(body, body.capacity());
}

}  // namespace molesignal
