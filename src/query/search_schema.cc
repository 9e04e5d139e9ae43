#include "query/search_schema.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/nearest_name.h"

namespace molesignal {
namespace {

constexpr std::array<std::string_view, 6> kFullText = {
    "body", "message", "msg", "log", "text", "_msg"};

bool equal_without_case(std::string_view left, std::string_view right) {
    const auto lower = [](char character) {
        return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a')
                                                    : character;
    };
    return std::ranges::equal(left, right, {}, lower, lower);
}

}  // namespace

bool is_full_text_field(const StreamSettings& settings, std::string_view name) {
    const auto& chosen = settings.full_text_fields;
    return chosen.empty() ? std::ranges::find(kFullText, name) != kFullText.end()
                          : std::ranges::find(chosen, name) != chosen.end();
}

SearchSchema::SearchSchema(const StreamSettings& settings, const StreamSchema& schema) {
    for (const auto& field : schema.logical_fields()) {
        fields_.push_back({.name = field.name,
                           .column = field.sql_name,
                           .type = field.type,
                           .full_text = is_full_text_field(settings, field.name)});
    }
    for (const auto& [name, type] : {std::pair{kTimestampField, FieldType::kTimestamp},
                                     {kEventIdField, FieldType::kString},
                                     {kExtraField, FieldType::kJson},
                                     {kTimestampNanosField, FieldType::kInt64},
                                     {kShardField, FieldType::kInt64},
                                     {kPositionField, FieldType::kInt64}}) {
        fields_.push_back(
            {.name = std::string(name), .column = std::string(name), .type = type, .own = true});
    }
}

const SearchField* SearchSchema::find_exactly(std::string_view name) const {
    const auto found = std::ranges::find(fields_, name, &SearchField::name);
    return found == fields_.end() ? nullptr : &*found;
}

Result<SearchField> SearchSchema::find(std::string_view name) const {
    if (const auto* field = find_exactly(name)) {
        return *field;
    }
    if (const auto found = std::ranges::find(fields_, name, &SearchField::column);
        found != fields_.end()) {
        return *found;
    }
    if (const auto found = std::ranges::find_if(
            fields_, [&](const auto& field) { return equal_without_case(field.column, name); });
        found != fields_.end()) {
        return *found;
    }
    std::vector<std::string> names;
    names.reserve(fields_.size());
    for (const auto& field : fields_) {
        names.push_back(field.name);
    }
    const auto nearest = nearest_names(name, names);
    constexpr std::size_t kShownBytesMax = 256;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("no field is called '{}'{}",
                             name.substr(0, kShownBytesMax),
                             nearest.empty()
                                 ? std::string()
                                 : fmt::format("; the nearest are {}", fmt::join(nearest, ", "))));
}

bool SearchSchema::has_full_text() const {
    return std::ranges::any_of(fields_, &SearchField::full_text);
}

}  // namespace molesignal
