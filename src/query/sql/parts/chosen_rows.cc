#include "query/sql/parts/chosen_rows.h"

#include <algorithm>
#include <utility>

#include <duckdb/common/multi_file/multi_file_data.hpp>
#include <parquet_file_metadata_cache.hpp>

namespace molesignal {
namespace {

using duckdb_parquet::FileMetaData;

/// Where the rows of a row group begin.
struct GroupPlace {
    std::uint32_t begin = 0;          ///< Among those of the footer that the reader has.
    std::uint32_t begin_in_file = 0;  ///< Among those of the file.
};

/// Hands DuckDB's reader the chosen rows of a file.
class ChosenRows final : public duckdb::DeleteFilter {
public:
    ChosenRows(const RowSet& rows, std::vector<GroupPlace> places)
        : rows_(rows), places_(std::move(places)) {}

    /// A range lies in one row group.
    duckdb::idx_t Filter(duckdb::row_t begin,
                         duckdb::idx_t count,
                         duckdb::SelectionVector& chosen) override {
        static_assert(std::is_same_v<duckdb::sel_t, std::uint32_t>);
        const auto from = static_cast<std::uint32_t>(begin);
        const auto next = std::ranges::upper_bound(places_, from, {}, &GroupPlace::begin);
        const auto& place = *std::prev(next);
        const auto from_in_file = from - place.begin + place.begin_in_file;
        chosen.Initialize(count);
        return rows_.list_between(
            from_in_file, from_in_file + static_cast<std::uint32_t>(count), chosen.data());
    }

private:
    const RowSet& rows_;
    const std::vector<GroupPlace> places_;  ///< Sorted, the first at 0.
};

/// A footer with `groups` of `footer`, in their order.
duckdb::unique_ptr<FileMetaData> with_groups(const FileMetaData& footer,
                                             const std::vector<std::size_t>& groups) {
    auto made = duckdb::make_uniq<FileMetaData>();
    made->version = footer.version;
    made->schema = footer.schema;
    made->num_rows = 0;
    made->row_groups.reserve(groups.size());
    for (const auto group : groups) {
        made->row_groups.push_back(footer.row_groups[group]);
        made->num_rows += footer.row_groups[group].num_rows;
    }
    made->key_value_metadata = footer.key_value_metadata;
    made->created_by = footer.created_by;
    made->column_orders = footer.column_orders;
    made->__isset = footer.__isset;
    return made;
}

}  // namespace

void choose_rows(duckdb::ParquetReader& reader, const RowSet& rows) {
    const auto& footer = *reader.GetFileMetadata();
    std::vector<std::size_t> groups;
    std::vector<GroupPlace> places;
    std::uint32_t begin = 0;
    std::uint32_t begin_in_file = 0;
    for (std::size_t i = 0; i < footer.row_groups.size(); ++i) {
        const auto group_rows = static_cast<std::uint32_t>(footer.row_groups[i].num_rows);
        if (rows.has_between(begin_in_file, begin_in_file + group_rows)) {
            groups.push_back(i);
            places.push_back({.begin = begin, .begin_in_file = begin_in_file});
            begin += group_rows;
        }
        begin_in_file += group_rows;
    }
    if (groups.empty()) {
        throw duckdb::InternalException("a part is read of which no row is chosen");
    }
    if (groups.size() < footer.row_groups.size()) {
        reader.metadata = duckdb::make_shared_ptr<duckdb::ParquetFileMetadataCache>(
            with_groups(footer, groups), reader.GetHandle(), nullptr, reader.metadata->footer_size);
    }
    reader.deletion_filter = duckdb::make_uniq<ChosenRows>(rows, std::move(places));
}

}  // namespace molesignal
