#include "query/sql/parts/parsed_footers.h"

#include <type_traits>
#include <utility>

#include <parquet_file_metadata_cache.hpp>

#include "query/sql/query_error.h"

namespace molesignal {
namespace {

using duckdb::ParquetFileMetadataCache;
using duckdb::ParquetReader;

constexpr std::string_view kScheme = "ms://";

std::size_t bytes_of(const std::string& text) {
    return text.capacity() > 15 ? text.capacity() : 0;
}

/// DuckDB's reader, with the name of the part in what its pages are refused for. The headers of
/// pages have no checksum: one that is damaged may pass our look at it, and be nothing that DuckDB
/// can read.
class PartFile final : public ParquetReader {
public:
    using ParquetReader::ParquetReader;
    bool TryInitializeScan(duckdb::ClientContext& context,
                           duckdb::GlobalTableFunctionState& global,
                           duckdb::LocalTableFunctionState& local) override {
        return named([&] { return ParquetReader::TryInitializeScan(context, global, local); });
    }
    using ParquetReader::Scan;
    void Scan(duckdb::ClientContext& context,
              duckdb::GlobalTableFunctionState& global,
              duckdb::LocalTableFunctionState& local,
              duckdb::DataChunk& chunk) override {
        named([&] { ParquetReader::Scan(context, global, local, chunk); });
    }

private:
    template <class Body>
    std::invoke_result_t<Body> named(const Body& body) const {
        try {
            return body();
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& exception) {
            if (is_of_pages(exception)) {
                throw_damaged(file.path.substr(kScheme.size()),
                              duckdb::ErrorData(exception).RawMessage());
            }
            throw;
        }
    }

    /// Whether it must have been thrown for what is in the file: not for a condition of the
    /// statement, a limit, or our own file system.
    bool is_of_pages(const std::exception& exception) const {
        if (dynamic_cast<const duckdb::Exception*>(&exception) == nullptr) {
            return true;  // Thrift's, and "Out of buffer".
        }
        switch (duckdb::ErrorData(exception).Type()) {
            case duckdb::ExceptionType::INVALID_INPUT:
            case duckdb::ExceptionType::NOT_IMPLEMENTED:
                return filters == nullptr || filters->filters.empty();
            default:
                return false;
        }
    }
};

/// About what a parsed footer takes.
std::size_t bytes_of(const duckdb_parquet::FileMetaData& footer) {
    auto bytes = sizeof footer + footer.schema.capacity() * sizeof(duckdb_parquet::SchemaElement);
    for (const auto& pair : footer.key_value_metadata) {
        bytes += sizeof pair + bytes_of(pair.key) + bytes_of(pair.value);
    }
    for (const auto& group : footer.row_groups) {
        bytes += sizeof group + group.columns.capacity() * sizeof(duckdb_parquet::ColumnChunk);
        for (const auto& column : group.columns) {
            const auto& chunk = column.meta_data;
            const auto& values = chunk.statistics;
            bytes += chunk.encodings.capacity() * sizeof(duckdb_parquet::Encoding::type) +
                     chunk.encoding_stats.capacity() * sizeof(duckdb_parquet::PageEncodingStats) +
                     bytes_of(values.min) + bytes_of(values.max) + bytes_of(values.min_value) +
                     bytes_of(values.max_value);
            for (const auto& name : chunk.path_in_schema) {
                bytes += sizeof name + bytes_of(name);
            }
        }
    }
    return bytes;
}

/// A footer that belongs to no query: made for nobody, so freed for nobody.
struct ParsedFooter {
    duckdb::shared_ptr<ParquetFileMetadataCache> metadata;
    QueryMemory* charged = nullptr;  ///< The query that it counts for, if no cache keeps it.
    std::int64_t bytes = 0;

    ParsedFooter() = default;
    ParsedFooter(const ParsedFooter&) = delete;
    ParsedFooter& operator=(const ParsedFooter&) = delete;
    ~ParsedFooter() {
        const QueryMemory::Scope uncounted(nullptr);
        metadata.reset();
        if (charged != nullptr) {
            charged->release(bytes);
        }
    }
};
using KeptFooter = std::shared_ptr<const ParsedFooter>;

KeptFooter parse(duckdb::ClientContext& context,
                 const duckdb::OpenFileInfo& file,
                 InstanceState& state,
                 const MemoryCache::Key& key) {
    const QueryMemory::Scope uncounted(nullptr);
    auto footer = std::make_shared<ParsedFooter>();
    footer->metadata = ParquetReader(context, file, duckdb::ParquetOptions(context)).metadata;
    const auto bytes = bytes_of(*footer->metadata->metadata);
    auto* const cache = state.reader->memory();
    if (cache != nullptr) {
        cache->keep(key, footer, bytes);
        if (cache->find(key, MemoryCache::Look::kAgain) != nullptr) {
            return footer;
        }
    }
    if (!state.memory->charge(static_cast<std::int64_t>(bytes))) {
        throw duckdb::OutOfMemoryException("no memory for %llu bytes of a footer", bytes);
    }
    footer->charged = state.memory;
    footer->bytes = static_cast<std::int64_t>(bytes);
    return footer;
}

}  // namespace

duckdb::shared_ptr<ParquetReader> open_part_file(duckdb::ClientContext& context,
                                                 const duckdb::OpenFileInfo& file,
                                                 InstanceState& state) {
    const MemoryCache::Key key{
        .object = ObjectHash::of(std::string_view(file.path).substr(kScheme.size())),
        .kind = CachedKind::kParsedFooter};
    KeptFooter footer;
    if (auto* const cache = state.reader->memory(); cache != nullptr) {
        footer = std::static_pointer_cast<const ParsedFooter>(cache->find(key));
    }
    if (footer == nullptr) {
        footer = parse(context, file, state, key);
    } else {
        const MutexLock lock(state.mutex);
        if (state.counters != nullptr) {
            ++state.counters->cache_hits;
        }
    }
    auto* const metadata = footer->metadata.get();
    duckdb::shared_ptr<ParquetFileMetadataCache> shared(
        metadata, [kept = std::move(footer)](ParquetFileMetadataCache*) mutable {
            const QueryMemory::Scope uncounted(nullptr);
            kept = nullptr;
        });
    return duckdb::make_shared_ptr<PartFile>(
        context, file, duckdb::ParquetOptions(context), std::move(shared));
}

}  // namespace molesignal
