// What the index sidecar of a part costs: bytes of each structure, CPU to build, memory that is
// counted, CPU of each kind of query. Reads rows as loggen writes them and takes them in the order
// of a part.
//
//   loggen --rows 1000000 --seed 1 > logs.ndjson && index_cost logs.ndjson [ROWS_OF_A_PART]
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "index/sidecar_reader.h"
#include "index/sidecar_writer.h"

namespace molesignal {
namespace {

constexpr std::array<std::string_view, 9> kFields = {
    "level", "service", "host", "method", "path", "trace_id", "span_id", "user_id", "message"};
constexpr std::size_t kService = 1;
constexpr std::uint32_t kGroupRows = 32'768;
/// Of 1 M of these rows, as parts are written: docs/decisions/0016-row-groups.md.
constexpr double kParquetBytesPerRow = 48.7;

using Row = std::array<std::string, kFields.size()>;

double cpu_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

Row parse(const std::string& line) {
    Row row;
    for (std::size_t i = 0; i < kFields.size(); ++i) {
        const auto key = "\"" + std::string(kFields[i]) + "\":\"";
        const auto begin = line.find(key) + key.size();
        row[i] = line.substr(begin, line.find('"', begin) - begin);
    }
    return row;
}

/// Newest first, each row group by service: as parts are.
std::vector<Row> read_rows(const char* path) {
    std::vector<Row> rows;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        rows.push_back(parse(line));
    }
    std::ranges::reverse(rows);
    return rows;
}

class MemoryRange final : public RangeReader {
public:
    explicit MemoryRange(const ByteBuffer& file) : file_(file) {}
    std::uint64_t size() const override { return file_.size(); }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        const auto begin = file_.begin() + static_cast<std::ptrdiff_t>(offset);
        return ByteBuffer(begin, begin + static_cast<std::ptrdiff_t>(length));
    }

private:
    const ByteBuffer& file_;
};

struct Part {
    std::vector<Row> rows;
    ByteBuffer sidecar;
    std::int64_t peak_bytes = 0;
    std::array<double, kFields.size()> field_seconds{};
    double finish_seconds = 0;
};

void sort_groups(std::vector<Row>& rows) {
    for (std::size_t begin = 0; begin < rows.size(); begin += kGroupRows) {
        const auto end = std::min(rows.size(), begin + kGroupRows);
        std::vector<std::uint32_t> order;
        for (auto i = begin; i < end; ++i) {
            order.push_back(static_cast<std::uint32_t>(i));
        }
        std::ranges::sort(order, [&](auto a, auto b) {
            return std::tie(rows[a][kService], a) < std::tie(rows[b][kService], b);
        });
        std::vector<Row> sorted;
        for (const auto i : order) {
            sorted.push_back(std::move(rows[i]));
        }
        std::ranges::move(sorted, rows.begin() + static_cast<std::ptrdiff_t>(begin));
    }
}

void build(Part& part) {
    const auto memory = MemoryBudget::make_root("index", "bench", std::int64_t{1} << 40U);
    SidecarWriter writer(
        {.rows = static_cast<std::uint32_t>(part.rows.size()), .all_fields_listed = true}, memory);
    for (std::size_t i = 0; i < kFields.size(); ++i) {
        // In the order of the part, as the caller has them when it has gathered a column.
        std::string texts;
        std::vector<std::size_t> ends;
        for (const auto& row : part.rows) {
            texts += row[i];
            ends.push_back(texts.size());
        }
        const auto begin = cpu_seconds();
        const FieldId id{static_cast<std::int32_t>(i + 1)};
        if (is_text_field_name(kFields[i])) {
            writer.begin_text_field(id);
        } else {
            writer.begin_value_field(id);
        }
        std::size_t at = 0;
        for (std::uint32_t row = 0; row < part.rows.size(); ++row) {
            writer.add(row, std::string_view(texts).substr(at, ends[row] - at));
            at = ends[row];
        }
        if (!writer.end_field()) {
            std::abort();
        }
        part.field_seconds[i] = cpu_seconds() - begin;
    }
    const auto begin = cpu_seconds();
    part.sidecar = *writer.finish();
    part.finish_seconds = cpu_seconds() - begin;
    part.peak_bytes = memory->peak_bytes();
}

const char* area_name(AreaKind kind) {
    switch (kind) {
        case AreaKind::kDictionary:
            return "dictionary";
        case AreaKind::kDictionaryIndex:
            return "dictionary index";
        case AreaKind::kPostings:
            return "postings";
        case AreaKind::kPatternIndex:
            return "pattern index";
        case AreaKind::kHashes:
            return "hashes";
        case AreaKind::kHashIndex:
            return "hash index";
        case AreaKind::kSequences:
            return "sequences";
        case AreaKind::kValues:
            return "values";
    }
    return "";
}

void print_sizes(const Part& part) {
    MemoryRange source(part.sidecar);
    const auto reader = SidecarReader::open(source);
    for (const auto& field : reader->fields()) {
        const auto i = static_cast<std::size_t>(field.id.value - 1);
        std::printf("  %-9s %-6s distinct %8llu bytes %9llu cpu %.3f s",
                    kFields[i].data(),
                    field_index_kind_name(field.kind).data(),
                    static_cast<unsigned long long>(field.distinct),
                    static_cast<unsigned long long>(field.bytes()),
                    part.field_seconds[i]);
        if (field.kind == FieldIndexKind::kText) {
            std::printf(" terms %llu patterns %llu hashed %llu",
                        static_cast<unsigned long long>(field.text.terms),
                        static_cast<unsigned long long>(field.text.patterns),
                        static_cast<unsigned long long>(field.hashes.entries));
        }
        std::printf("\n");
        for (const auto& area : field.areas) {
            if (field.areas.size() > 1) {
                std::printf("    %-16s %9llu\n",
                            area_name(area.kind),
                            static_cast<unsigned long long>(area.bytes));
            }
        }
    }
}

