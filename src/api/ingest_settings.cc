#include "api/ingest_settings.h"

#include <chrono>

namespace molesignal {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDay = 86'400 * kSecond;

DecodeLimits decode_limits(const Config& config) {
    DecodeLimits limits;
    limits.row_bytes_max = static_cast<std::uint64_t>(config.ingester.row_bytes_max);
    limits.rows_max = static_cast<std::uint64_t>(config.ingester.rows_per_request_max);
    limits.name_bytes_max = static_cast<std::size_t>(config.ingester.field_name_bytes_max);
    limits.fields_max = static_cast<std::size_t>(config.ingester.fields_per_stream_max);
    limits.depth_max = static_cast<std::size_t>(config.ingester.nesting_depth_max);
    limits.decoded_bytes_max =
        (static_cast<std::uint64_t>(config.ingester.decode_memory_mb) << 20U) / 2;
    return limits;
}

/// What decoding rows for a stream depends on; a stream that does not exist has no settings.
Result<DecodeSettings> decode_settings(const RequestContext& context,
                                       ApiServices& services,
                                       const OrgId& org,
                                       StreamType type,
                                       const std::string& name) {
    MS_TRY(const auto stream, services.ingester->find_stream(context, org, type, name));
    const auto found = stream.value_or(StreamInfo{});
    DecodeSettings settings;
    settings.now_ns = services.clock.now().value;
    settings.time_max_ns = settings.now_ns + services.config().ingester.future_max_secs * kSecond;
    const auto days = found.settings.retention_days.value_or(
        static_cast<std::int32_t>(services.config().compactor.retention_days));
    if (services.config().ingester.past_max_secs.has_value()) {
        settings.time_min_ns =
            settings.now_ns - *services.config().ingester.past_max_secs * kSecond;
    } else if (days > 0) {
        settings.time_min_ns = settings.now_ns - std::int64_t{days} * kDay;
    }
    settings.known_fields = services.ingester->known_fields(found.id);
    settings.pinned_types = found.settings.pinned_types;
    settings.memory = services.decode_memory;
    return settings;
}

}  // namespace

Result<DecodedRows> decode_for_stream(
    const RequestContext& context,
    ApiServices& services,
    const OrgId& org,
    StreamType type,
    const std::string& stream,
    const std::function<Result<DecodedRows>(const DecodeLimits&, const DecodeSettings&)>& decode) {
    MS_TRY_VOID(services.ingester->check_intake());
    const auto limits = decode_limits(services.config());
    // Each round fails only if another request brought new fields in between.
    constexpr int kRoundsMax = 8;
    for (int round = 0; round < kRoundsMax; ++round) {
        MS_TRY(const auto settings, decode_settings(context, services, org, type, stream));
        MS_TRY(auto decoded, decode(limits, settings));
        if (decoded.batches.empty()) {
            return decoded;
        }
        MS_TRY(const auto admitted,
               services.ingester->admit_fields(
                   context, org, type, stream, decoded.batches, limits.fields_max));
        if (admitted) {
            return decoded;
        }
    }
    return Error(ErrorCode::kUnavailable,
                 "other requests bring new fields to this stream all the time; retry");
}

void count_ingested(ApiServices& services,
                    const std::string& protocol,
                    const DecodedRows& decoded,
                    std::uint64_t bytes) {
    auto& metrics = services.metrics;
    metrics.counter("ingest_rows_total", "Rows accepted, by protocol", {{"protocol", protocol}})
        .add(static_cast<double>(decoded.accepted));
    metrics
        .counter("ingest_bytes_total",
                 "Decoded bytes of the requests, by protocol",
                 {{"protocol", protocol}})
        .add(static_cast<double>(bytes));
    for (std::size_t i = 0; i < kRejectReasons; ++i) {
        if (decoded.by_reason[i] > 0) {
            metrics
                .counter(
                    "ingest_rejected_rows_total",
                    "Rows refused, by reason",
                    {{"reason", std::string(reject_reason_name(static_cast<RejectReason>(i)))}})
                .add(static_cast<double>(decoded.by_reason[i]));
        }
    }
    if (decoded.unparsed_times > 0) {
        metrics
            .counter("ingest_unparsed_times_total",
                     "Rows whose time could not be read; kept at their arrival")
            .add(static_cast<double>(decoded.unparsed_times));
    }
    if (decoded.repaired_texts > 0) {
        metrics
            .counter("ingest_repaired_texts_total",
                     "Texts with bytes that are not UTF-8; those became U+FFFD")
            .add(static_cast<double>(decoded.repaired_texts));
    }
    if (decoded.extra_values > 0) {
        metrics.counter("ingest_extra_values_total", "Values that went to _extra")
            .add(static_cast<double>(decoded.extra_values));
    }
}

}  // namespace molesignal
