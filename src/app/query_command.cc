#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <simdjson.h>

#include "app/commands.h"
#include "app/server_connection.h"
#include "app/text_table.h"
#include "common/time_argument.h"

namespace molesignal {

namespace {

struct QueryOptions {
    ConnectionOptions connection;
    std::string statement;
    std::string search;  ///< Instead of the statement: a text in the search language.
    std::string stream;  ///< Of the search.
    std::string output;  ///< table, json, ndjson or csv; empty: table on a terminal, else ndjson.
    std::string from;
    std::string to;
    std::optional<std::int64_t> limit;
    std::optional<std::int64_t> timeout_ms;
};

Result<std::string> build_body(const QueryOptions& options, UnixNanos now) {
    auto body =
        options.stream.empty()
            ? fmt::format(R"({{"language":"sql","statement":{})", quote_json(options.statement))
            : fmt::format(R"({{"language":"search","stream":{},"statement":{})",
                          quote_json(options.stream),
                          quote_json(options.search));
    if (!options.from.empty() || !options.to.empty()) {
        MS_TRY(const auto start,
               parse_time_argument(options.from.empty() ? "0" : options.from, now));
        MS_TRY(const auto end, parse_time_argument(options.to.empty() ? "now" : options.to, now));
        if (start > end) {
            return Error(ErrorCode::kInvalidArgument, "--from must not be later than --to");
        }
        body += fmt::format(R"(,"time_range":{{"start":{},"end":{}}})", start, end);
    }
    if (options.limit) {
        body += fmt::format(R"(,"limit":{})", *options.limit);
    }
    if (options.timeout_ms) {
        body += fmt::format(R"(,"timeout_ms":{})", *options.timeout_ms);
    }
    return body + "}";
}

TextTable::Cell cell_of(simdjson::dom::element value) {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS) {
        return {std::string(text), false};
    }
    return {value.is_null() ? std::string() : simdjson::minify(value), value.is_number()};
}

/// One row is an array of values, or an object by column name.
std::vector<TextTable::Cell> cells_of(simdjson::dom::element row,
                                      const std::vector<std::string>& columns) {
    std::vector<TextTable::Cell> cells;
    simdjson::dom::array values;
    if (row.get(values) == simdjson::SUCCESS) {
        for (const auto value : values) {
            cells.push_back(cell_of(value));
        }
    } else {
        for (const auto& column : columns) {
            simdjson::dom::element value;
            cells.push_back(row[column].get(value) == simdjson::SUCCESS ? cell_of(value)
                                                                        : TextTable::Cell{});
        }
    }
    cells.resize(columns.size());
    return cells;
}

/// Prints the answer as a table, or as it came, and its statistics and warnings as messages.
Result<ExitCode> print_answer(CommandContext& context, const std::string& body, bool as_table) {
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    simdjson::dom::array names;
    simdjson::dom::array rows;
    if (parser.parse(body).get(document) != simdjson::SUCCESS ||
        document["columns"].get(names) != simdjson::SUCCESS ||
        document["rows"].get(rows) != simdjson::SUCCESS) {
        return Error(ErrorCode::kInternal, "the server's answer is not a query result");
    }
    std::size_t count = 0;
    if (as_table) {
        std::vector<std::string> columns;
        for (const auto name : names) {
            std::string_view text;
            columns.emplace_back(name.get(text) == simdjson::SUCCESS ? std::string(text)
                                                                     : simdjson::minify(name));
        }
        TextTable table(columns);
        for (const auto row : rows) {
            table.add(cells_of(row, columns));
            ++count;
        }
        MS_TRY_VOID(context.print(table.render()));
    } else {
        MS_TRY_VOID(context.print(body));
        if (!body.ends_with('\n')) {
            MS_TRY_VOID(context.print("\n"));
        }
    }
    std::int64_t took_ms = 0;
    if (as_table && context.is_stderr_terminal &&
        document["stats"]["took_ms"].get(took_ms) == simdjson::SUCCESS) {
        context.note(fmt::format("{} rows, {} ms", count, took_ms));
    }
    simdjson::dom::array warnings;
    if (document["warnings"].get(warnings) == simdjson::SUCCESS) {
        for (const auto warning : warnings) {
            context.note(escape_for_terminal("warning: " + cell_of(warning).text));
        }
    }
    bool is_partial = false;
    static_cast<void>(document["partial"].get(is_partial));
    return is_partial ? ExitCode::kPartial : ExitCode::kOk;
}

Result<ExitCode> run_query(CommandContext& context, QueryOptions& options) {
    if (options.output.empty()) {
        options.output = context.is_stdout_terminal ? "table" : "ndjson";
    }
    if (options.statement.empty() && options.stream.empty()) {
        context.complain("STATEMENT is required, or --search TEXT --stream NAME");
        return ExitCode::kUsage;
    }
    MS_TRY(const auto body, build_body(options, context.clock.now()));
    ServerConnection server(context, options.connection);
    ServerConnection::Request request{.method = "POST", .path = "/api/v1/query", .body = body};
    const bool is_streamed = options.output == "ndjson" || options.output == "csv";
    if (is_streamed) {
        request.accept = options.output == "csv" ? "text/csv" : "application/x-ndjson";
    }
    context.catch_interrupts();
    auto answer =
        is_streamed
            ? server.stream(request, [&](std::string_view chunk) { return context.print(chunk); })
            : server.send(request);
    if (!answer.has_value()) {
        return std::move(answer).error();
    }
    if (answer->status / 100 != 2) {
        context.complain(escape_for_terminal(describe_answer(*answer)));
        return answer->status == 400 ? ExitCode::kUsage : exit_code_of_status(answer->status);
    }
    if (is_streamed) {
        return ExitCode::kOk;
    }
    return print_answer(context, answer->body, options.output == "table");
}

}  // namespace