/// Median CPU of a query over all parts, opening each.
void time_query(const std::vector<Part>& parts, const char* name, const IndexQuery& query) {
    std::vector<double> times;
    std::uint64_t rows = 0;
    bool exact = true;
    SidecarReadStats stats;
    std::vector<SidecarReader> readers;
    for (const auto& part : parts) {
        MemoryRange source(part.sidecar);
        readers.push_back(*SidecarReader::open(source));
    }
    for (int round = 0; round < 9; ++round) {
        rows = 0;
        exact = true;
        stats = {};
        const auto begin = cpu_seconds();
        for (std::size_t i = 0; i < parts.size(); ++i) {
            MemoryRange source(parts[i].sidecar);
            const auto selection = readers[i].select(source, query, stats);
            rows += selection->rows.count();
            exact = exact && selection->exact;
        }
        times.push_back(cpu_seconds() - begin);
    }
    std::ranges::sort(times);
    std::printf("  %-28s %7.3f ms  rows %8llu %-7s reads %3llu bytes %8llu\n",
                name,
                times[times.size() / 2] * 1e3,
                static_cast<unsigned long long>(rows),
                exact ? "exact" : "maybe",
                static_cast<unsigned long long>(stats.reads),
                static_cast<unsigned long long>(stats.bytes));
}

void time_open(const std::vector<Part>& parts) {
    const auto begin = cpu_seconds();
    constexpr int kRounds = 20;
    for (int round = 0; round < kRounds; ++round) {
        for (const auto& part : parts) {
            MemoryRange source(part.sidecar);
            if (!SidecarReader::open(source)) {
                std::abort();
            }
        }
    }
    std::printf("  %-28s %7.3f ms\n", "open", (cpu_seconds() - begin) * 1e3 / kRounds);
}

void time_queries(const std::vector<Part>& parts) {
    const FieldId message{9};
    const FieldId level{1};
    const FieldId trace{6};
    const auto& row = parts[0].rows[parts[0].rows.size() / 2];
    time_open(parts);
    time_query(parts, "word: lock (138k rows)", IndexQuery::token(message, "lock"));
    time_query(parts, "word: for (common)", IndexQuery::token(message, "for"));
    time_query(parts, "word: invoice (middle)", IndexQuery::token(message, "invoice"));
    time_query(parts, "word: 3217 (rare)", IndexQuery::token(message, "3217"));
    time_query(parts, "word: absent", IndexQuery::token(message, "nosuchword"));
    time_query(parts, "word: 4815162 (hashed)", IndexQuery::token(message, "4815162"));
    time_query(parts,
               "phrase: connection refused",
               IndexQuery::phrase(message, {"connection", "refused"}));
    time_query(parts,
               "words: failed and invoice",
               IndexQuery::all(
                   {IndexQuery::token(message, "failed"), IndexQuery::token(message, "invoice")}));
    time_query(parts, "prefix: inv*", IndexQuery::prefix(message, "inv"));
    time_query(parts, "prefix: 4*", IndexQuery::prefix(message, "4"));
    time_query(parts, "infix: %uthor%", IndexQuery::contains(message, "uthor", false));
    time_query(parts, "infix: %ircuit break%", IndexQuery::contains(message, "ircuit break", true));
    time_query(parts, "level = error", IndexQuery::equals(level, "error"));
    time_query(parts, "trace_id = (one row)", IndexQuery::equals(trace, row[5]));
    time_query(parts,
               "trace_id = (absent)",
               IndexQuery::equals(trace, "0123456789abcdef0123456789abcdef"));
    time_query(parts, "not failed", IndexQuery::negation(IndexQuery::token(message, "failed")));
}

}  // namespace
}  // namespace molesignal

int main(int argc, char** argv) {
    using namespace molesignal;
    if (argc < 2) {
        std::fputs("usage: index_cost LOGS.ndjson [ROWS_OF_A_PART]\n", stderr);
        return 2;
    }
    auto rows = read_rows(argv[1]);
    const std::size_t part_rows = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 500'000;
    std::vector<Part> parts;
    double seconds = 0;
    std::size_t bytes = 0;
    for (std::size_t begin = 0; begin < rows.size(); begin += part_rows) {
        Part part;
        const auto end = std::min(rows.size(), begin + part_rows);
        std::move(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                  rows.begin() + static_cast<std::ptrdiff_t>(end),
                  std::back_inserter(part.rows));
        sort_groups(part.rows);
        build(part);
        for (const auto each : part.field_seconds) {
            seconds += each;
        }
        seconds += part.finish_seconds;
        bytes += part.sidecar.size();
        std::printf("part of %zu rows: %zu bytes, counted memory at most %.1f MB\n",
                    part.rows.size(),
                    part.sidecar.size(),
                    static_cast<double>(part.peak_bytes) / 1e6);
        print_sizes(part);
        parts.push_back(std::move(part));
    }
    std::printf(
        "%zu rows: %.2f MB, %.1f %% of the Parquet bytes; built in %.2f CPU s\n",
        rows.size(),
        static_cast<double>(bytes) / 1e6,
        static_cast<double>(bytes) / static_cast<double>(rows.size()) / kParquetBytesPerRow * 100,
        seconds);
    time_queries(parts);
    return 0;
}
