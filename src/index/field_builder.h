#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "common/bytes.h"
#include "index/sidecar_format.h"

namespace molesignal {

/// A field's structures, encoded; the file's offsets are not known yet.
struct BuiltField {
    FieldIndexKind kind = FieldIndexKind::kNone;
    std::uint64_t present_rows = 0;
    std::uint64_t distinct = 0;
    TextShape text;
    HashShape hashes;
    std::vector<std::pair<AreaKind, ByteBuffer>> areas;  ///< By kind.
};

/// Takes the values of one field, row after row. One thread at a time.
class FieldBuilder {
public:
    virtual ~FieldBuilder() = default;
    /// Rows come in ascending order; those that do not come have no value.
    virtual void add(std::uint32_t row, std::string_view value) = 0;
    /// Allocated now.
    virtual std::size_t capacity_bytes() const = 0;
    /// About what finish() allocates beyond that.
    virtual std::size_t finish_bytes() const = 0;
    /// After the last row: whether it wants the same rows once more, from the first.
    virtual bool next_pass() { return false; }
    /// Once, after the last row of the last pass.
    virtual BuiltField finish() = 0;
};

}  // namespace molesignal
