#include "index/sidecar_reader.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "index/area_reader.h"
#include "index/hash_table.h"
#include "index/text/text_lookup.h"
#include "index/tokens.h"
#include "index/value_lookup.h"

namespace molesignal {
namespace {

using Kind = IndexQuery::Kind;

bool is_word(const IndexQuery& query) {
    return query.kind == Kind::kPhrase && query.texts.size() == 1 && !query.last_is_prefix;
}

constexpr int kCostMax = 5;

/// What a condition costs to look up, roughly: cheap ones of an AND come first, and may spare the
/// others.
int cost_of(const IndexQuery& query) {
    switch (query.kind) {
        case Kind::kEquals:
            return 0;
        case Kind::kPhrase:
            return query.last_is_prefix ? 3 : 1;
        case Kind::kPresent:
            return 2;
        case Kind::kContains:
            return 4;
        case Kind::kAll:
        case Kind::kAny:
        case Kind::kNot:
        case Kind::kNeeds:
            break;
    }
    return kCostMax;
}

/// Answers one query.
class Evaluation {
public:
    Evaluation(const SidecarReader& sidecar, RangeReader& source, SidecarReadStats& stats)
        : sidecar_(sidecar), areas_(sidecar, source, stats) {}

    Result<RowSelection> select(const IndexQuery& query, std::size_t depth) {
        if (depth > IndexQuery::kDepthMax) {
            return unknown();
        }
        switch (query.kind) {
            case Kind::kAll:
                return select_all(query, depth);
            case Kind::kAny:
                return select_any(query, depth);
            case Kind::kNot: {
                if (query.children.size() != 1) {
                    return unknown();
                }
                MS_TRY(const auto child, select(query.children[0], depth + 1));
                return !child;
            }
            case Kind::kNeeds:
                return select_needed(query, depth);
            default:
                return select_leaf(query);
        }
    }

    /// The number of rows of a word, if the dictionary knows it.
    Result<std::optional<std::uint64_t>> count_word(const IndexQuery& query) {
        const auto* field = sidecar_.find(query.field);
        if (!is_word(query) || field == nullptr || field->kind != FieldIndexKind::kText ||
            !sidecar_.has_current_tokens()) {
            return std::nullopt;
        }
        return lookup(*field).count(query.texts[0]);
    }

    AreaReader& areas() { return areas_; }

private:
    RowSelection none() const { return RowSelection::none(sidecar_.rows()); }
    RowSelection unknown() const { return RowSelection::unknown(sidecar_.rows()); }

    TextLookup& lookup(const SidecarField& field) {
        auto& kept = lookups_[&field];
        if (kept == nullptr) {
            kept = std::make_unique<TextLookup>(sidecar_.directory(), field, areas_);
        }
        return *kept;
    }

    /// The field of a word that can be looked up together with others of the field.
    const SidecarField* field_of_word(const IndexQuery& query) const {
        const auto* field = sidecar_.find(query.field);
        const bool good = is_word(query) && field != nullptr && sidecar_.has_current_tokens() &&
                          field->kind == FieldIndexKind::kText && field->present_rows > 0;
        return good ? field : nullptr;
    }

    Result<RowSelection> select_all(const IndexQuery& query, std::size_t depth) {
        std::vector<const IndexQuery*> children;
        for (int cost = 0; cost <= kCostMax; ++cost) {
            for (const auto& child : query.children) {
                if (cost_of(child) == cost) {
                    children.push_back(&child);
                }
            }
        }
        auto selection = RowSelection::all(sidecar_.rows());
        std::map<const SidecarField*, std::vector<std::string>> words;
        for (const auto* child : children) {
            if (const auto* field = field_of_word(*child); field != nullptr) {
                words[field].push_back(child->texts[0]);
            }
        }
        for (const auto* child : children) {
            auto found = RowSelection::all(sidecar_.rows());
            if (const auto* field = field_of_word(*child); field != nullptr) {
                const auto together = words.find(field);
                if (together == words.end()) {
                    continue;
                }
                MS_TRY(found, lookup(*field).all_of(together->second));
                words.erase(together);
            } else {
                MS_TRY(found, select(*child, depth + 1));
            }
            selection = selection & found;
            if (selection.rows.is_none()) {
                break;
            }
        }
        return selection;
    }

    Result<RowSelection> select_any(const IndexQuery& query, std::size_t depth) {
        auto selection = none();
        for (const auto& child : query.children) {
            MS_TRY(const auto found, select(child, depth + 1));
            selection = selection | found;
            if (selection.rows.is_all()) {
                break;
            }
        }
        return selection;
    }

