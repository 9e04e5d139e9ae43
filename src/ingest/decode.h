#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/memory_budget.h"
#include "model/field_type.h"
#include "model/row_batch.h"

namespace molesignal {

/// Limits of the decoders; each names its setting in errors.
struct DecodeLimits {
    std::uint64_t row_bytes_max = 2U << 20U;  ///< ingester.row_bytes_max
    std::uint64_t rows_max = 1'000'000;       ///< ingester.rows_per_request_max
    std::size_t name_bytes_max = 256;         ///< ingester.field_name_bytes_max; longer: `_extra`.
    std::size_t fields_max = 1000;            ///< ingester.fields_per_stream_max; more: `_extra`.
    std::size_t depth_max = 16;               ///< ingester.nesting_depth_max; deeper: JSON text.
    std::size_t errors_max = 100;             ///< Errors listed in an answer; all are counted.
    /// Decoded bytes of one request, half of ingester.decode_memory_mb.
    std::uint64_t decoded_bytes_max = 128U << 20U;
    /// A batch is ended when it has so many rows, or so many bytes.
    std::uint32_t batch_rows_max = 1U << 16U;
    std::uint64_t batch_bytes_max = 16U << 20U;
};

/// What decoding depends on besides the bytes.
struct DecodeSettings {
    std::int64_t now_ns = 0;  ///< Arrival, for rows without a time.
    std::int64_t time_min_ns =
        INT64_MIN;  ///< Older rows are rejected (retention, ingester.past_max_secs).
    std::int64_t time_max_ns = INT64_MAX;  ///< Newer rows are rejected (ingester.future_max_secs).
    /// Names that the stream has already: they do not count as new against fields_max. May be null.
    std::shared_ptr<const std::set<std::string, std::less<>>> known_fields;
    /// A value of another type than pinned goes to `_extra`.
    std::vector<std::pair<std::string, FieldType>> pinned_types;
    /// Counts the decoded rows of all requests (ingester.decode_memory_mb); may be null.
    std::shared_ptr<MemoryBudget> memory;
};

/// Why a row was not taken. The index counts the request's rows from 0.
struct RowError {
    std::uint64_t index = 0;
    std::string reason;
};

/// Reasons for counters: a closed set.
enum class RejectReason : std::uint8_t { kMalformed = 0, kTooOld = 1, kTooNew = 2, kTooLarge = 3 };
inline constexpr std::size_t kRejectReasons = 4;
std::string_view reject_reason_name(RejectReason reason);

/// What a request's bytes became.
struct DecodedRows {
    std::vector<RowBatch> batches;  ///< The rows in their order; none is empty.
    std::uint64_t accepted = 0;     ///< Rows in `batches`.
    std::uint64_t rejected = 0;
    std::vector<RowError> errors;  ///< The first DecodeLimits::errors_max.
    std::uint64_t by_reason[kRejectReasons] = {};
    std::uint64_t unparsed_times = 0;  ///< Rows kept at their arrival time.
    std::uint64_t repaired_texts = 0;  ///< Texts (JSON: rows) that were not UTF-8.
    std::uint64_t extra_values = 0;    ///< Values that went to `_extra`.
    MemoryReservation memory;          ///< Held until the rows are on their way.

    void reject(std::uint64_t index, RejectReason reason, std::string text, std::size_t errors_max);
};

}  // namespace molesignal
