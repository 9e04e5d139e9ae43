#include "query/sql/query_error.h"

#include <algorithm>

#include <duckdb.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/log.h"
#include "common/nearest_name.h"
#include "query/sql/query_memory.h"
#include "query/sql/scan_source.h"

namespace molesignal {
namespace {

/// The reason of the context if it has ended, else `otherwise`.
Error ended_or(const RequestContext& context, Error otherwise) {
    if (auto reason = context.check(); !reason) {
        return std::move(reason).error();
    }
    return otherwise;
}

std::string extra(const duckdb::ErrorData& error, const char* key) {
    const auto& all = error.ExtraInfo();
    const auto found = all.find(key);
    return found == all.end() ? std::string() : found->second;
}

/// The column that DuckDB did not find; empty if that is not the error.
std::string unknown_column_name(const duckdb::ErrorData& error) {
    if (extra(error, "error_subtype") == "COLUMN_NOT_FOUND") {
        return extra(error, "name");
    }
    constexpr std::string_view kQualified = " does not have a column named \"";
    const auto& message = error.RawMessage();
    const auto at = message.find(kQualified);
    if (at == std::string::npos) {
        return "";
    }
    const auto begin = at + kQualified.size();
    return message.substr(begin, message.find('"', begin) - begin);
}

/// " (part …)": object keys are ours, the part's id is what doctor and catalogue say, too.
std::string part_of_object(const std::string& key,
                           const std::vector<std::shared_ptr<const ScanSource>>& sources) {
    for (const auto& source : sources) {
        for (const auto& part : source->parts) {
            if (std::ranges::find(part.objects, key, &PartObject::key) != part.objects.end()) {
                return fmt::format(" (part {})", part.id);
            }
        }
    }
    return {};
}

/// Instead of DuckDB's list of candidates, which has our internal columns first.
Error unknown_column(const std::string& name,
                     const std::vector<std::shared_ptr<const ScanSource>>& sources) {
    std::vector<std::string> names = {std::string(kTimestampField)};
    for (const auto& source : sources) {
        for (const auto& field : source->schema.logical_fields()) {
            names.push_back(field.sql_name);
        }
    }
    const auto nearest = nearest_names(name, names);
    return {
        ErrorCode::kInvalidArgument,
        fmt::format(
            "no column is called '{}'{}",
            name,
            nearest.empty() ? "" : fmt::format("; the nearest are {}", fmt::join(nearest, ", ")))};
}

}  // namespace

void throw_damaged(const std::string& key, std::string_view what) {
    const QueryMemory::Scope uncounted(nullptr);
    log_error("an object is damaged; its rows cannot be read", {{"key", key}, {"finding", what}});
    const duckdb::unordered_map<duckdb::string, duckdb::string> extra = {{kDamagedObject, key}};
    throw duckdb::IOException("a part of the stream is damaged: " + std::string(what), extra);
}

Error query_error(const duckdb::ErrorData& error,
                  const RequestContext& context,
                  const std::vector<std::shared_ptr<const ScanSource>>& sources) {
    const auto& message = error.RawMessage();
    switch (error.Type()) {
        case duckdb::ExceptionType::INTERRUPT:
            return ended_or(context, {ErrorCode::kCancelled, "the query was interrupted"});
        case duckdb::ExceptionType::OUT_OF_MEMORY:
            return {ErrorCode::kLimitReached,
                    fmt::format("the query needs more memory or spill space than it may use "
                                "(query.memory_mb, query.spill_mb): {}",
                                // What follows advises settings that only DuckDB's users have.
                                message.substr(0, message.find("\n\nPossible solutions")))};
        case duckdb::ExceptionType::IO:
            if (const auto key = extra(error, kDamagedObject); !key.empty()) {
                return {ErrorCode::kCorruption, message + part_of_object(key, sources)};
            }
            [[fallthrough]];
        case duckdb::ExceptionType::HTTP:
        case duckdb::ExceptionType::NETWORK:
            return ended_or(context, {ErrorCode::kUnavailable, message});
        case duckdb::ExceptionType::PERMISSION:
            return {ErrorCode::kForbidden, message};
        case duckdb::ExceptionType::INTERNAL:
        case duckdb::ExceptionType::FATAL:
            return {ErrorCode::kInternal, message.substr(0, message.find("\n\nStack Trace"))};
        case duckdb::ExceptionType::BINDER:
            if (const auto column = unknown_column_name(error); !column.empty()) {
                return unknown_column(column, sources);
            }
            return {ErrorCode::kInvalidArgument, message};
        default:
            return {ErrorCode::kInvalidArgument, message};
    }
}

}  // namespace molesignal
