#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "metadata/stream_info.h"
#include "model/schema.h"

namespace molesignal {

/// Whether `match_all` and the bare words of a search look into the field: by the stream's
/// settings, else by the built-in list.
bool is_full_text_field(const StreamSettings& settings, std::string_view name);

/// A field as a search sees it.
struct SearchField {
    std::string name;    ///< The sender's.
    std::string column;  ///< Its SQL column.
    FieldType type = FieldType::kString;
    bool full_text = false;
    bool own = false;  ///< A column that every row has, such as `_timestamp`.
};

/// The fields that a search may name: those of a stream's schema and our own. Immutable;
/// thread-safe.
class SearchSchema {
public:
    SearchSchema(const StreamSettings& settings, const StreamSchema& schema);

    /// The sender's name first, then the column's, then the column's without case.
    /// kInvalidArgument names the nearest fields.
    Result<SearchField> find(std::string_view name) const;
    /// Null if no field has exactly this name.
    const SearchField* find_exactly(std::string_view name) const;
    /// Those of the schema in its order, then our own.
    const std::vector<SearchField>& fields() const { return fields_; }
    bool has_full_text() const;

private:
    std::vector<SearchField> fields_;
};

}  // namespace molesignal
