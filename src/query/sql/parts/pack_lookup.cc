#include "query/sql/parts/pack_lookup.h"

#include <algorithm>
#include <optional>

#include "common/log.h"
#include "query/sql/parts/index_ranges.h"

namespace molesignal {
namespace {

bool has_equality(const IndexQuery& query) {
    return query.kind == IndexQuery::Kind::kEquals ||
           (query.kind != IndexQuery::Kind::kNot &&
            std::ranges::any_of(query.children, has_equality));
}

/// What is asked of a part as a whole: that a part has a row which answers does not say that
/// another does not, so a negation asks nothing.
IndexQuery of_parts(const IndexQuery& query) {
    if (query.kind == IndexQuery::Kind::kNot) {
        return IndexQuery::all({});
    }
    auto asked = query;
    for (auto& child : asked.children) {
        child = of_parts(child);
    }
    return asked;
}

/// The rows of a pack, its parts, that may answer all conditions.
Result<RowSet> ask(const SidecarReader& pack,
                   IndexRanges& ranges,
                   std::span<const IndexCondition* const> conditions) {
    SidecarReadStats stats;
    auto rows = RowSet::all(pack.rows());
    for (const auto* condition : conditions) {
        MS_TRY(const auto selection, pack.select(ranges, of_parts(condition->query), stats));
        rows = rows.intersected(selection.rows);
    }
    return rows;
}

void rule_out(InstanceState& state,
              const IdPackInfo& info,
              std::span<const IndexCondition* const> conditions,
              std::set<std::string>& ruled_out) {
    const ObjectName object{.key = info.object.key,
                            .bytes = static_cast<std::uint64_t>(info.object.bytes),
                            .xxh3 = info.object.xxh3};
    auto ranges = [&] {
        const MutexLock lock(state.mutex);
        return std::make_unique<IndexRanges>(*state.reader, state.context, state.counters, object);
    }();
    const auto pack = ranges->open();
    auto rows = pack ? ask(**pack, *ranges, conditions) : Result<RowSet>(pack.error());
    if (pack && !rows && ranges->may_be_repeated(rows.error())) {
        rows = ask(**pack, *ranges, conditions);
    }
    if (!rows) {
        const auto code = rows.error().code();
        if (code == ErrorCode::kCorruption || code == ErrorCode::kNotFound) {
            log_error("a pack of ids is damaged; each of its parts is asked",
                      {{"key", object.key}, {"error", rows.error().message()}});
        }
        return;
    }
    const auto& parts = (*pack)->directory().parts;
    for (std::uint32_t part = 0; part < parts.size(); ++part) {
        if (!rows->contains(part)) {
            ruled_out.insert(parts[part]);
        }
    }
}

}  // namespace

std::set<std::string> parts_ruled_out_by_packs(InstanceState& state,
                                               const ScanSource& source,
                                               std::span<const IndexCondition* const> conditions) {
    std::set<std::string> ruled_out;
    const bool asks_for_ids = std::ranges::any_of(
        conditions, [](const auto* condition) { return has_equality(condition->query); });
    if (!asks_for_ids) {
        return ruled_out;
    }
    // What the packs read and say is not the query's: it is gone before the query goes on.
    for (const auto& pack : source.id_packs) {
        rule_out(state, pack, conditions, ruled_out);
    }
    return ruled_out;
}

}  // namespace molesignal
