#pragma once

#include <string>

#include "common/clock.h"
#include "common/result.h"
#include "query/search_language.h"
#include "query/search_schema.h"

namespace molesignal {

/// The search as a SQL condition over the stream's columns, for a statement whose FROM is that
/// stream alone. Every name is a quoted identifier of the schema, every value a literal. A negation
/// holds where its condition does not: also for rows without the field.
///
/// kInvalidArgument: an unknown field (with the nearest names), a value that is not of the field's
/// type, words where the stream has no full-text field, a text without a word. `now`: for relative
/// times. Thread-safe.
Result<std::string> search_condition(const SearchNode& search,
                                     const SearchSchema& schema,
                                     UnixNanos now);

/// The SQL of a field's value as text: of a type that has one.
std::string field_as_text(const SearchField& field);

}  // namespace molesignal
