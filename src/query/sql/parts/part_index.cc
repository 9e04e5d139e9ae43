#include "query/sql/parts/part_index.h"

#include <algorithm>

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

PartIndex::PartIndex(InstanceState& state, const PartObject& object, SidecarReader reader)
    : state_(state),
      key_(object.key),
      bytes_(static_cast<std::uint64_t>(object.bytes)),
      reader_(std::move(reader)) {}

std::optional<PartIndex> PartIndex::find(InstanceState& state, const PartInfo& part) {
    const auto object = std::ranges::find(part.objects, "index", &PartObject::kind);
    if (object == part.objects.end()) {
        return std::nullopt;
    }
    auto reader = open_sidecar(state, *object);
    if (reader && reader->rows() != static_cast<std::uint64_t>(part.rows)) {
        reader = Error(ErrorCode::kCorruption,
                       fmt::format("it is of {} rows, the part has {}", reader->rows(), part.rows));
    }
    if (!reader) {
        log_unusable(object->key, reader.error());
        return std::nullopt;
    }
    return PartIndex(state, *object, std::move(*reader));
}

RowSelection PartIndex::select(const IndexQuery& query) {
    ObjectRanges ranges(state_, key_, bytes_);
    SidecarReadStats stats;
    auto selection = reader_.select(ranges, query, stats);
    if (!selection) {
        log_unusable(key_, selection.error());
        return RowSelection::unknown(reader_.rows());
    }
    return std::move(*selection);
}

}  // namespace molesignal
