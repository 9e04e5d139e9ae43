// The index sidecar: what is written for some values answers as a look at every value, and bytes
// that are no sidecar, or a damaged one, give an error or the same answers.
#include <algorithm>
#include <optional>
#include <vector>

#include "fuzz.h"
#include "index/sidecar_reader.h"
#include "index/sidecar_writer.h"
#include "index/tokens.h"
#include "index/value_lookup.h"

namespace molesignal {
namespace {

constexpr FieldId kBody{1};
constexpr FieldId kValue{2};

class FuzzRange final : public RangeReader {
public:
    explicit FuzzRange(ByteBuffer file) : file_(std::move(file)) {}
    std::uint64_t size() const override { return file_.size(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        require(offset <= file_.size() && length <= file_.size() - offset,
                "what is read lies in the object");
        const auto begin = file_.begin() + static_cast<std::ptrdiff_t>(offset);
        return ByteBuffer(begin, begin + static_cast<std::ptrdiff_t>(length));
    }

private:
    ByteBuffer file_;
};

using Values = std::vector<std::optional<std::string>>;

/// Values between line ends; an empty one is NULL.
Values values_of(std::string_view text) {
    Values values;
    while (!text.empty() && values.size() < 300) {
        const auto end = std::min(text.find('\n'), text.size());
        if (end == 0) {
            values.emplace_back();
        } else {
            values.emplace_back(text.substr(0, end));
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return values;
}

/// `passes`: that a table of ids takes; fewer for few values.
ByteBuffer write(const Values& values, std::uint32_t passes) {
    SidecarWriter writer({.rows = static_cast<std::uint32_t>(values.size()),
                          .all_fields_listed = true,
                          .pass_rows_max = static_cast<std::uint32_t>(values.size()) / passes + 1},
                         MemoryBudget::make_root("index", "fuzz", std::int64_t{1} << 32U));
    for (const auto field : {kBody, kValue}) {
        if (field == kBody) {
            writer.begin_text_field(field);
        } else {
            writer.begin_value_field(field);
        }
        do {
            for (std::uint32_t row = 0; row < values.size(); ++row) {
                if (values[row]) {
                    writer.add(row, *values[row]);
                }
            }
        } while (writer.next_pass());
        require(writer.end_field().has_value(), "a field is written");
    }
    auto file = writer.finish();
    require(file.has_value(), "a sidecar is written");
    return std::move(*file);
}

bool holds(const IndexQuery& query, const std::optional<std::string>& value) {
    if (!value) {
        return false;
    }
    switch (query.kind) {
        case IndexQuery::Kind::kPhrase:
            return has_phrase(*value, query.texts, query.last_is_prefix);
        case IndexQuery::Kind::kContains:
            return value->find(query.texts[0]) != std::string::npos;
        case IndexQuery::Kind::kEquals:
            return *value == query.texts[0];
        default:
            return true;
    }
}

std::vector<IndexQuery> queries_of(std::string_view probe) {
    std::vector<IndexQuery> queries = {IndexQuery::present(kBody),
                                       IndexQuery::contains(kBody, probe, false),
                                       IndexQuery::equals(kBody, probe),
                                       IndexQuery::equals(kValue, probe),
                                       IndexQuery::contains(kValue, probe, false)};
    std::string folded;
    fold_case(probe, folded);
    auto tokens = tokens_of(folded);
    if (!tokens.empty()) {
        queries.push_back(IndexQuery::prefix(kBody, tokens[0]));
        queries.push_back(IndexQuery::token(kBody, tokens[0]));
        queries.push_back(IndexQuery::phrase(kBody, std::move(tokens)));
    }
    return queries;
}

void check(const RowSelection& selection, const IndexQuery& query, const Values& values) {
    std::vector<std::uint32_t> expected;
    const auto rows = static_cast<std::uint32_t>(values.size());
    for (std::uint32_t row = 0; row < rows; ++row) {
        if (holds(query, values[row])) {
            expected.push_back(row);
        }
    }
    const auto truth = RowSet::from_list(rows, std::move(expected));
    require(selection.rows.intersected(truth) == truth, "no row that answers is missing");
    require(!selection.exact || selection.rows == truth, "an exact answer has no other rows");
}

void run(FuzzInput input) {
    const auto passes = std::uint32_t{input.byte()} % 4 + 1;
    const std::size_t probe_bytes = input.byte() % 40;
    const auto flips = input.byte() % 4;
    std::vector<std::uint32_t> places;
    for (auto i = 0; i < flips; ++i) {
        places.push_back(input.number());
    }
    const auto probe = input.rest().substr(0, probe_bytes);
    const auto text = input.rest().substr(probe.size());
    // The input itself as a sidecar.
    FuzzRange raw(ByteBuffer(input.rest_bytes().begin(), input.rest_bytes().end()));
    (void)SidecarReader::open(raw);

    const auto values = values_of(text);
    auto file = write(values, passes);
    for (const auto place : places) {
        file[place / 8 % file.size()] ^= static_cast<std::byte>(1U << place % 8);
    }
    FuzzRange source(std::move(file));
    const auto reader = SidecarReader::open(source);
    require(reader.has_value() || !places.empty(), "what was written opens");
    SidecarReadStats stats;
    for (const auto& query : queries_of(probe)) {
        if (!reader) {
            break;
        }
        const auto selection = reader->select(source, query, stats);
        require(selection.has_value() || !places.empty(), "what was written answers");
        if (selection) {
            check(*selection, query, values);
        }
    }
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    molesignal::run(molesignal::FuzzInput(data, size));
    return 0;
}
