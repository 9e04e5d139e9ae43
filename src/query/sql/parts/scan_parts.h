#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <duckdb.hpp>
#include <duckdb/common/multi_file/multi_file_list.hpp>

#include "query/sql/engine_instance.h"
#include "query/sql/parts/index_conditions.h"
#include "query/sql/parts/part_pruning.h"

namespace molesignal {

/// A part, and which of its rows a scan reads.
struct ChosenPart {
    const PartInfo* part = nullptr;
    const RowSet* rows = nullptr;  ///< Null: all.
    PartReading reading = PartReading::kUnasked;
    std::int64_t rows_left = 0;  ///< By its index, if that was asked.
    /// Bits: which of PartHistory::kept are true of all these rows.
    std::uint64_t answered = 0;
};

/// What a list has come through to what it is.
struct PartHistory {
    std::int64_t skipped_by_times = 0;
    std::int64_t skipped_by_zone_maps = 0;
    std::int64_t skipped_by_index = 0;
    std::vector<IndexQuery> conditions;  ///< That indexes were asked.
    std::int64_t answered = 0;           ///< Of these, alone.
    /// Filters were taken out: whoever reads the parts must read their chosen rows only.
    bool is_selection_needed = false;
    /// Conditions that remain as filters of the scan, because not every part's index has answered
    /// them. Their column is a BoundReferenceExpression with its number. At most kKeptMax.
    std::vector<std::shared_ptr<const duckdb::Expression>> kept;
    static constexpr std::size_t kKeptMax = 64;
    bool is_unread =
        false;  ///< Nobody looks at what the scan hands on, but for the number of rows.
};

/// The parts of a source that a scan still has to read, newest first, as DuckDB's list of files. It
/// shrinks by the filters that DuckDB pushes into the scan. Immutable. Throws what DuckDB does.
class ScanParts final : public duckdb::MultiFileList {
public:
    using Parts = std::vector<ChosenPart>;

    ScanParts(std::shared_ptr<InstanceState> state,
              std::shared_ptr<const ScanSource> source,
              Parts parts,
              PartHistory history);
    /// All parts of `source`.
    static duckdb::shared_ptr<ScanParts> of(const std::shared_ptr<InstanceState>& state,
                                            std::shared_ptr<const ScanSource> source);

    const ScanSource& source() const { return *source_; }
    const Parts& parts() const { return parts_; }
    const PartHistory& history() const { return history_; }
    /// The same for a plan in which nobody looks at what the scan hands on.
    duckdb::shared_ptr<ScanParts> as_unread() const;
    /// How `parts`, which may be a part of the list's, are read.
    ScanReport report_of(const Parts& parts) const { return report_of(parts, history_); }
    /// Has a few of the next parts' indexes fetched while part `at` is asked.
    void read_indexes_ahead(std::size_t at) const { read_indexes_ahead(parts_, at); }

    /// Those that may hold a row for which all of `filters` are true, with these rows if an index
    /// knows them. A filter that the index has answered for every part is taken out of `filters`.
    duckdb::unique_ptr<MultiFileList> ComplexFilterPushdown(
        duckdb::ClientContext& context,
        const duckdb::MultiFileOptions& options,
        duckdb::MultiFilePushdownInfo& info,
        duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>& filters) override;
    /// The same for what is known when the scan begins: bounds of a join's other side, too.
    duckdb::unique_ptr<MultiFileList> DynamicFilterPushdown(
        duckdb::ClientContext& context,
        const duckdb::MultiFileOptions& options,
        const duckdb::vector<duckdb::string>& names,
        const duckdb::vector<duckdb::LogicalType>& types,
        const duckdb::vector<duckdb::column_t>& columns,
        duckdb::TableFilterSet& filters) const override;

    duckdb::vector<duckdb::OpenFileInfo> GetAllFiles() override;
    duckdb::FileExpandResult GetExpandResult() override;
    duckdb::idx_t GetTotalFileCount() override { return parts_.size(); }
    duckdb::unique_ptr<duckdb::NodeStatistics> GetCardinality(
        duckdb::ClientContext& context) override;
    duckdb::unique_ptr<MultiFileList> Copy() override { return make(parts_, history_); }

protected:
    duckdb::OpenFileInfo GetFile(duckdb::idx_t i) override;

private:
    using Filters = duckdb::vector<duckdb::unique_ptr<duckdb::Expression>>;
    /// A filter that an index can be asked about.
    struct Question {
        std::size_t filter = 0;
        IndexCondition condition;
        bool is_answered = true;        ///< Exactly, for every part so far.
        std::vector<bool> answered_by;  ///< Of the parts that were found.
    };

    duckdb::unique_ptr<MultiFileList> make(Parts parts, PartHistory history) const;
    /// The parts that may hold a row for which all of `filters` are true, by their bounds.
    Parts possible_parts(const ColumnOf& column_of,
                         const Filters& filters,
                         PartHistory& history) const;
    ScanReport report_of(const Parts& parts, const PartHistory& history) const;
    /// What indexes can be asked of `filters`; nothing if it is not worth opening them.
    std::vector<Question> questions_of(const Filters& filters, const ColumnOf& column_of) const;
    /// Drops the parts of `kept` without a row for which all of `filters` are true, as far as their
    /// indexes know; says whether there was something to ask. Filters that they have answered go,
    /// and then the selections are needed.
    bool ask_indexes(duckdb::ClientContext& context,
                     const ColumnOf& column_of,
                     Filters& filters,
                     Parts& kept,
                     PartHistory& history) const;
    void read_indexes_ahead(const Parts& parts, std::size_t at) const;
    /// Drops the parts that packs of ids rule out; returns how many.
    std::int64_t drop_ruled_out(const std::vector<Question>& questions, Parts& kept) const;
    /// The part with the rows that its index leaves of those it had.
    ChosenPart ask_index(const ChosenPart& chosen, std::vector<Question>& questions) const;
    /// Notes in `found` the answers to questions that some parts have answered, others not.
    void keep_answers(const std::vector<Question>& questions,
                      const Filters& filters,
                      const ColumnOf& column_of,
                      Parts& found,
                      PartHistory& history) const;
    /// Takes the filters out that every part has answered; returns how many.
    static std::int64_t drop_answered(const std::vector<Question>& questions, Filters& filters);
    /// A selection of many rows saves nothing when the filter runs all the same. Returns how many
    /// parts are read whole.
    static std::int64_t drop_large_selections(Parts& found);

    std::shared_ptr<InstanceState> state_;
    std::shared_ptr<const ScanSource> source_;
    Parts parts_;
    PartHistory history_;
};

}  // namespace molesignal
