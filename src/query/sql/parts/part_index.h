#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "index/sidecar_reader.h"
#include "metadata/catalogue.h"
#include "query/sql/engine_instance.h"
#include "storage/cache/object_name.h"

namespace molesignal {

/// The index of one part, opened for one query. A large part has several index objects, each for
/// the row groups behind those of the one before. For one thread.
class PartIndex {
public:
    /// Nothing if the part has none, or one that cannot be read; a damaged one is logged. `state`
    /// outlives the index.
    static std::optional<PartIndex> find(InstanceState& state, const PartInfo& part);

    /// The rows that answer `query`; where an index turns out to be damaged all, not exactly.
    RowSelection select(const IndexQuery& query);

private:
    struct Segment {
        ObjectName object;
        std::shared_ptr<const SidecarReader> reader;
    };
    explicit PartIndex(InstanceState& state) : state_(state) {}
    RowSelection select_in(const Segment& segment, const IndexQuery& query);

    InstanceState& state_;
    std::vector<Segment> segments_;
};

}  // namespace molesignal