    Result<RowSelection> select_needed(const IndexQuery& query, std::size_t depth) {
        if (query.test != nullptr) {
            const auto* field = sidecar_.find(query.field);
            if (field == nullptr ? sidecar_.directory().all_fields_listed
                                 : field->present_rows == 0) {
                return none();
            }
            if (field != nullptr && field->kind == FieldIndexKind::kExact) {
                return select_passing(query, *field);
            }
        }
        MS_TRY(auto needed, select_all(query, depth));
        needed.exact = needed.rows.is_none();
        return needed;
    }

    Result<RowSelection> select_passing(const IndexQuery& query, const SidecarField& field) {
        bool is_certain = true;
        const auto accept = [&](std::string_view value) {
            const auto passes = (*query.test)(value);
            is_certain = is_certain && passes.has_value();
            return passes.value_or(true);
        };
        MS_TRY(auto selection, select_exact_values(sidecar_.directory(), field, areas_, accept));
        selection.exact = selection.rows.is_none() || (selection.exact && is_certain);
        return selection;
    }

    Result<RowSelection> select_leaf(const IndexQuery& query) {
        const auto* field = sidecar_.find(query.field);
        if (field == nullptr) {
            return sidecar_.directory().all_fields_listed ? none() : unknown();
        }
        if (field->present_rows == 0) {
            return none();
        }
        switch (field->kind) {
            case FieldIndexKind::kNone:
                return select_presence(query, *field);
            case FieldIndexKind::kText:
                return select_text(query, lookup(*field));
            case FieldIndexKind::kExact:
                return select_exact(query, *field);
            case FieldIndexKind::kHashed:
                return query.kind == Kind::kEquals ? select_ids(query, *field)
                                                   : select_presence(query, *field);
        }
        return unknown();
    }

    Result<RowSelection> select_ids(const IndexQuery& query, const SidecarField& field) {
        if (field.hashes.is_dropped) {
            return unknown();
        }
        std::vector<std::uint64_t> hashes;
        for (const auto& id : query.texts) {
            hashes.push_back(id_hash(id));
        }
        MS_TRY(auto rows, find_hashed_rows(field, areas_, hashes, sidecar_.rows()));
        const bool is_exact = rows.is_none();
        return RowSelection{std::move(rows), is_exact};
    }

    Result<RowSelection> select_presence(const IndexQuery& query, const SidecarField& field) const {
        if (query.kind == Kind::kPresent && field.present_rows == sidecar_.rows()) {
            return RowSelection::all(sidecar_.rows());
        }
        return unknown();
    }

    Result<RowSelection> select_text(const IndexQuery& query, TextLookup& words) {
        if (query.kind == Kind::kPresent) {
            return words.present();
        }
        if (!sidecar_.has_current_tokens() || query.texts.empty()) {
            return query.kind == Kind::kEquals && query.texts.empty() ? none() : unknown();
        }
        if (query.kind == Kind::kContains) {
            return words.contains(query.texts[0], query.ignore_case);
        }
        if (query.kind == Kind::kEquals) {
            return select_equal_text(query, words);
        }
        auto tokens = std::span(query.texts);
        auto selection = RowSelection::all(sidecar_.rows());
        if (query.last_is_prefix) {
            tokens = tokens.first(tokens.size() - 1);
        }
        if (!tokens.empty()) {
            MS_TRY(selection, words.phrase(tokens));
        }
        if (query.last_is_prefix && !selection.rows.is_none()) {
            MS_TRY(const auto with_prefix, words.prefix(query.texts.back()));
            selection = selection & with_prefix;
            // Only a look at the rows can tell that they are neighbours.
            selection.exact = selection.rows.is_none() || (selection.exact && tokens.empty());
        }
        return selection;
    }

    /// Equal texts have equal tokens.
    Result<RowSelection> select_equal_text(const IndexQuery& query, TextLookup& words) {
        auto selection = none();
        for (const auto& value : query.texts) {
            std::string folded;
            fold_case(value, folded);
            const auto tokens = tokens_of(folded);
            MS_TRY(auto found, words.all_of(tokens));
            found.exact = found.rows.is_none();
            selection = selection | found;
            if (selection.rows.is_all()) {
                break;
            }
        }
        return selection;
    }

