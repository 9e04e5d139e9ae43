#include "query/sql_text.h"

namespace molesignal {
namespace {

std::string quoted(std::string_view text, char quote) {
    std::string out(1, quote);
    for (const char character : text) {
        out.append(character == quote ? 2 : 1, character);
    }
    out.push_back(quote);
    return out;
}

}  // namespace

std::string quote_identifier(std::string_view name) {
    return quoted(name, '"');
}

std::string quote_sql_text(std::string_view text) {
    return quoted(text, '\'');
}

}  // namespace molesignal
