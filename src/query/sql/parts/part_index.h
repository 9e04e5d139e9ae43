#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "index/sidecar_reader.h"
#include "metadata/catalogue.h"
#include "query/sql/engine_instance.h"
#include "storage/cache/object_name.h"

namespace molesignal {

/// The index of one part, opened for one query. A large part has several index objects: one for the
/// values of all rows, and some for texts, each for the row groups behind those of the one before.
/// For one thread.
class PartIndex {
public:
    /// Nothing if the part has none, or one that cannot be read; a damaged one is logged. `state`
    /// outlives the index.
    static std::optional<PartIndex> find(InstanceState& state, const PartInfo& part);

    /// Begins to fetch what find() reads of the part, where that takes long: of a remote store.
    static void read_ahead(InstanceState& state, const PartInfo& part);

    /// The rows that answer `query`; where an index turns out to be damaged all, not exactly.
    RowSelection select(const IndexQuery& query);

    /// The values of a field and their rows; nothing: the index does not list them.
    std::optional<std::vector<ValueCount>> value_counts(FieldId field);

private:
    static constexpr std::uint64_t kAnyRows = UINT64_MAX;
    struct Segment {
        ObjectName object;
        std::shared_ptr<const SidecarReader> reader;  ///< Null: not opened yet.
    };
    explicit PartIndex(InstanceState& state) : state_(state) {}
    bool open_one(Segment& segment, std::uint64_t rows_expected);
    bool open_segments();
    RowSelection select_in(const Segment& segment, const IndexQuery& query);
    RowSelection select_in_segments(const IndexQuery& query);
    void note_fields(const IndexQuery& query, bool& in_values, bool& in_texts) const;

    InstanceState& state_;
    std::uint32_t rows_ = 0;         ///< Of the part.
    std::optional<Segment> values_;  ///< Opened at once, if there is one.
    std::vector<Segment> segments_;  ///< Of all fields, or of texts if there are values.
    bool are_segments_bad_ = false;
};

}  // namespace molesignal
