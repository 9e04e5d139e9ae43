// The search language: a search has one form, and its SQL passes the guard as one condition.
#include <duckdb.hpp>
#include <duckdb/parser/query_node/select_node.hpp>
#include <duckdb/parser/statement/select_statement.hpp>

#include "fuzz.h"
#include "query/search_condition.h"
#include "query/search_language.h"
#include "query/search_statements.h"
#include "query/sql/guard/sql_guard.h"

namespace molesignal {
namespace {

SearchSchema fuzz_schema() {
    StreamSchema schema;
    std::int32_t id = 1;
    for (const auto& [name, type] : {std::pair{"m", FieldType::kString},
                                     {"message", FieldType::kString},
                                     {"n", FieldType::kInt64},
                                     {"f", FieldType::kFloat64},
                                     {"b", FieldType::kBool},
                                     {"t", FieldType::kTimestamp},
                                     {"r", FieldType::kBytes},
                                     {"q\"'", FieldType::kString}}) {
        schema.variants.push_back({.id = FieldId{id++}, .name = name, .type = type});
    }
    return {StreamSettings{}, schema};
}

Result<TableReplacement> replace_stream(const GuardedTable& table) {
    require(table.schema == "logs" && table.name == "app", "a search names its stream only");
    return TableReplacement{.subquery =
                                "SELECT now() AS _timestamp, 'x' AS message, "
                                "5::SMALLINT AS _timestamp_nanos",
                            .columns = 3,
                            .scanned_columns = 3,
                            .full_text_columns = {"message"}};
}

}  // namespace
}  // namespace molesignal

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const auto search = parse_search(FuzzInput(data, size).rest());
    if (!search) {
        require(!search.error().message().empty(), "a refusal has a reason");
        return 0;
    }
    const auto form = search_text(*search);
    if (form.size() <= kSearchBytesMax) {
        const auto again = parse_search(form);
        require(again && *again == *search, "the form of a search is the same search");
        require(search_text(*again) == form, "a search has one form");
    }
    const auto condition = search_condition(*search, fuzz_schema(), UnixNanos{});
    if (!condition) {
        return 0;
    }
    const auto statement =
        guard_statement(newest_first_statement({.stream = "app", .condition = *condition}, {}, 10),
                        GuardLimits{},
                        replace_stream);
    // Regular expressions are compiled, and their length is bounded, by the guard.
    if (!statement) {
        require(form.find('/') != std::string::npos, "the guard takes what a search becomes");
        return 0;
    }
    const auto& node =
        statement->statement->Cast<duckdb::SelectStatement>().node->Cast<duckdb::SelectNode>();
    require(node.where_clause != nullptr && node.groups.group_expressions.empty(),
            "the condition stays in WHERE");
    require(node.modifiers.size() == 2, "the order and the limit are ours");
    return 0;
}
