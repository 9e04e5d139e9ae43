#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "common/request_context.h"
#include "index/sidecar_format.h"
#include "metadata/part_info.h"
#include "model/schema.h"
#include "storage/cache/object_reader.h"

namespace molesignal {

/// One structure that the indexes of parts have for a field (docs/formats/index.md).
struct FieldIndexUse {
    std::int64_t parts = 0;
    std::uint64_t distinct = 0;  ///< Values, or tokens of a text; of the part with the most.
    std::uint64_t bytes = 0;     ///< In all of these parts.
};

/// What the indexes of some parts are made of.
struct IndexReport {
    std::int64_t parts = 0;          ///< Looked at.
    std::int64_t parts_without = 0;  ///< Of them: no index, or one that cannot be read.
    std::map<std::string, std::map<FieldIndexKind, FieldIndexUse>> fields;  ///< By name.
};

/// Reads the directories of the parts' indexes, in this order, as queries do. Parts from the first
/// one that the store does not give before `context` ends are left out. `schema` has their
/// fields.
IndexReport report_indexes(const RequestContext& context,
                           ObjectReader& objects,
                           const StreamSchema& schema,
                           std::span<const PartInfo> parts);

}  // namespace molesignal
