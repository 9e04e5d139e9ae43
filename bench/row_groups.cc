// What row groups cost DuckDB's Parquet reader, by bench/row_groups.py:
//
//   row_groups FILE...
//
// Prints a JSON object for each file: CPU milliseconds, the best of seven runs on one thread, of
// whole scans and of reading all columns of a few rows, which a filter on row numbers selects.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <duckdb.hpp>
#include <duckdb/main/extension/extension_loader.hpp>
#include <fmt/format.h>
#include <parquet_multi_file_info.hpp>

namespace {

/// Row numbers in the file, ascending; nothing is selected by an empty list: all rows are read.
std::vector<duckdb::row_t> selected;

struct Selection final : duckdb::DeleteFilter {
    duckdb::idx_t Filter(duckdb::row_t start,
                         duckdb::idx_t count,
                         duckdb::SelectionVector& selection) override {
        const auto end = start + static_cast<duckdb::row_t>(count);
        auto row = std::ranges::lower_bound(selected, start);
        if (row == selected.end() || *row >= end) {
            return 0;
        }
        selection.Initialize(count);
        duckdb::idx_t found = 0;
        for (; row != selected.end() && *row < end; ++row) {
            selection.set_index(found++, static_cast<duckdb::idx_t>(*row - start));
        }
        return found;
    }
};

class SelectingReader final : public duckdb::MultiFileReader {
public:
    static duckdb::unique_ptr<MultiFileReader> make(const duckdb::TableFunction& function) {
        auto reader = duckdb::make_uniq<SelectingReader>();
        reader->function_name = function.name;
        return reader;
    }
    duckdb::unique_ptr<MultiFileReader> Copy() const override {
        auto reader = duckdb::make_uniq<SelectingReader>();
        reader->function_name = function_name;
        return reader;
    }
    duckdb::ReaderInitializeType InitializeReader(
        duckdb::MultiFileReaderData& data,
        const duckdb::MultiFileBindData& bind_data,
        const duckdb::vector<duckdb::MultiFileColumnDefinition>& columns,
        const duckdb::vector<duckdb::ColumnIndex>& column_ids,
        duckdb::optional_ptr<duckdb::TableFilterSet> filters,
        duckdb::ClientContext& context,
        duckdb::MultiFileGlobalState& state) override {
        if (!selected.empty()) {
            data.reader->deletion_filter = duckdb::make_uniq<Selection>();
        }
        return MultiFileReader::InitializeReader(
            data, bind_data, columns, column_ids, filters, context, state);
    }
};

double cpu_ms() {
    return 1000.0 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

double best_ms(duckdb::Connection& connection, const std::string& statement) {
    constexpr int kRuns = 7;
    double best = 1e9;
    for (int run = 0; run < kRuns; ++run) {
        const auto begin = cpu_ms();
        const auto result = connection.Query(statement);
        best = std::min(best, cpu_ms() - begin);
        if (result->HasError()) {
            std::fprintf(stderr, "%s: %s\n", statement.c_str(), result->GetError().c_str());
            std::exit(1);
        }
    }
    return best;
}

std::vector<duckdb::row_t> every(duckdb::row_t first, duckdb::row_t step, int count) {
    std::vector<duckdb::row_t> rows;
    for (int i = 0; i < count; ++i) {
        rows.push_back(first + i * step);
    }
    return rows;
}

}  // namespace

int main(int argc, char** argv) {
    duckdb::DuckDB database(nullptr);
    duckdb::Connection connection(database);
    connection.context->RunFunctionInTransaction([&] {
        duckdb::ExtensionLoader loader(*database.instance, "bench");
        auto function = duckdb::ParquetScanFunction::GetFunctionSet().functions.at(0);
        function.name = "selecting_scan";
        function.get_multi_file_reader = SelectingReader::make;
        loader.RegisterFunction(function);
    });
    connection.Query("SET threads = 1");
    for (int i = 1; i < argc; ++i) {
        const auto scan = fmt::format("selecting_scan('{}')", argv[i]);
        const auto rows = connection.Query("SELECT count(*) FROM " + scan)
                              ->GetValue(0, 0)
                              .GetValue<duckdb::row_t>();
        std::string line = fmt::format(R"({{"file":"{}")", argv[i]);
        const auto add = [&](const char* name, const std::string& select, const char* rest) {
            line += fmt::format(
                R"(,"{}":{:.2f})", name, best_ms(connection, select + " FROM " + scan + rest));
        };
        add("count", "SELECT count(*)", "");
        add("by level", "SELECT level, count(*)", " GROUP BY 1");
        add("p99 by service", "SELECT service, quantile_cont(duration_us, 0.99)", " GROUP BY 1");
        add("LIKE", "SELECT count(*)", " WHERE message LIKE '%session-sync%'");
        const std::vector<std::pair<const char*, std::vector<duckdb::row_t>>> selections = {
            {"1 row", {rows / 10 * 6}},
            {"100 rows close", every(rows / 2, 10, 100)},
            {"100 rows spread", every(0, rows / 100, 100)},
            {"10,000 rows close", every(rows / 2, 10, 10'000)},
            {"10,000 rows spread", every(0, rows / 10'000, 10'000)}};
        for (const auto& [name, list] : selections) {
            selected = list;
            add(name, "SELECT *", "");
        }
        selected.clear();
        std::printf("%s}\n", line.c_str());
        std::fflush(stdout);
    }
    return 0;
}
