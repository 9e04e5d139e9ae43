#include "query/sql/parts/part_index.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/log.h"
#include "query/sql/parts/index_ranges.h"

namespace molesignal {
namespace {

/// An object's index, with the query's deadline and counters.
IndexRanges ranges_of(InstanceState& state, const ObjectName& object) {
    const MutexLock lock(state.mutex);
    return {*state.reader, state.context, state.counters, object};
}

ObjectName name_of(const PartObject& object) {
    return {
        .key = object.key, .bytes = static_cast<std::uint64_t>(object.bytes), .xxh3 = object.xxh3};
}

void log_unusable(const std::string& key, const Error& error) {
    if (error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kNotFound) {
        log_error("the index of a part is damaged; the part is read without it",
                  {{"key", key}, {"error", error.message()}});
    }
}

}  // namespace

void PartIndex::read_ahead(InstanceState& state, const PartInfo& part) {
    if (!state.reader->reads_ahead()) {
        return;
    }
    const auto values = std::ranges::find(part.objects, "values", &PartObject::kind);
    for (const auto& object : part.objects) {
        if (object.kind != "index" && object.kind != "values") {
            continue;
        }
        const auto name = name_of(object);
        const bool is_asked = values == part.objects.end() || &object == &*values;
        auto* const memory = state.reader->memory();
        const bool is_open =
            memory != nullptr &&
            memory->find({.object = ObjectHash::of(object.key), .kind = CachedKind::kIndexHead},
                         MemoryCache::Look::kAgain) != nullptr;
        if (!is_asked || is_open) {
            continue;
        }
        RequestContext context;
        std::shared_ptr<ScanCounters> counters;
        {
            const MutexLock lock(state.mutex);
            context = state.context;
            counters = state.counters;
        }
        const auto bytes = std::min<std::uint64_t>(name.bytes, kSidecarTailBytes);
        state.reader->read_ahead(
            context, name, name.bytes - bytes, bytes, [counters](const ReadTally& tally) {
                if (counters != nullptr) {
                    counters->add(tally);
                }
            });
    }
}

std::optional<PartIndex> PartIndex::find(InstanceState& state, const PartInfo& part) {
    PartIndex index(state);
    for (const auto& object : part.objects) {
        if (object.kind != "index" && object.kind != "values") {
            continue;
        }
        Segment segment{.object = name_of(object), .reader = nullptr};
        if (object.kind == "values") {
            index.values_ = std::move(segment);
        } else {
            index.segments_.push_back(std::move(segment));
        }
    }
    index.rows_ = static_cast<std::uint32_t>(part.rows);
    // What a condition needs of the others is opened when it comes.
    const bool can_be_used = index.values_.has_value() ? index.open_one(*index.values_, index.rows_)
                                                       : index.open_segments();
    return can_be_used ? std::optional(std::move(index)) : std::nullopt;
}

bool PartIndex::open_one(Segment& segment, std::uint64_t rows_expected) {
    auto ranges = ranges_of(state_, segment.object);
    auto reader = ranges.open();
    if (reader && rows_expected != kAnyRows && (*reader)->rows() != rows_expected) {
        reader = Error(
            ErrorCode::kCorruption,
            fmt::format("it is of {} rows, the part has {}", (*reader)->rows(), rows_expected));
    }
    if (!reader) {
        log_unusable(segment.object.key, reader.error());
        return false;
    }
    segment.reader = std::move(*reader);
    return true;
}

bool PartIndex::open_segments() {
    if (segments_.empty() || are_segments_bad_) {
        return false;
    }
    std::uint64_t rows = 0;
    for (auto& segment : segments_) {
        if (segment.reader == nullptr && !open_one(segment, kAnyRows)) {
            are_segments_bad_ = true;
            return false;
        }
        rows += segment.reader->rows();
    }
    if (rows != rows_) {
        are_segments_bad_ = true;
        log_unusable(segments_.front().object.key,
                     Error(ErrorCode::kCorruption,
                           fmt::format("they are of {} rows, the part has {}", rows, rows_)));
    }
    return !are_segments_bad_;
}

RowSelection PartIndex::select_in(const Segment& segment, const IndexQuery& query) {
    auto ranges = ranges_of(state_, segment.object);
    SidecarReadStats stats;
    auto selection = segment.reader->select(ranges, query, stats);
    if (!selection && ranges.may_be_repeated(selection.error())) {
        selection = segment.reader->select(ranges, query, stats);
    }
    if (!selection) {
        log_unusable(segment.object.key, selection.error());
        return RowSelection::unknown(segment.reader->rows());
    }
    return std::move(*selection);
}

RowSelection PartIndex::select_in_segments(const IndexQuery& query) {
    if (!open_segments()) {
        return RowSelection::unknown(rows_);
    }
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
        rows += segment.reader->rows();
    }
    return {RowSet::from_ranges(rows, ranges), is_exact};
}

/// Which of the two kinds of indexes a query's fields are in.
void PartIndex::note_fields(const IndexQuery& query, bool& in_values, bool& in_texts) const {
    for (const auto& child : query.children) {
        note_fields(child, in_values, in_texts);
    }
    switch (query.kind) {
        case IndexQuery::Kind::kAll:
        case IndexQuery::Kind::kAny:
        case IndexQuery::Kind::kNot:
            return;
        case IndexQuery::Kind::kNeeds:
            if (query.test == nullptr) {
                return;
            }
            break;
        default:
            break;
    }
    // A text is listed among the values without a structure; so is a number, for which there is
    // nothing among the texts either.
    const auto* field = values_->reader->find(query.field);
    (field != nullptr && field->kind == FieldIndexKind::kNone ? in_texts : in_values) = true;
}

std::optional<std::vector<ValueCount>> PartIndex::value_counts(FieldId field) {
    if (!values_.has_value() && (!open_segments() || segments_.size() != 1)) {
        return std::nullopt;
    }
    const auto& segment = values_.has_value() ? *values_ : segments_.front();
    auto ranges = ranges_of(state_, segment.object);
    SidecarReadStats stats;
    auto counts = segment.reader->value_counts(ranges, field, stats);
    if (!counts && ranges.may_be_repeated(counts.error())) {
        counts = segment.reader->value_counts(ranges, field, stats);
    }
    if (!counts) {
        log_unusable(segment.object.key, counts.error());
        return std::nullopt;
    }
    return std::move(*counts);
}

RowSelection PartIndex::select(const IndexQuery& query) {
    if (!values_.has_value()) {
        return select_in_segments(query);
    }
    bool in_values = false;
    bool in_texts = false;
    note_fields(query, in_values, in_texts);
    if (!in_texts) {
        return select_in(*values_, query);
    }
    if (!in_values) {
        return select_in_segments(query);
    }
    // Each takes the other's fields for unknown, so no row of the answer is missing in either.
    auto selection = select_in(*values_, query);
    if (!selection.rows.is_none()) {
        selection = selection & select_in_segments(query);
    }
    return selection;
}

}  // namespace molesignal
