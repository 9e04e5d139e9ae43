// The SQL guard: what it lets pass is one SELECT over our own scans.
#include <duckdb.hpp>
#include <duckdb/parser/statement/select_statement.hpp>

#include "fuzz.h"
#include "query/sql/guard/sql_guard.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const auto text = FuzzInput(data, size).rest();
    const auto statement = guard_statement(
        text, {.statement_bytes_max = 4096}, [](const GuardedTable&) -> Result<TableReplacement> {
            return TableReplacement{.subquery =
                                        "SELECT now() AS _timestamp, 1 AS n, 'x' AS message, "
                                        "5::SMALLINT AS _timestamp_nanos",
                                    .columns = 4,
                                    .scanned_columns = 4,
                                    .full_text_columns = {"message"}};
        });
    if (statement) {
        require(statement->statement->type == duckdb::StatementType::SELECT_STATEMENT,
                "only SELECT passes");
    }
    return 0;
}
