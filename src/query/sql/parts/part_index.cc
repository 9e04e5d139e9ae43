#include "query/sql/parts/part_index.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/log.h"

namespace molesignal {
namespace {

/// An object of the store, with the query's deadline and counters.
class ObjectRanges final : public RangeReader {
public:
    ObjectRanges(InstanceState& state, std::string key, std::uint64_t bytes)
        : state_(state), key_(std::move(key)), bytes_(bytes) {}

    std::uint64_t size() const override { return bytes_; }
    Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t length) override {
        RequestContext context;
        std::shared_ptr<ScanCounters> counters;
        {
            const MutexLock lock(state_.mutex);
            context = state_.context;
            counters = state_.counters;
        }
        MS_TRY(auto content, state_.objects.get(context, key_, offset, length));
        if (counters != nullptr) {
            ++counters->gets;
            counters->bytes += static_cast<std::int64_t>(content.size());
        }
        if (content.size() != length) {
            return Error(ErrorCode::kCorruption,
                         fmt::format("{} bytes at offset {} were read, {} are wanted",
                                     content.size(),
                                     offset,
                                     length));
        }
        return content;
    }

private:
    InstanceState& state_;
    std::string key_;
    std::uint64_t bytes_;
};

void log_unusable(const std::string& key, const Error& error) {
    if (error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kNotFound) {
        log_error("the index of a part is damaged; the part is read without it",
                  {{"key", key}, {"error", error.message()}});
    }
}

Result<SidecarReader> open_sidecar(InstanceState& state, const PartObject& object) {
    const auto bytes = static_cast<std::uint64_t>(object.bytes);
    ObjectRanges ranges(state, object.key, bytes);
    if (state.tails != nullptr) {
        if (const auto known = state.tails->find(object.key); known != nullptr) {
            return SidecarReader::open(ranges, *known);
        }
    }
    const auto tail_bytes = std::min<std::uint64_t>(bytes, kSidecarTailBytes);
    MS_TRY(auto tail, ranges.read(bytes - tail_bytes, tail_bytes));
    MS_TRY(auto reader, SidecarReader::open(ranges, tail));
    if (state.tails != nullptr) {
        state.tails->keep(object.key, std::make_shared<const ByteBuffer>(std::move(tail)));
    }
    return reader;
}

}  // namespace

std::optional<PartIndex> PartIndex::find(InstanceState& state, const PartInfo& part) {
    PartIndex index(state);
    std::uint64_t rows = 0;
    for (const auto& object : part.objects) {
        if (object.kind != "index") {
            continue;
        }
        auto reader = open_sidecar(state, object);
        if (!reader) {
            log_unusable(object.key, reader.error());
            return std::nullopt;
        }
        rows += reader->rows();
        index.segments_.push_back({.key = object.key,
                                   .bytes = static_cast<std::uint64_t>(object.bytes),
                                   .reader = std::move(*reader)});
    }
    if (index.segments_.empty()) {
        return std::nullopt;
    }
    if (rows != static_cast<std::uint64_t>(part.rows)) {
        log_unusable(index.segments_.front().key,
                     Error(ErrorCode::kCorruption,
                           fmt::format("it is of {} rows, the part has {}", rows, part.rows)));
        return std::nullopt;
    }
    return index;
}

RowSelection PartIndex::select_in(const Segment& segment, const IndexQuery& query) {
    ObjectRanges ranges(state_, segment.key, segment.bytes);
    SidecarReadStats stats;
    auto selection = segment.reader.select(ranges, query, stats);
    if (!selection) {
        log_unusable(segment.key, selection.error());
        return RowSelection::unknown(segment.reader.rows());
    }
    return std::move(*selection);
}

RowSelection PartIndex::select(const IndexQuery& query) {
    if (segments_.size() == 1) {
        return select_in(segments_.front(), query);
    }
    std::vector<RowRange> ranges;
    std::uint32_t rows = 0;
    bool is_exact = true;
    for (const auto& segment : segments_) {
        const auto selection = select_in(segment, query);
        is_exact = is_exact && selection.exact;
        for (const auto& range : selection.rows.ranges()) {
            if (!ranges.empty() && ranges.back().end == rows + range.begin) {
                ranges.back().end = rows + range.end;
            } else {
                ranges.push_back({.begin = rows + range.begin, .end = rows + range.end});
            }
        }
        rows += segment.reader.rows();
    }
    return {RowSet::from_ranges(rows, ranges), is_exact};
}

}  // namespace molesignal