    Result<RowSelection> select_exact(const IndexQuery& query, const SidecarField& field) {
        const auto& texts = query.texts;
        const bool needs_text = query.kind == Kind::kPhrase || query.kind == Kind::kContains;
        if (needs_text && texts.empty()) {
            return unknown();
        }
        const auto accept = [&](std::string_view value) {
            switch (query.kind) {
                case Kind::kEquals:
                    return std::ranges::find(texts, value) != texts.end();
                case Kind::kPhrase:
                    return has_phrase(value, texts, query.last_is_prefix);
                case Kind::kContains:
                    return may_contain(value, texts[0], query.ignore_case);
                default:
                    return true;
            }
        };
        MS_TRY(auto selection, select_exact_values(sidecar_.directory(), field, areas_, accept));
        if (query.kind == Kind::kContains && query.ignore_case && !selection.rows.is_none()) {
            selection.exact = false;
        }
        return selection;
    }

    const SidecarReader& sidecar_;
    AreaReader areas_;
    std::map<const SidecarField*, std::unique_ptr<TextLookup>> lookups_;
};

}  // namespace

Result<SidecarReader> SidecarReader::open(RangeReader& source,
                                          ByteBuffer tail,
                                          SidecarReadStats* stats) {
    SidecarReadStats unwanted;
    auto& counted = stats == nullptr ? unwanted : *stats;
    const auto file_bytes = source.size();
    const auto read_tail = [&](std::uint64_t bytes) -> Result<ByteBuffer> {
        ++counted.reads;
        counted.bytes += bytes;
        MS_TRY(auto read, source.read(file_bytes - bytes, bytes));
        if (read.size() != bytes) {
            return Error(
                ErrorCode::kCorruption,
                fmt::format(
                    "index sidecar: {} of {} bytes of the end were read", read.size(), bytes));
        }
        return read;
    };
    if (tail.size() < kSidecarTrailerBytes || tail.size() > file_bytes) {
        MS_TRY(tail, read_tail(std::min<std::uint64_t>(file_bytes, kSidecarTailBytes)));
    }
    MS_TRY(const auto needed, directory_tail_bytes(tail, file_bytes));
    if (needed > tail.size()) {
        MS_TRY(tail, read_tail(needed));
    }
    MS_TRY(auto directory, parse_directory(tail, file_bytes));
    // The directory is parsed: what is kept of the tail is the areas before it.
    tail.resize(tail.size() - needed);
    tail.shrink_to_fit();
    return SidecarReader(std::move(directory), std::move(tail), file_bytes - needed);
}

bool SidecarReader::has_current_tokens() const {
    return directory_.tokenizer_id == kTokenizerId &&
           directory_.tokenizer_version == kTokenizerVersion;
}

std::size_t SidecarReader::memory_bytes() const {
    auto bytes = sizeof *this + tail_.capacity();
    for (const auto& part : directory_.parts) {
        bytes += sizeof part + part.capacity();
    }
    for (const auto& field : directory_.fields) {
        bytes += sizeof field + field.areas.capacity() * sizeof(SidecarArea);
        for (const auto& area : field.areas) {
            bytes += area.block_crcs.capacity() * sizeof(std::uint32_t);
        }
    }
    return bytes;
}

Bytes SidecarReader::kept(std::uint64_t begin, std::uint64_t end) const {
    const auto tail_begin = areas_end_ - tail_.size();
    if (begin < tail_begin || end > areas_end_ || begin > end) {
        return {};
    }
    return Bytes(tail_).subspan(begin - tail_begin, end - begin);
}

Result<RowSelection> SidecarReader::select(RangeReader& source,
                                           const IndexQuery& query,
                                           SidecarReadStats& stats) const {
    return Evaluation(*this, source, stats).select(query, 0);
}

Result<RowCount> SidecarReader::count(RangeReader& source,
                                      const IndexQuery& query,
                                      SidecarReadStats& stats) const {
    Evaluation evaluation(*this, source, stats);
    MS_TRY(const auto word, evaluation.count_word(query));
    if (word) {
        return RowCount{*word, true};
    }
    MS_TRY(const auto selection, evaluation.select(query, 0));
    return RowCount{selection.rows.count(), selection.exact};
}

Result<std::optional<std::vector<ValueCount>>> SidecarReader::value_counts(
    RangeReader& source, FieldId id, SidecarReadStats& stats) const {
    const auto* field = find(id);
    if (field == nullptr ? directory_.all_fields_listed : field->present_rows == 0) {
        return std::vector<ValueCount>();
    }
    if (field == nullptr || field->kind != FieldIndexKind::kExact) {
        return std::nullopt;
    }
    AreaReader areas(*this, source, stats);
    MS_TRY(auto counts, exact_value_counts(directory_, *field, areas));
    return counts;
}

}  // namespace molesignal
