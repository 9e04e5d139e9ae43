// The SQL guard: what it lets pass is one SELECT over our own scans.
#include <duckdb.hpp>
#include <duckdb/parser/statement/select_statement.hpp>

#include "fuzz.h"
#include "query/sql/sql_guard.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace molesignal;
    const auto text = FuzzInput(data, size).rest();
    const auto statement = guard_statement(
        text, {.statement_bytes_max = 4096}, [](const GuardedTable&) -> Result<TableReplacement> {
            return TableReplacement{.subquery = "SELECT 1 AS n, 'x' AS message",
                                    .full_text_columns = {"message"}};
        });
    if (statement) {
        require((*statement)->type == duckdb::StatementType::SELECT_STATEMENT,
                "only SELECT passes");
    }
    return 0;
}
