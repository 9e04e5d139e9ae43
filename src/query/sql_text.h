#pragma once

#include <string>
#include <string_view>

namespace molesignal {

/// `name` as a quoted SQL identifier.
std::string quote_identifier(std::string_view name);

/// `text` as a SQL string in quotes.
std::string quote_sql_text(std::string_view text);

}  // namespace molesignal
