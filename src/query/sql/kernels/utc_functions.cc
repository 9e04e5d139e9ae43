// Functions and casts of TIMESTAMP WITH TIME ZONE in UTC.
//
// DuckDB asks ICU's calendar for each value, whatever the zone: 130 ns for time_bucket, 380 ns for
// date_trunc, which is all that a histogram costs. An engine's zone is UTC and cannot be changed,
// and there they are those of TIMESTAMP, whose values are the same microseconds: the overloads get
// the functions of their neighbours.
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include <duckdb.hpp>
#include <duckdb/catalog/catalog.hpp>
#include <duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp>
#include <duckdb/common/enums/date_part_specifier.hpp>
#include <duckdb/function/cast/cast_function_set.hpp>
#include <duckdb/main/config.hpp>

#include "query/sql/kernels/kernels.h"

namespace molesignal {
namespace {

using duckdb::LogicalType;
using duckdb::LogicalTypeId;

/// Those whose function for TIMESTAMP does without what binding finds out, and answers with the
/// same type. Others with an overload that does not fit stay as they are.
constexpr std::array<const char*, 22> kFunctions = {
    "time_bucket", "date_trunc",  "datetrunc", "year",    "month",     "day",
    "dayofmonth",  "hour",        "minute",    "second",  "dayofweek", "weekday",
    "isodow",      "dayofyear",   "week",      "quarter", "yearweek",  "weekofyear",
    "isoyear",     "microsecond", "decade",    "century"};

LogicalType without_zone(const LogicalType& type) {
    return type.id() == LogicalTypeId::TIMESTAMP_TZ ? LogicalType::TIMESTAMP : type;
}

bool has_zone(const LogicalType& type) {
    return type.id() == LogicalTypeId::TIMESTAMP_TZ;
}

/// Gives `zoned` the function of the overload with TIMESTAMP instead, if there is one.
bool take_function(duckdb::ScalarFunction& zoned, const duckdb::ScalarFunctionSet& overloads) {
    for (const auto& plain : overloads.functions) {
        const bool is_same = std::ranges::equal(
            plain.arguments, zoned.arguments, {}, {}, [](const LogicalType& type) {
                return without_zone(type);
            });
        if (is_same && plain.return_type == without_zone(zoned.return_type)) {
            zoned.function = plain.function;
            zoned.init_local_state = plain.init_local_state;
            zoned.bind = nullptr;
            zoned.statistics = nullptr;
            return true;
        }
    }
    return false;
}

/// Buckets of times, in microseconds: some bucket begins at `origin`.
struct Buckets {
    std::int64_t width = 0;
    std::int64_t origin = 0;
};

/// The begin of a time's bucket. Rows that follow each other are mostly in one bucket, so most cost
/// two comparisons.
class BucketOf {
public:
    explicit BucketOf(const Buckets& buckets) : width_(buckets.width), origin_(buckets.origin) {}
    /// Whether the arithmetic cannot overflow.
    static bool is_ordinary(std::int64_t time) {
        constexpr std::int64_t kLimit = std::int64_t{1} << 61U;
        return time > -kLimit && time < kLimit;
    }
    std::int64_t operator()(std::int64_t time) {
        if (time < begin_ || time - begin_ >= width_) {
            const auto distance = time - origin_;
            const auto rest = distance % width_;
            begin_ = time - (rest < 0 ? rest + width_ : rest);
        }
        return begin_;
    }

private:
    std::int64_t width_;
    std::int64_t origin_;
    std::int64_t begin_ = INT64_MAX;
};

/// The buckets of time_bucket if all rows have the same width, of less than a month and more than
/// nothing.
std::optional<Buckets> buckets_of_width(duckdb::Vector& widths) {
    constexpr std::int64_t kMonday = 946'857'600'000'000;  // 2000-01-03.
    constexpr std::int64_t kWidthMax = std::int64_t{1} << 60U;
    constexpr std::int64_t kDaysMax = kWidthMax / duckdb::Interval::MICROS_PER_DAY / 2;
    if (widths.GetVectorType() != duckdb::VectorType::CONSTANT_VECTOR ||
        duckdb::ConstantVector::IsNull(widths)) {
        return std::nullopt;
    }
    const auto width = *duckdb::ConstantVector::GetData<duckdb::interval_t>(widths);
    if (width.months != 0 || width.days < 0 || width.days > kDaysMax || width.micros < 0 ||
        width.micros > kWidthMax / 2) {
        return std::nullopt;
    }
    const auto micros = width.days * duckdb::Interval::MICROS_PER_DAY + width.micros;
    return micros > 0 ? std::optional(Buckets{.width = micros, .origin = kMonday}) : std::nullopt;
}

/// The buckets of date_trunc if all rows have the same part, of equal lengths.
std::optional<Buckets> buckets_of_part(duckdb::Vector& parts) {
    constexpr std::int64_t kMonday = 4 * duckdb::Interval::MICROS_PER_DAY;  // 1970-01-05.
    duckdb::DatePartSpecifier part{};
    if (parts.GetVectorType() != duckdb::VectorType::CONSTANT_VECTOR ||
        duckdb::ConstantVector::IsNull(parts) ||
        !duckdb::TryGetDatePartSpecifier(
            duckdb::ConstantVector::GetData<duckdb::string_t>(parts)->GetString(), part)) {
        return std::nullopt;
    }
    switch (part) {
        case duckdb::DatePartSpecifier::SECOND:
            return Buckets{.width = duckdb::Interval::MICROS_PER_SEC};
        case duckdb::DatePartSpecifier::MINUTE:
            return Buckets{.width = duckdb::Interval::MICROS_PER_MINUTE};
        case duckdb::DatePartSpecifier::HOUR:
            return Buckets{.width = duckdb::Interval::MICROS_PER_HOUR};
        case duckdb::DatePartSpecifier::DAY:
            return Buckets{.width = duckdb::Interval::MICROS_PER_DAY};
        case duckdb::DatePartSpecifier::WEEK:
            return Buckets{.width = 7 * duckdb::Interval::MICROS_PER_DAY, .origin = kMonday};
        default:
            return std::nullopt;
    }
}

/// time_bucket or date_trunc into constant buckets and of ordinary times; `general` does the rest.
void run_buckets(std::optional<Buckets> (*buckets_of)(duckdb::Vector&),
                 const duckdb::scalar_function_t& general,
                 duckdb::DataChunk& arguments,
                 duckdb::ExpressionState& state,
                 duckdb::Vector& result) {
    const auto buckets = buckets_of(arguments.data[0]);
    if (!buckets.has_value()) {
        general(arguments, state, result);
        return;
    }
    BucketOf bucket_of(*buckets);
    bool is_ordinary = true;
    duckdb::UnaryExecutor::Execute<duckdb::timestamp_t, duckdb::timestamp_t>(
        arguments.data[1], result, arguments.size(), [&](duckdb::timestamp_t time) {
            if (!BucketOf::is_ordinary(time.value)) [[unlikely]] {
                is_ordinary = false;
                return time;
            }
            return duckdb::timestamp_t(bucket_of(time.value));
        });
    if (!is_ordinary) {
        general(arguments, state, result);
    }
}

void replace_overloads(duckdb::ClientContext& context, const char* name) {
    auto& entry =
        duckdb::Catalog::GetSystemCatalog(context).GetEntry<duckdb::ScalarFunctionCatalogEntry>(
            context, DEFAULT_SCHEMA, name);
    std::size_t taken = 0;
    for (auto& overload : entry.functions.functions) {
        // A zone of its own as text ends the comparison: its overload has no neighbour.
        if (std::ranges::any_of(overload.arguments, has_zone)) {
            taken += take_function(overload, entry.functions) ? 1 : 0;
        }
        const bool is_bucket = name == std::string_view("time_bucket");
        const bool makes_buckets = (is_bucket || name == std::string_view("date_trunc") ||
                                    name == std::string_view("datetrunc")) &&
                                   overload.arguments.size() == 2 &&
                                   has_zone(overload.arguments.back());
        if (makes_buckets) {
            const auto buckets_of = is_bucket ? buckets_of_width : buckets_of_part;
            overload.function = [buckets_of, general = overload.function](
                                    auto& arguments, auto& state, auto& result) {
                run_buckets(buckets_of, general, arguments, state, result);
            };
        }
    }
    if (taken == 0) {
        // Another version of DuckDB: the list of functions is to be looked at.
        throw duckdb::InternalException("%s of times with a zone has no neighbour", name);
    }
}

bool cast_to_timestamp(duckdb::Vector& source,
                       duckdb::Vector& result,
                       duckdb::idx_t,
                       duckdb::CastParameters&) {
    result.Reinterpret(source);  // The same microseconds.
    return true;
}

bool cast_to_date(duckdb::Vector& source,
                  duckdb::Vector& result,
                  duckdb::idx_t count,
                  duckdb::CastParameters&) {
    duckdb::UnaryExecutor::Execute<duckdb::timestamp_t, duckdb::date_t>(
        source, result, count, [](duckdb::timestamp_t time) {
            return duckdb::Timestamp::GetDate(time);
        });
    return true;
}

}  // namespace

void register_utc_functions(duckdb::DuckDB& database, duckdb::Connection& connection) {
    connection.context->RunFunctionInTransaction([&] {
        for (const auto* name : kFunctions) {
            replace_overloads(*connection.context, name);
        }
    });
    auto& casts = duckdb::DBConfig::GetConfig(*database.instance).GetCastFunctions();
    casts.RegisterCastFunction(LogicalType::TIMESTAMP_TZ,
                               LogicalType::TIMESTAMP,
                               duckdb::BoundCastInfo(cast_to_timestamp));
    casts.RegisterCastFunction(
        LogicalType::TIMESTAMP_TZ, LogicalType::DATE, duckdb::BoundCastInfo(cast_to_date));
}

}  // namespace molesignal
