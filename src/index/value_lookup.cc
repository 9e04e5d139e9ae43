#include "index/value_lookup.h"

#include <algorithm>

#include "index/coding.h"
#include "index/tokens.h"

namespace molesignal {
namespace {

Error corrupt(const char* what) {
    return Error(ErrorCode::kCorruption, std::string("index sidecar: ") + what);
}

struct ExactValue {
    std::string_view text;
    std::uint64_t rows = 0;
    std::uint64_t blocks = 0;
    Bytes block_list;
};

Result<std::vector<ExactValue>> read_values(const SidecarDirectory& directory,
                                            const SidecarField& field,
                                            AreaReader& areas) {
    MS_TRY(const auto bytes, areas.read_all(*field.area(AreaKind::kValues)));
    ByteReader in(bytes);
    const auto count = in.varint(kExactValuesMax);
    std::vector<ExactValue> values;
    std::uint64_t all_rows = 0;
    for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
        ExactValue value;
        value.text = in.text(kExactValueBytesMax);
        value.rows = in.varint(directory.rows);
        value.blocks = in.varint(directory.rows);
        value.block_list = in.take(in.varint(UINT32_MAX));
        all_rows += value.rows;
        if (!values.empty() && values.back().text >= value.text) {
            in.fail();
        }
        values.push_back(value);
    }
    if (!in.ok() || in.left() != 0 || all_rows != field.present_rows) {
        return corrupt("the values of a field are not as they are written");
    }
    return values;
}

bool is_ascii(std::string_view text) {
    return std::ranges::all_of(text, [](char byte) { return (byte & 0x80) == 0; });
}

}  // namespace

Result<std::vector<ValueCount>> exact_value_counts(const SidecarDirectory& directory,
                                                   const SidecarField& field,
                                                   AreaReader& areas) {
    MS_TRY(const auto values, read_values(directory, field, areas));
    std::vector<ValueCount> counts;
    counts.reserve(values.size());
    for (const auto& value : values) {
        counts.push_back({std::string(value.text), value.rows});
    }
    return counts;
}

Result<RowSelection> select_exact_values(const SidecarDirectory& directory,
                                         const SidecarField& field,
                                         AreaReader& areas,
                                         const std::function<bool(std::string_view)>& accept) {
    MS_TRY(const auto values, read_values(directory, field, areas));
    const auto rows = directory.rows;
    const auto blocks = (std::uint64_t{rows} + kValueBlockRows - 1) / kValueBlockRows;
    std::vector<bool> chosen(blocks);
    std::uint64_t rows_of_values = 0;
    std::vector<std::uint32_t> list;
    for (const auto& value : values) {
        if (!accept(value.text)) {
            continue;
        }
        list.clear();
        if (!read_ascending(value.block_list, value.blocks, blocks, list)) {
            return corrupt("the blocks of a value are not as they are written");
        }
        for (const auto block : list) {
            chosen[block] = true;
        }
        rows_of_values += value.rows;
    }
    std::vector<RowRange> ranges;
    for (std::uint32_t block = 0; block < blocks; ++block) {
        if (chosen[block]) {
            const auto begin = block * kValueBlockRows;
            ranges.push_back({begin, begin + std::min(kValueBlockRows, rows - begin)});
        }
    }
    auto set = ranges.empty() ? RowSet::none(rows) : RowSet::from_ranges(rows, ranges);
    if (set.count() < rows_of_values) {
        return corrupt("a value has more rows than its blocks");
    }
    const bool exact = set.count() == rows_of_values;
    return RowSelection{std::move(set), exact};
}

bool has_phrase(std::string_view value, std::span<const std::string> tokens, bool last_is_prefix) {
    std::string folded;
    fold_case(value, folded);
    std::size_t begin = 0;
    while (begin < folded.size()) {
        if (!is_token_byte(folded[begin])) {
            ++begin;
            continue;
        }
        auto at = begin;
        bool good = true;
        for (std::size_t i = 0; good && i < tokens.size(); ++i) {
            good = i == 0 || next_token(folded, at);
            const auto end = token_end(folded, at);
            const auto token = std::string_view(folded).substr(at, end - at);
            good = good && (last_is_prefix && i + 1 == tokens.size() ? token.starts_with(tokens[i])
                                                                     : token == tokens[i]);
            at = end;
        }
        if (good) {
            return true;
        }
        begin = token_end(folded, begin);
    }
    return false;
}

bool may_contain(std::string_view value, std::string_view literal, bool ignore_case) {
    if (!ignore_case) {
        return value.find(literal) != std::string_view::npos;
    }
    if (!is_ascii(value) || !is_ascii(literal)) {
        return true;
    }
    std::string folded;
    std::string wanted;
    fold_case(value, folded);
    fold_case(literal, wanted);
    return folded.find(wanted) != std::string::npos;
}

}  // namespace molesignal
