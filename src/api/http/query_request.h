#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "api/http/route_table.h"
#include "api/json_value.h"
#include "api/services.h"

namespace molesignal {

inline constexpr std::size_t kQueryBodyBytesMax = 256U << 10U;

/// What the bodies of all queries share: `query_id`, `time_range`, `timeout_ms`; the server's
/// limits and the caller's organisation. The statement is the caller's to add. kInvalidArgument.
Result<SqlQuery> parse_query_members(const JsonObject& body, ApiCall& call, ApiServices& services);

/// The stream that `stream` names, by its name or by `{"name", "stream_type"}`; nothing if the
/// member is missing. kNotFound: there is no such stream; names the nearest.
Result<std::optional<StreamInfo>> find_stream_member(const JsonObject& body,
                                                     ApiCall& call,
                                                     ApiServices& services);

/// Appends a JSON array of strings.
void append_json_texts(std::string& out, const std::vector<std::string>& texts);

/// Appends the members `stats`, `partial` and `warnings` of an answer.
void append_query_end(std::string& out,
                      const SqlStats& stats,
                      bool partial,
                      const std::vector<std::string>& warnings);

}  // namespace molesignal