void register_query_command(CLI::App& app, CommandContext& context) {
    auto* command = app.add_subcommand(
        "query",
        "Run a query and print its rows\n\nExamples:\n"
        "  molesignal query 'SELECT * FROM logs.app ORDER BY _timestamp DESC LIMIT 20'\n"
        "  molesignal query --from -15m 'SELECT level, count(*) FROM logs.app GROUP BY level'\n"
        "  molesignal query -o csv --from 2025-03-01 --to 2025-03-02 'SELECT * FROM logs.app' > "
        "day.csv\n"
        "  molesignal query --stream app --search 'error service:checkout -timeout'\n");
    auto options = std::make_shared<QueryOptions>();
    auto* statement = command->add_option("STATEMENT", options->statement, "One SELECT statement")
                          ->type_name("SQL");
    auto* search =
        command
            ->add_option("--search", options->search, "Instead: words and fields (docs/search.md)")
            ->type_name("TEXT")
            ->excludes(statement);
    auto* stream = command->add_option("--stream", options->stream, "The stream to search")
                       ->type_name("NAME")
                       ->needs(search);
    search->needs(stream);
    command
        ->add_option("-o,--output", options->output, "By default table on a terminal, else ndjson")
        ->check(CLI::IsMember({"table", "json", "ndjson", "csv"}))
        ->type_name("FORM");
    command->add_option("--from", options->from, "Earliest time: -15m, 2025-03-01T12:00:00Z, …")
        ->type_name("TIME");
    command->add_option("--to", options->to, "Latest time, not included; default now")
        ->type_name("TIME");
    command->add_option("--limit", options->limit, "Rows at most")
        ->check(CLI::PositiveNumber)
        ->type_name("ROWS");
    command->add_option("--timeout-ms", options->timeout_ms, "Give up after this time")
        ->check(CLI::PositiveNumber)
        ->type_name("MS");
    add_connection_options(*command, options->connection);
    command->callback([&context, options] {
        context.run = [&context, options] {
            auto done = run_query(context, *options);
            return done.has_value() ? *done : context.fail(done.error());
        };
    });
}

}  // namespace molesignal
