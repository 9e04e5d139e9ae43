#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/request_context.h"
#include "common/result.h"
#include "metadata/catalogue.h"
#include "query/sql/guard/sql_guard.h"
#include "query/sql/scan_source.h"
#include "storage/hot_rows.h"

namespace molesignal {

/// The streams of one query. Each is looked up and gets its snapshot once, however often the
/// statement names it: all mentions see the same rows. One thread at a time.
class QueryStreams {
public:
    /// A statement may name so many different streams.
    static constexpr std::size_t kStreamsMax = 16;

    struct Range {
        std::int64_t start_us = INT64_MIN;
        std::int64_t end_us = INT64_MAX;
    };
    /// Gives a source its handle in the instance that will scan it.
    using AddSource = std::function<std::uint64_t(std::shared_ptr<const ScanSource>)>;

    /// The references outlive the object.
    QueryStreams(Catalogue& catalogue,
                 HotSource& hot,
                 OrgId org,
                 Range range,
                 ScanCounters& counters,
                 AddSource add_source);

    using CountValues = std::function<Result<>(ScanSource&)>;
    /// Of each stream the values of a field are wanted, counted; `count` lets indexes do it.
    void count_field(std::string name, CountValues count) {
        counted_field_ = std::move(name);
        count_values_ = std::move(count);
    }

    /// What stands for a stream in the statement. kNotFound names the nearest streams;
    /// kForbidden: not a type of stream; kInvalidArgument: too many streams.
    Result<TableReplacement> replace(const RequestContext& context, const GuardedTable& table);

    /// The streams that were named so far.
    const std::vector<std::shared_ptr<const ScanSource>>& sources() const { return sources_; }

private:
    Result<StreamInfo> find(const RequestContext& context, const GuardedTable& table);
    Result<std::shared_ptr<const ScanSource>> take_snapshot(const RequestContext& context,
                                                            const StreamInfo& stream);

    Catalogue& catalogue_;
    HotSource& hot_;
    OrgId org_;
    Range range_;
    ScanCounters& counters_;
    AddSource add_source_;
    std::string counted_field_;  ///< Empty: streams are seen as they are.
    CountValues count_values_;
    std::map<std::pair<std::string, std::string>, std::string> ids_;  ///< By schema and name.
    std::map<std::string, TableReplacement> replacements_;            ///< By stream id.
    std::vector<std::shared_ptr<const ScanSource>> sources_;
};

}  // namespace molesignal
