#pragma once

#include <optional>
#include <string>

#include "index/sidecar_reader.h"
#include "metadata/catalogue.h"
#include "query/sql/engine_instance.h"

namespace molesignal {

/// The index of one part, opened for one query. For one thread.
class PartIndex {
public:
    /// Nothing if the part has none, or it cannot be read; a damaged one is logged. `state`
    /// outlives the index.
    static std::optional<PartIndex> find(InstanceState& state, const PartInfo& part);

    /// The rows that answer `query`; all, not exactly, if the index turns out to be damaged.
    RowSelection select(const IndexQuery& query);

private:
    PartIndex(InstanceState& state, const PartObject& object, SidecarReader reader);

    InstanceState& state_;
    std::string key_;
    std::uint64_t bytes_;
    SidecarReader reader_;
};

}  // namespace molesignal
